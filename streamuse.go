package scu

// The streams that grow with all work.
const (
	LogUse     = "log"
	MetricsUse = "metrics"
)

// StreamUse is how full a stream is.
type StreamUse struct {
	Name     string // LogUse, MetricsUse, or what another stream has: adapters, comparisons
	Bytes    int64
	Reserved int64 // of the log: kept for what the jobs that have not ended will still say
	MaxBytes int64 // 0 or less: there is no limit
}

// NearlyFull is the share of a stream from which on it is told that it fills.
const NearlyFull = 0.75

// Full is the share of the limit that is taken or kept; 0 if there is none.
func (u StreamUse) Full() float64 {
	if u.MaxBytes <= 0 {
		return 0
	}
	return float64(u.Bytes+u.Reserved) / float64(u.MaxBytes)
}

// Fits refuses, as CodeStorage, so many more bytes than the log, whose use it is, has room for
// beside what is kept.
func (u StreamUse) Fits(more int64) error {
	if u.MaxBytes <= 0 || u.Bytes+u.Reserved+more <= u.MaxBytes {
		return nil
	}
	return Errorf(CodeStorage, "the log takes no new jobs: it has %.1f of the %.1f MiB that it may have, and %.1f are kept for the jobs that are here",
		mebibytes(u.Bytes), mebibytes(u.MaxBytes), mebibytes(u.Reserved)).
		WithHint("the administrator can raise log-max-bytes (SCU_LOG_MAX_BYTES); jobs that are here go on")
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
