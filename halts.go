package scu

import "context"

// Halts are what an operator has halted. Jobs that run go on.
type Halts struct {
	Queue    bool     `json:"queue"`              // nobody takes a job
	Trainers []string `json:"trainers,omitempty"` // those that take no more jobs, by name
}

// Operator halts the queue or a trainer, and sets them going again.
type Operator interface {
	// HaltQueue halts or releases the whole queue. Twice is once.
	HaltQueue(ctx context.Context, halt bool) error
	// Drain makes a trainer take no more jobs, or lets it take some again. Twice is once.
	Drain(ctx context.Context, trainer string, drain bool) error
	// Halted returns what is halted.
	Halted(ctx context.Context) (Halts, error)
}
