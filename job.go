package scu

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// Status is where a job stands.
type Status string

const (
	Scheduled Status = "scheduled" // waits for Job.NotBefore
	Queued    Status = "queued"
	Running   Status = "running"
	Paused    Status = "paused"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"

	// Deleted is the status of an entry of the log, and of no job that can be asked for.
	Deleted Status = "deleted"
)

// Statuses lists every status that a job can be seen in, in the order a job meets them.
var Statuses = []Status{Scheduled, Queued, Running, Paused, Completed, Failed, Cancelled}

// Ended reports whether the status is final.
func (s Status) Ended() bool { return s == Completed || s == Failed || s == Cancelled || s == Deleted }

// InQueue reports whether the work queue holds jobs of the status.
func (s Status) InQueue() bool { return s == Queued || s == Running }

// Phase is what a running job is doing.
type Phase string

const (
	LoadingModel  Phase = "loading_model"
	PreparingData Phase = "preparing_data"
	Training      Phase = "training"
	SavingAdapter Phase = "saving_adapter"
	Uploading     Phase = "uploading"
)

// BuiltInModel names the base model that is part of the program.
const BuiltInModel = "bookworm-2m"

// Priorities bound Job.Priority: higher runs first.
const (
	MinPriority = -100
	MaxPriority = 100
)

// File is an immutable file, named by the sha256 of its bytes.
type File struct {
	ID        string    `json:"id"` // sha256, hex
	Name      string    `json:"name"`
	Size      int64     `json:"size"`
	CreatedAt time.Time `json:"created_at"`
	Damaged   bool      `json:"damaged,omitempty" doc:"Its bytes are damaged or lost in the store: upload the same file again"`
}

// Job is a job's whole state. Every entry of the log carries the state after it,
// so the last entry alone answers for the job.
type Job struct {
	ID        string  `json:"job_id"`
	Name      string  `json:"name,omitempty"`
	Owner     string  `json:"owner,omitempty"` // of the key that submitted it; see ValidOwner
	BaseModel string  `json:"base_model"`
	Config    Config  `json:"config"`
	TrainData File    `json:"train_data"`        // the first source, if there are several
	Sources   Sources `json:"sources,omitempty"` // all of them, if there are several
	ValData   *File   `json:"val_data,omitempty"`
	OtherData *File   `json:"other_data,omitempty"` // of another kind, see Config.OtherDataPath
	Class     string  `json:"class"`                // resource class: "cpu", or the GPU memory it needs, as "gpu24"
	Priority  int     `json:"priority"`

	Comparison string     `json:"comparison,omitempty"` // the id of the comparison that it is part of
	NotBefore  *time.Time `json:"not_before,omitempty"` // it is queued then

	Metadata map[string]string `json:"metadata,omitempty"` // of the user's own
	// LearningRateMultiplier is what the recommended learning rate was multiplied by;
	// Config has the product. 0: by nothing.
	LearningRateMultiplier float64 `json:"learning_rate_multiplier,omitempty"`

	Status   Status   `json:"status"`
	Phase    Phase    `json:"current_phase,omitempty"`
	Attempt  int      `json:"attempt"`                // 0 until a trainer starts it
	Tries    int      `json:"tries,omitempty"`        // attempts begun since one got further than all before
	Reached  int      `json:"reached_step,omitempty"` // the furthest checkpoint that the log knows of
	Trainer  string   `json:"trainer,omitempty"`      // who runs or ran the attempt
	Steps    int      `json:"total_steps,omitempty"`
	Warnings []string `json:"warnings,omitempty"`

	GivenUp         bool `json:"given_up,omitempty"`         // it failed since too many attempts got no further
	Retries         int  `json:"retries,omitempty"`          // how often it was queued again after its end
	FromAttempt     int  `json:"from_attempt,omitempty"`     // checkpoints of attempts before this one don't count
	SaveActivations bool `json:"save_activations,omitempty"` // keep less in memory and compute it again

	Stopping    bool         `json:"stopping,omitempty"`    // a user wants it to end now, with what it has learned
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"` // in the order of their steps

	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at,omitzero"`    // of its newest entry in the log
	StartedAt   *time.Time `json:"started_at,omitempty"`   // of the first attempt
	CompletedAt *time.Time `json:"completed_at,omitempty"` // when it ended, whichever way

	// How long it ran: waits in the queue and pauses don't count. See Ran.
	RanSeconds   float64    `json:"ran_seconds,omitempty" doc:"How long it ran, over the attempts that are over; waits and pauses don't count"`
	RunningSince *time.Time `json:"running_since,omitempty" doc:"When the attempt that runs began"`

	Trace   string   `json:"traceparent,omitempty"` // the request that submitted it, as W3C Trace Context has it, if it was traced
	Error   *Error   `json:"error,omitempty"`
	Adapter *Adapter `json:"adapter,omitempty"`
}

// Ran is how long the job has run until now, over all its attempts.
func (j Job) Ran(now time.Time) time.Duration {
	ran := time.Duration(j.RanSeconds * float64(time.Second))
	if j.RunningSince != nil {
		ran += max(0, now.Sub(*j.RunningSince))
	}
	return ran
}

// NewJobID returns 16 random hex digits: safe in subjects, paths and URLs.
func NewJobID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ValidJobID reports whether s has the form of NewJobID. Anything else must not
// reach a subject, a path or a query.
func ValidJobID(s string) bool { return isHex(s, 16) }

// NoJob is the error of an id that no job has.
func NoJob(id string) *Error {
	e := Errorf(CodeNotFound, "no job %.40q", id)
	if !ValidJobID(id) {
		return e.WithHint("a job id is the 16 hex digits that a submission returned")
	}
	return e.WithHint("GET /jobs lists those that are here")
}

// ValidFileID reports whether s is a sha256 in lower-case hex.
func ValidFileID(s string) bool { return isHex(s, 64) }

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := 0; i < n; i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
