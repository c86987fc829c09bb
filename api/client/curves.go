package client

import "github.com/shannon-control/scu"

// Curves is what a chart draws of a job's steps: columns of one length, in order of the steps.
type Curves struct {
	Step       []int      `json:"step" nullable:"false"`
	CE         []float64  `json:"ce" nullable:"false" doc:"Loss of training, nats a token"`
	ValLoss    []*float64 `json:"val_loss" nullable:"false" doc:"Loss of validation, nats a token; null where it wasn't taken"`
	S          []float64  `json:"s_ratio" nullable:"false"`
	SHat       []float64  `json:"s_hat" nullable:"false" doc:"S, smoothed"`
	Lambda     []float64  `json:"lambda_value" nullable:"false"`
	LambdaNext []float64  `json:"lambda_next" nullable:"false"`
	AtBound    []bool     `json:"at_bound" nullable:"false" doc:"The step left lambda at a bound"`

	StepsAtBound int          `json:"steps_at_bound" doc:"How many of all steps, not only of these, left lambda at a bound"`
	Last         *scu.Metrics `json:"last,omitempty" doc:"The last of the steps, with all its figures"`
}
