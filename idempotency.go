package scu

import "context"

// SubmissionKeys remembers, for a day, which job a client's own key stands for, so that
// a submission that is sent again is one job. It holds for every API of a service.
type SubmissionKeys interface {
	// Reserve binds a key to a submission unless it is bound, and returns what it is
	// bound to.
	Reserve(ctx context.Context, key string, s KeyedSubmission) (KeyedSubmission, error)
	// Reserved returns what a key is bound to; CodeNotFound if it isn't.
	Reserved(ctx context.Context, key string) (KeyedSubmission, error)
}

// KeyedSubmission is what a key is bound to before its job is submitted. Whether it was,
// the log says.
type KeyedSubmission struct {
	JobID   string `json:"job_id"`
	Request string `json:"request"` // sha256 of what was asked for, hex
}
