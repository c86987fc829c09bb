// Package client is the Go SDK of the service: [New] makes a [Client], and the example
// takes it from data to adapter. Its types are those that go over the wire; the server
// uses the same ones, so the two can't diverge.
//
// Every method takes a context and returns a *[scu.Error] if the server refused: its
// Code is the kind, its Hint what to do, its Retry whether the same call may succeed
// later. A server that can't be reached is scu.CodeUnavailable.
package client

import (
	"time"

	"github.com/shannon-control/scu"
)

// SubmitRequest asks for a job.
type SubmitRequest struct {
	FromAdapter     string         `json:"from_adapter,omitempty" maxLength:"200" nullable:"true" doc:"The adapter to begin from: a job's id, JOB@STEP (or @last, @best) for a checkpoint, the id of an uploaded zip of a PEFT folder, or owner/name (@revision) on the Hugging Face Hub"`
	BaseModel       string         `json:"base_model" minLength:"1" maxLength:"500" example:"bookworm-2m" doc:"bookworm-2m (built in), a model folder on the server, or a Hugging Face model id"`
	TrainDataPath   string         `json:"train_data_path,omitempty" maxLength:"4096" doc:"The id of an uploaded file, a path below the server's data folders, an http(s) URL, or a file of a Hub data set (hf://datasets/owner/name/path). Either it or train_data is needed"`
	TrainData       []TrainSource  `json:"train_data,omitempty" minItems:"2" maxItems:"16" doc:"Several sources instead of train_data_path. Validation data is held out of each"`
	ValDataPath     string         `json:"val_data_path,omitempty" maxLength:"4096" nullable:"true" doc:"Validation data, named likewise. Without it a share of the training data is held out (val_fraction)"`
	OtherDataPath   string         `json:"other_data_path,omitempty" maxLength:"4096" nullable:"true" doc:"Text of another kind, named likewise. It isn't trained on: its loss before and after tells what is kept of the base"`
	TargetS         *float64       `json:"target_s,omitempty" nullable:"true" example:"0.01" doc:"The share of information that the adapter should hold: 0.001 to 0.5, default 0.01. config_overrides go before it"`
	ConfigOverrides map[string]any `json:"config_overrides,omitempty" nullable:"true" doc:"Fields of the configuration, merged deeply over the defaults: {\"lora\": {\"r\": 8}} keeps alpha. GET /jobs/{id} shows them all"`
	Recommend       bool           `json:"recommend,omitempty" doc:"Begin from the settings that POST /recommend answers for this model and data, instead of the defaults; target_s and config_overrides go before them"`
	Priority        int            `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"Higher runs first; default 0"`
	Name            string         `json:"name,omitempty" maxLength:"200" nullable:"true" doc:"A name for people"`

	NotBefore *time.Time `json:"not_before,omitempty" format:"date-time" nullable:"true" example:"2026-12-01T22:00:00Z" doc:"The job is queued then and not earlier (RFC 3339); until then it is scheduled"`

	Metadata               map[string]string `json:"metadata,omitempty" nullable:"true" doc:"What the user wants to keep with the job: at most 16 texts of 512 characters, under names of 64"`
	LearningRateMultiplier float64           `json:"learning_rate_multiplier,omitempty" exclusiveMinimum:"0" doc:"With recommend: the recommended learning rate times this"`

	// IdempotencyKey is sent as a header: within a day the same request under the same key
	// is one job. It makes a submission safe to repeat when its answer was lost.
	IdempotencyKey string `json:"-"`
}

// TrainSource is one of several sources of training data.
type TrainSource struct {
	Path  string  `json:"path" minLength:"1" maxLength:"4096" doc:"The data, named like train_data_path"`
	Share float64 `json:"share,omitempty" exclusiveMinimum:"0" maximum:"1000000" doc:"The relative weight of its tokens in an epoch, for all sources or none: the source with the most tokens for its share is read once, each of the others over and over until it has its share. Without shares each source is read once"`
}

// SubmitResponse says under which id a job was taken in.
type SubmitResponse struct {
	JobID    string     `json:"job_id"`
	Status   scu.Status `json:"status"`
	Message  string     `json:"message"`
	Warnings []string   `json:"warnings,omitempty" doc:"What is allowed but unwise"`
}

