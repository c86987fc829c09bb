package scu

// The streams that grow with all work.
const (
	LogUse     = "log"
	MetricsUse = "metrics"
)

// StreamUse is how full a stream is.
type StreamUse struct {
	Name     string // LogUse or MetricsUse
	Bytes    int64
	MaxBytes int64 // 0 or less: there is no limit
}

// forJobs is the share of the log that new jobs may fill. The rest is for those that are here:
// what they go through until their end, some six entries or 17 kB each, must get in. It is a
// share, not a count: a queue with more jobs than that would fill it, 90,000 by the default limit.
const forJobs = 0.9

// NearlyFull is the share of a stream from which on it is told that it fills.
const NearlyFull = 0.75

// Full is the share of the limit that is taken; 0 if there is none.
func (u StreamUse) Full() float64 {
	if u.MaxBytes <= 0 {
		return 0
	}
	return float64(u.Bytes) / float64(u.MaxBytes)
}

// RoomForJobs refuses new jobs, as CodeStorage, while the log, one of the streams, has only the
// room that is kept for those that are here.
func RoomForJobs(streams []StreamUse) error {
	for _, u := range streams {
		if u.Name == LogUse && u.Full() >= forJobs {
			return Errorf(CodeStorage, "the log takes no new jobs: it has %d of the %d MiB that it may have, and the rest is kept for the jobs that are here", u.Bytes>>20, u.MaxBytes>>20).
				WithHint("the administrator can raise log-max-bytes (SCU_LOG_MAX_BYTES); jobs that are here go on")
		}
	}
	return nil
}
