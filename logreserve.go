package scu

// The log refuses what doesn't fit, so it keeps room for what the jobs in it that have not
// ended are still to say: by these numbers, for each of them.
const (
	// attemptWords are those of an attempt after its start: four phases, a stop, a return to the
	// queue, and the job's end.
	attemptWords = 7
	// plannedWords are the entries after its submission that a job is taken in with room for: it
	// starts, keeps five checkpoints, as many as there are validations by default, and goes through
	// an attempt.
	plannedWords = 1 + 5 + attemptWords
	// wordGrowth is how many bytes longer than a job's submission its entries are taken to be:
	// warnings, checkpoints, the trainer.
	wordGrowth = 1 << 10
	// endRoom is how many bytes longer its last one may be: an error's texts, or an adapter.
	endRoom = 6 << 10
)

// OpenJob is what is known of a job that has not ended to tell how much room its entries
// will still need in the log. The zero OpenJob is none.
type OpenJob struct {
	first, last uint32 // bytes of its first and its newest entry
	said        uint16 // entries after the first
	running     bool
	passed      uint8 // of the words of its attempt that were kept room for
}

// After is the job after one more entry, of so many bytes in the log; its first one, or a
// retry, if there was none.
func (o OpenJob) After(t EventType, size int64) OpenJob {
	if o.first == 0 {
		return OpenJob{first: uint32(size), last: uint32(size)}
	}
	o.last = uint32(size)
	o.said = min(o.said, plannedWords) + 1
	switch t {
	case EventStarted:
		o.running, o.passed = true, 0
	case EventPhase, EventStop:
		o.passed = min(o.passed, attemptWords) + 1
	case EventHandedBack, EventPaused, EventResumed:
		o.running = false
	}
	return o
}

// Reserve is how many bytes of the log are kept for the job: for the words that it was taken in
// with and has not said, and at least for its way to an end. 0 of the zero OpenJob.
func (o OpenJob) Reserve() int64 {
	if o.first == 0 {
		return 0
	}
	needed := 1
	if o.running {
		needed = max(2, attemptWords-int(o.passed))
	}
	return int64(max(plannedWords-int(o.said), needed))*max(int64(o.first)+wordGrowth, int64(o.last)) + endRoom
}

// MostReserved bounds what n entries of so many bytes together may have made the log keep: as
// much as if each were a job's first.
func MostReserved(n, bytes int64) int64 {
	return plannedWords*(bytes+n*wordGrowth) + n*endRoom
}