// DataCheckRequest asks what would become of a data file.
type DataCheckRequest struct {
	BaseModel       string         `json:"base_model" minLength:"1" maxLength:"500" example:"bookworm-2m" doc:"Whose tokenizer, and chat template, read the data; named as for a job"`
	TrainDataPath   string         `json:"train_data_path,omitempty" maxLength:"4096" doc:"The data, named as for a job. Either it or train_data is needed"`
	TrainData       []TrainSource  `json:"train_data,omitempty" minItems:"2" maxItems:"16" doc:"Several sources instead of train_data_path, as for a job"`
	ConfigOverrides map[string]any `json:"config_overrides,omitempty" nullable:"true" doc:"As for a job: block_size, text_documents and train_on count"`
	Preview         int            `json:"preview,omitempty" minimum:"0" maximum:"16" doc:"So many of the first blocks are answered token by token; default 0"`
}

// EstimateRequest asks what a job would take: on data, or on so many tokens.
type EstimateRequest struct {
	BaseModel       string         `json:"base_model" minLength:"1" maxLength:"500" example:"bookworm-2m" doc:"Named as for a job"`
	TrainDataPath   string         `json:"train_data_path,omitempty" maxLength:"4096" doc:"The data, named as for a job"`
	TrainData       []TrainSource  `json:"train_data,omitempty" minItems:"2" maxItems:"16" doc:"Several sources instead of train_data_path, as for a job"`
	ValDataPath     string         `json:"val_data_path,omitempty" maxLength:"4096" nullable:"true" doc:"Validation data likewise"`
	Tokens          int64          `json:"tokens,omitempty" minimum:"0" maximum:"1000000000000000" doc:"How many tokens of data, instead of train_data_path; 2 or more"`
	ConfigOverrides map[string]any `json:"config_overrides,omitempty" nullable:"true" doc:"As for a job"`
}

// RecommendRequest asks for the settings of a job.
type RecommendRequest struct {
	BaseModel     string        `json:"base_model" minLength:"1" maxLength:"500" example:"bookworm-2m" doc:"Named as for a job"`
	TrainDataPath string        `json:"train_data_path,omitempty" maxLength:"4096" doc:"The data, named as for a job. Without data only the model counts"`
	TrainData     []TrainSource `json:"train_data,omitempty" minItems:"2" maxItems:"16" doc:"Several sources instead of train_data_path, as for a job"`
	ValDataPath   string        `json:"val_data_path,omitempty" maxLength:"4096" nullable:"true" doc:"Validation data likewise"`
}

// JobStatus says where a job stands.
type JobStatus struct {
	JobID           string     `json:"job_id"`
	Status          scu.Status `json:"status" enum:"scheduled,queued,running,paused,completed,failed,cancelled"`
	CreatedAt       time.Time  `json:"created_at"`
	StartedAt       *time.Time `json:"started_at" doc:"When its first attempt began"`
	CompletedAt     *time.Time `json:"completed_at" doc:"When it ended, whichever way"`
	RanSeconds      float64    `json:"ran_seconds" doc:"How long it ran, over the attempts that are over; waits and pauses don't count"`
	RunningSince    *time.Time `json:"running_since" doc:"When the attempt that runs began"`
	ProgressPercent float64    `json:"progress_percent" doc:"Of the steps; 100 only if the job completed with all of them"`
	AdapterPath     *string    `json:"adapter_path" doc:"Where GET answers with the adapter, once there is one"`
	ErrorMessage    *string    `json:"error_message"`

	Name         string       `json:"name,omitempty"`
	Owner        string       `json:"owner,omitempty" doc:"Of the key that submitted it; none: the administrator"`
	NotBefore    *time.Time   `json:"not_before,omitempty" doc:"When a scheduled job is queued"`
	GivenUp      bool         `json:"given_up,omitempty" doc:"It failed since too many attempts got no further"`
	Retries      int          `json:"retries,omitempty" doc:"How often it was queued again after its end"`
	BaseModel    string       `json:"base_model"`
	Priority     int          `json:"priority"`
	CurrentPhase scu.Phase    `json:"current_phase,omitempty"`
	Stopping     bool         `json:"stopping,omitempty" doc:"It was asked to end now, with what it has learned"`
	EndedEarly   string       `json:"ended_early,omitempty" doc:"Of a completed job: why it didn't make all its steps"`
	Attempt      int          `json:"attempt" doc:"Attempts begun; 0 until a trainer took the job"`
	Step         int          `json:"step" doc:"Optimiser steps done"`
	TotalSteps   int          `json:"total_steps" doc:"0 while unknown"`
	Warnings     []string     `json:"warnings,omitempty" doc:"What is allowed but unwise and, once the job has ended, how that went: the worst first"`
	Error        *scu.Error   `json:"error,omitempty"`
	Metrics      *scu.Metrics `json:"metrics,omitempty" doc:"Of the newest step"`

	Class         string        `json:"class" doc:"The resources that it needs: only trainers of this class take it"`
	QueuePosition int           `json:"queue_position,omitempty" doc:"Of a queued job: its place among the queued jobs of its class, 1 for the next. A trainer of several classes takes others between; jobs of an owner who runs as many as may run are passed over"`
	NoTrainer     bool          `json:"no_trainer,omitempty" doc:"Of a queued job: no trainer is there that takes its class, so it waits until one is started"`
	WaitsFor      string        `json:"waits_for,omitempty" doc:"With no_trainer: the trainer that would take it"`
	QueuePaused   bool          `json:"queue_paused,omitempty" doc:"Of a queued job: the whole queue is paused"`
	QueuedBefore  *QueuedBefore `json:"queued_before,omitempty" doc:"What makes up that place"`
	SilentSeconds int           `json:"silent_seconds,omitempty" doc:"Of a running job: so long its trainer has given no sign of life. If it is dead, the job goes on when its claim ends, before those that are queued"`
}

