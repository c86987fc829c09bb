package scu

import (
	"context"
	"time"
)

// MetricsStream carries each optimiser step from the trainer to whoever watches.
type MetricsStream interface {
	// PublishMetrics sends one step's metrics, in order, without waiting until they are
	// stored, up to a bound: only who must wait is refused because ctx has ended. A step
	// may be stored twice, but is never lost. FlushMetrics waits at the end.
	PublishMetrics(ctx context.Context, trainer string, m Metrics) error
	// FlushMetrics returns when everything published is stored.
	FlushMetrics(ctx context.Context) error
	// FollowMetrics gives a job's metrics from its first step on, then live, as they are
	// stored: with repetitions, which a [StepFilter] takes out. An entry that can't be
	// read has no JobID. The channel closes when ctx ends, or the metrics are replaced by others.
	FollowMetrics(ctx context.Context, jobID string) (<-chan MetricsEntry, error)
	// LastMetrics returns the entry of a job that was stored last, which is not always
	// of its newest attempt; CodeNotFound if there is none.
	LastMetrics(ctx context.Context, jobID string) (MetricsEntry, error)
}

// StepFilter passes each (attempt, step) of one job once and in order, and nothing that
// an attempt says after its successor has spoken. A new attempt may begin at an
// earlier step than the old one reached.
type StepFilter struct{ attempt, next int }

// Pass reports whether m is new.
func (f *StepFilter) Pass(m Metrics) bool {
	if m.JobID == "" || m.Attempt < f.attempt || m.Attempt == f.attempt && m.Step < f.next {
		return false
	}
	f.attempt, f.next = m.Attempt, m.Step+1
	return true
}

// Newer reports whether m comes after n in a job: a later attempt, or a later step of the
// same one.
func (m *Metrics) Newer(n *Metrics) bool {
	return m.Attempt > n.Attempt || m.Attempt == n.Attempt && m.Step > n.Step
}

// Metrics is what one optimiser step reports. Times are UTC. BPT is bits per token:
// nats / ln 2. Loss and CE go by these names everywhere: in JSON, in
// training_metrics.csv and on the command line.
type Metrics struct {
	JobID   string `json:"job_id"`
	Attempt int    `json:"attempt"`
	Step    int    `json:"step"`        // counted from 1, in optimiser steps
	Steps   int    `json:"total_steps"` // of the whole job

	Epoch           float64   `json:"epoch"`                // passes over the data after this step
	Loss            float64   `json:"loss"`                 // CE + lambda sum w^2 / (2 sigma^2 N), nats per token
	CE              float64   `json:"ce"`                   // cross-entropy of the whole step, nats per token
	DataBPT         float64   `json:"data_bpt"`             // CE / ln 2
	ParamBPT        float64   `json:"param_bpt"`            // sum w^2 / (2 sigma^2 N ln 2)
	TotalBPT        float64   `json:"total_bpt"`            // DataBPT + ParamBPT
	S               float64   `json:"s_ratio"`              // ParamBPT / TotalBPT
	TargetS         float64   `json:"target_s"`             // what the controller holds S to
	SHat            float64   `json:"s_hat"`                // S smoothed
	Lambda          float64   `json:"lambda_value"`         // used in this step's gradient
	LambdaNext      float64   `json:"lambda_next"`          // after the controller saw this step
	LambdaMin       *float64  `json:"lambda_min,omitempty"` // the bounds, if lambda_next rests at one of them
	LambdaMax       *float64  `json:"lambda_max,omitempty"`
	LearningRate    float64   `json:"learning_rate"`
	GradNorm        float64   `json:"grad_norm"`          // before clipping
	ValLoss         *float64  `json:"val_loss,omitempty"` // cross-entropy on the validation data, nats per token, if the step was evaluated
	Tokens          int64     `json:"tokens"`             // trained so far, this step included
	TokensPerSecond float64   `json:"tokens_per_second"`
	ETAMinutes      float64   `json:"eta_minutes"`
	Timestamp       time.Time `json:"timestamp"`
}
