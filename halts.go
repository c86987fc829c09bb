package scu

import "context"

// Halts are what an operator has halted or limited. Jobs that run go on.
type Halts struct {
	Queue    bool     `json:"queue"`              // nobody takes a job
	Trainers []string `json:"trainers,omitempty"` // those that take no more jobs, by name
	// Running is how many jobs of an owner run at once, by owner; under [EachOwner] it
	// holds for those that aren't named.
	Running map[string]int `json:"running,omitempty"`
}

// EachOwner stands for every owner that isn't named. No owner is called so.
const EachOwner = "*"

// MaxRunning is how many jobs of an owner may run at once; 0: any number. The
// administrator's jobs, which have no owner, are never limited.
func (h Halts) MaxRunning(owner string) int {
	if owner == "" {
		return 0
	}
	if most, ok := h.Running[owner]; ok {
		return most
	}
	return h.Running[EachOwner]
}

// Operator halts the queue or a trainer, and sets them going again.
type Operator interface {
	// HaltQueue halts or releases the whole queue. Twice is once.
	HaltQueue(ctx context.Context, halt bool) error
	// Drain makes a trainer take no more jobs, or lets it take some again. Twice is once.
	Drain(ctx context.Context, trainer string, drain bool) error
	// LimitRunning sets [Halts.Running]. Twice is once.
	LimitRunning(ctx context.Context, running map[string]int) error
	// Halted returns what is halted and limited.
	Halted(ctx context.Context) (Halts, error)
}