// Ran is how long the job has run until now, over all its attempts.
func (s JobStatus) Ran(now time.Time) time.Duration {
	return scu.Job{RanSeconds: s.RanSeconds, RunningSince: s.RunningSince}.Ran(now)
}

// QueuedBefore counts the queued jobs of a job's class that come before it.
type QueuedBefore struct {
	HigherPriority int  `json:"higher_priority" doc:"The owner's own of a higher priority, or risen above this job's by waiting"`
	SamePriority   int  `json:"same_priority" doc:"The owner's own of the same priority: those that were interrupted, then those that came earlier"`
	OtherOwners    int  `json:"other_owners,omitempty" doc:"Of other owners, who take turns with this job's, at most"`
	More           bool `json:"more,omitempty" doc:"There may be more: of a long queue about 1,000 of each number are counted, and queue_position is the place at least"`
}

// JobDetail is everything known of a job.
type JobDetail struct {
	scu.Job
	ProgressPercent float64      `json:"progress_percent"`
	Step            int          `json:"step" doc:"Optimiser steps done"`
	AdapterPath     *string      `json:"adapter_path"`
	Metrics         *scu.Metrics `json:"metrics,omitempty" doc:"Of the newest step"`
}

// JobSummary is a job in a list.
type JobSummary struct {
	JobID           string     `json:"job_id"`
	BaseModel       string     `json:"base_model"`
	Status          scu.Status `json:"status"`
	CreatedAt       time.Time  `json:"created_at"`
	StartedAt       *time.Time `json:"started_at"`
	CompletedAt     *time.Time `json:"completed_at"`
	Name            string     `json:"name,omitempty"`
	Owner           string     `json:"owner,omitempty" doc:"Of the key that submitted it"`
	Priority        int        `json:"priority"`
	CurrentPhase    scu.Phase  `json:"current_phase,omitempty"`
	ProgressPercent float64    `json:"progress_percent"`
	Step            int        `json:"step"`
	TotalSteps      int        `json:"total_steps"`
	Warnings        []string   `json:"warnings,omitempty"`
	NotBefore       *time.Time `json:"not_before,omitempty"`
	Error           *scu.Error `json:"error,omitempty" doc:"Why it failed"`
	Attempt         int        `json:"attempt,omitempty"`

	TargetS       float64  `json:"target_s,omitempty"`
	S             *float64 `json:"s_ratio,omitempty" doc:"Of a completed job: S of its last step"`
	ValLossBefore *float64 `json:"val_loss_before,omitempty" doc:"Of a completed job: of the untouched base, nats per token"`
	ValLossAfter  *float64 `json:"val_loss_after,omitempty" doc:"Of a completed job: of its adapter"`
}

// JobList is a page of jobs, the newest first.
type JobList struct {
	Jobs  []JobSummary `json:"jobs" nullable:"false"`
	Count int          `json:"count" doc:"Of this page"`
}

