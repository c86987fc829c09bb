package scu

import "time"

// Metrics is what one optimiser step says. The JSON names of the seed stay; times
// are UTC. BPT is bits per token: nats / ln 2.
type Metrics struct {
	JobID   string `json:"job_id"`
	Attempt int    `json:"attempt"`
	Step    int    `json:"step"`        // from 0, in optimiser steps
	Steps   int    `json:"total_steps"` // of the whole job

	Epoch           float64   `json:"epoch"`        // passes over the data after this step
	Loss            float64   `json:"loss"`         // CE + lambda sum w^2 / (2 sigma^2 N), nats per token
	CE              float64   `json:"ce"`           // cross-entropy of the whole step, nats per token
	DataBPT         float64   `json:"data_bpt"`     // CE / ln 2
	ParamBPT        float64   `json:"param_bpt"`    // sum w^2 / (2 sigma^2 N ln 2)
	TotalBPT        float64   `json:"total_bpt"`    // DataBPT + ParamBPT
	S               float64   `json:"s_ratio"`      // ParamBPT / TotalBPT
	SHat            float64   `json:"s_hat"`        // S smoothed
	Lambda          float64   `json:"lambda_value"` // used in this step's gradient
	LambdaNext      float64   `json:"lambda_next"`  // after the controller saw this step
	LearningRate    float64   `json:"learning_rate"`
	GradNorm        float64   `json:"grad_norm"`          // before clipping
	ValLoss         *float64  `json:"val_loss,omitempty"` // nats per token, where the step was evaluated
	Tokens          int64     `json:"tokens"`             // trained so far, this step included
	TokensPerSecond float64   `json:"tokens_per_second"`
	ETAMinutes      float64   `json:"eta_minutes"`
	Timestamp       time.Time `json:"timestamp"`
}
