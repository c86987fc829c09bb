package scu

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hubName matches "name" and "owner/name" as the Hugging Face Hub has them.
var hubName = regexp.MustCompile(`^(\w([\w.-]{0,94}\w)?/)?\w([\w.-]{0,94}\w)?$`)

// Check refuses values out of range and values that don't go together, all at once
// (see [Errors]). It knows neither the model nor the data; [Validation.Advise] tells
// what is allowed but unwise.
func (c *Config) Check() error {
	var errs []error
	add := func(err *Error) { errs = append(errs, err) }
	for _, b := range c.bounds() {
		if !(b.v >= b.lo && b.v <= b.hi) { // NaN is refused too
			add(Errorf(CodeInvalid, "%v is out of range; it goes from %v to %v", b.v, b.lo, b.hi).At(b.at))
		}
	}
	deadband := 0.0
	if c.Control.Published() {
		deadband = maxDeadband
	}
	if d := c.Control.Deadband; !(d >= 0 && d <= deadband) {
		add(Errorf(CodeInvalid, "%v is out of range; it goes from 0 to %v under the law %s", d, deadband, c.Control.Law).At("control.deadband").
			WithHint("only %s has a deadband", LawSCU))
	}
	for _, choice := range c.choices() {
		if !slices.Contains(choice.allowed, choice.v) {
			add(Errorf(CodeInvalid, "%q is not known; it is %s", choice.v, oneOf(choice.allowed)).At(choice.at))
		}
	}
	if c.HubAdapterName != "" && !hubName.MatchString(c.HubAdapterName) {
		add(Errorf(CodeInvalid, "%.100q is no repository's name", c.HubAdapterName).At("hub_adapter_name").
			WithHint("name or owner/name, each of at most 96 letters, digits, -, _ and ., with no - or . at either end"))
	}
	if c.Control.LambdaMin >= c.Control.LambdaMax {
		add(Errorf(CodeInvalid, "%v is not below lambda_max %v", c.Control.LambdaMin, c.Control.LambdaMax).At("control.lambda_min"))
	}
	if c.Control.LambdaInit < c.Control.LambdaMin || c.Control.LambdaInit > c.Control.LambdaMax {
		add(Errorf(CodeInvalid, "%v is outside lambda_min %v to lambda_max %v", c.Control.LambdaInit, c.Control.LambdaMin, c.Control.LambdaMax).At("control.lambda_init"))
	}
	if len(c.LoRA.TargetModules) == 0 {
		add(Errorf(CodeInvalid, "names no module").At("lora.target_modules").WithHint("leave it out for the default, or use %q", AllLinear))
	}
	for i, m := range c.LoRA.TargetModules {
		if m == "" || len(m) > 1000 {
			add(Errorf(CodeInvalid, "a module's name has 1 to 1000 characters").At(fmt.Sprintf("lora.target_modules[%d]", i)))
		}
	}
	return Join(errs...)
}

// oneOf lists values for people: "a", "b" or "c".
func oneOf(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// bound is the range of a field.
type bound struct {
	at     string // path of the field
	v      float64
	lo, hi float64
}

// maxDeadband is the widest deadband, under the law that has one.
const maxDeadband = 0.1

// maxTarget is the largest share of information that S may be held at.
const maxTarget = 0.5

// bounds lists every number with its range.
func (c *Config) bounds() []bound {
	gain, initMin, initMax, lambdaMin, lambdaMax := 10.0, 1e-6, 100.0, 1e-8, 1e4
	switch {
	case c.Control.Published():
		lambdaMax = 1000
	case c.Control.Law == LawFixed:
		gain, initMin, initMax, lambdaMin = 0, 0, 1e4, 0
	}
	bounds := []bound{
		{"control.target_s", c.Control.TargetS, 0.001, maxTarget},
		{"control.Kp", c.Control.Kp, 0, gain},
		{"control.Ki", c.Control.Ki, 0, gain},
		{"control.lambda_init", c.Control.LambdaInit, initMin, initMax},
		{"control.lambda_min", c.Control.LambdaMin, lambdaMin, 1},
		{"control.lambda_max", c.Control.LambdaMax, 0.1, lambdaMax},
		{"lora.r", float64(c.LoRA.R), 1, 128},
		{"lora.alpha", c.LoRA.Alpha, 1, 256},
		{"lora.dropout", c.LoRA.Dropout, 0, 0.5},
		{"prior_sigma", c.PriorSigma, 1e-4, 1},
		{"epochs", float64(c.Epochs), 1, 10000},
		{"batch_size", float64(c.BatchSize), 1, 256},
		{"gradient_accumulation_steps", float64(c.GradientAccumulationSteps), 1, 100},
		{"learning_rate", c.LearningRate, 1e-7, 1},
		{"block_size", float64(c.BlockSize), 128, 32768},
		{"max_grad_norm", c.MaxGradNorm, 0, 1e6},
		{"val_fraction", c.ValFraction, 0, 0.5},
		{"eval_every", float64(c.EvalEvery), 0, 1e9},
		{"checkpoint_every", float64(c.CheckpointEvery), 0, 1e9},
		{"keep_checkpoints", float64(c.KeepCheckpoints), 0, 1000},
		{"early_stopping_patience", float64(c.EarlyStoppingPatience), 0, 1e6},
	}
	if c.Steps != nil {
		bounds = append(bounds, bound{"steps", float64(*c.Steps), 1, 1e7})
	}
	if c.GPUID != nil {
		bounds = append(bounds, bound{"gpu_id", float64(*c.GPUID), 0, 1023})
	}
	for _, name := range slices.Sorted(maps.Keys(c.LoRA.RankPattern)) {
		bounds = append(bounds, bound{"lora.rank_pattern." + name, float64(c.LoRA.RankPattern[name]), 1, 128})
	}
	for i, layer := range c.LoRA.LayersToTransform {
		bounds = append(bounds, bound{fmt.Sprintf("lora.layers_to_transform[%d]", i), float64(layer), 0, 9999})
	}
	for _, name := range slices.Sorted(maps.Keys(c.LoRA.AlphaPattern)) {
		bounds = append(bounds, bound{"lora.alpha_pattern." + name, c.LoRA.AlphaPattern[name], 1, 256})
	}
	return bounds
}

// choice is a field of a few values.
type choice struct {
	at, v   string
	allowed []string
}

// choices lists every field that is one of a few values.
func (c *Config) choices() []choice {
	return []choice{
		{"control.law", c.Control.Law, []string{LawLogPI, LawSCU, LawFixed, LawUnapplied}},
		{"text_documents", c.TextDocuments, []string{DocumentFile, DocumentPara}},
		{"train_on", c.TrainOn, []string{TrainOnAll, TrainOnCompletion, TrainOnLast}},
		{"packing", c.Packing, []string{PackRows, PackJoined, PackOff}},
		{"keep", c.Keep, []string{KeepBest, KeepLast}},
		{"half_type", c.HalfType, []string{HalfAuto, HalfBF16, HalfFP16}},
	}
}