// TrainerList lists the live trainers, by name.
type TrainerList struct {
	Trainers []scu.Presence `json:"trainers" nullable:"false"`
	Count    int            `json:"count"`
}

// CheckpointList are the adapters that a job kept at validations.
type CheckpointList struct {
	JobID       string           `json:"job_id"`
	Status      scu.Status       `json:"status" enum:"scheduled,queued,running,paused,completed,failed,cancelled" doc:"Of the job: what a failed or cancelled one had learned may be of little use"`
	Checkpoints []scu.Checkpoint `json:"checkpoints" nullable:"false" doc:"In the order of their steps"`
	Count       int              `json:"count"`
}

// History is what a job went through.
type History struct {
	JobID   string         `json:"job_id"`
	Entries []HistoryEntry `json:"entries" nullable:"false" doc:"In order, from the submission on"`
	Count   int            `json:"count"`
}

// HistoryEntry is one change of a job's state.
type HistoryEntry struct {
	Type    scu.EventType `json:"type"`
	Time    time.Time     `json:"time"`
	Status  scu.Status    `json:"status" doc:"From then on"`
	Phase   scu.Phase     `json:"current_phase,omitempty"`
	Attempt int           `json:"attempt"`
	Trainer string        `json:"trainer,omitempty"`
	Step    int           `json:"step,omitempty" doc:"Of a checkpoint"`
	Error   *scu.Error    `json:"error,omitempty" doc:"Of a failure"`
}

// SignInRequest signs a browser in.
type SignInRequest struct {
	Key string `json:"key" maxLength:"1000" doc:"An API key of the server"`
}

// Session tells a page where it stands.
type Session struct {
	KeyNeeded bool `json:"key_needed" doc:"The server has API keys"`
	SignedIn  bool `json:"signed_in" doc:"This browser needs no key, or has shown one"`

	Scope scu.Scope `json:"scope,omitempty" enum:"read,submit,admin" doc:"What it may do, once it is signed in"`
	Owner string    `json:"owner,omitempty" doc:"Whose things it sees; none: the administrator"`
}

// CancelResponse confirms a cancellation, or a wish to stop.
type CancelResponse struct {
	Message string     `json:"message"`
	JobID   string     `json:"job_id"`
	Status  scu.Status `json:"status"`
}

// FileList is a page of files, in the order of their ids.
type FileList struct {
	Files   []scu.File `json:"files" nullable:"false"`
	Count   int        `json:"count" doc:"Of this page"`
	HasMore bool       `json:"has_more"`
	Next    string     `json:"next" doc:"Give it as after for what follows"`
}

// DeleteResponse confirms a deletion.
type DeleteResponse struct {
	Message string `json:"message"`
	ID      string `json:"id"`
}

// MetricsPage is a page of a job's steps, in order.
type MetricsPage struct {
	Metrics []scu.Metrics `json:"metrics" nullable:"false"`
	HasMore bool          `json:"has_more"`
	Next    int           `json:"next" doc:"Give it as after for what follows"`
	AtBound int           `json:"at_bound,omitempty" doc:"With resolution: how many of all steps, not only of these, left lambda at a bound"`
}

// What Health.Status can be.
const (
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
)

// Health reports whether the service works.
type Health struct {
	Status      string    `json:"status" enum:"healthy,unhealthy"`
	Timestamp   time.Time `json:"timestamp"`
	ActiveJobs  int       `json:"active_jobs" doc:"Running now"`
	QueuedJobs  int       `json:"queued_jobs"`
	QueuePaused bool      `json:"queue_paused,omitempty" doc:"Nobody takes jobs until the queue is resumed"`
	Version     string    `json:"version"`
	Problems    []string  `json:"problems,omitempty" doc:"The parts that don't work"`
	Warnings    []string  `json:"warnings,omitempty" doc:"What will stop working, if nobody acts: streams that fill or that NATS has no room for, blobs that are damaged"`

	Copies *scu.Copies `json:"copies,omitempty" doc:"Of the log, if NATS is a cluster"`
}

// ErrorBody is what every refusal looks like. Where several things are wrong, Error is
// the first and Errors are all of them.
type ErrorBody struct {
	Error  *scu.Error   `json:"error"`
	Errors []*scu.Error `json:"errors,omitempty" doc:"Everything that is wrong, if that is more than one thing"`
	Detail string       `json:"detail" doc:"The errors in one line"`
}
