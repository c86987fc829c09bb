package scu

import (
	"fmt"
	"math"
)

// Finding is one thing that validation has to say about a job.
type Finding struct {
	Field      string `json:"field,omitempty"` // path in the configuration, or of the request
	Code       string `json:"code"`            // for programs
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"` // what to do about it
}

// String is the finding in one line, as a job's warnings have it.
func (f Finding) String() string {
	s := f.Message
	if f.Suggestion != "" {
		s += "; " + f.Suggestion
	}
	return s
}

// Validation is everything that is to be said about a job before it runs.
type Validation struct {
	Errors      Errors    // why it can't run
	Warnings    []Finding // what is allowed but most likely not meant
	Suggestions []Finding // what would probably be better
	Class       string    // the resource class that can run it
}

// Warn adds a warning.
func (v *Validation) Warn(field, code, suggestion, message string, args ...any) {
	v.Warnings = append(v.Warnings, Finding{field, code, fmt.Sprintf(message, args...), suggestion})
}

// Suggest adds a suggestion.
func (v *Validation) Suggest(field, code, suggestion, message string, args ...any) {
	v.Suggestions = append(v.Suggestions, Finding{field, code, fmt.Sprintf(message, args...), suggestion})
}

// Texts are the warnings and suggestions in lines, as a job keeps them.
func (v *Validation) Texts() (lines []string) {
	for _, list := range [][]Finding{v.Warnings, v.Suggestions} {
		for _, f := range list {
			lines = append(lines, f.String())
		}
	}
	return lines
}

// Report is a Validation as it is answered.
type Report struct {
	Valid       bool      `json:"valid"`
	Errors      []Finding `json:"errors" nullable:"false"`
	Warnings    []Finding `json:"warnings" nullable:"false"`
	Suggestions []Finding `json:"suggestions" nullable:"false"`
}

// Report returns v as it is answered.
func (v *Validation) Report() Report {
	r := Report{Valid: len(v.Errors) == 0, Errors: []Finding{}, Warnings: append([]Finding{}, v.Warnings...), Suggestions: append([]Finding{}, v.Suggestions...)}
	for _, e := range v.Errors {
		r.Errors = append(r.Errors, Finding{e.Field, string(e.Code), e.Message, e.Hint})
	}
	return r
}

// Advise adds what Check allows and experience advises against. It knows neither the
// model nor the data.
func (v *Validation) Advise(c *Config) {
	if c.PriorSigma < 0.03 {
		v.Warn("prior_sigma", "prior_sigma_small", "0.1 is the default",
			"prior_sigma %v is small: the LoRA init alone takes S over its target and lambda then presses the adapter to zero", c.PriorSigma)
	}
	if c.LearningRate > 1e-3 {
		v.Warn("learning_rate", "learning_rate_high", "1e-5 to 1e-3 is usual for LoRA", "learning_rate %v is high", c.LearningRate)
	}
	if c.EarlyStoppingPatience > 0 && c.ValFraction == 0 && c.ValDataPath == "" {
		v.Warn("early_stopping_patience", "nothing_to_validate", "give validation data, or raise val_fraction", "early_stopping_patience does nothing: val_fraction is 0 and there is no validation data")
	}
	if c.Control.TargetS > 0.1 {
		v.Warn("control.target_s", "target_high", "0.003 to 0.05 is usual", "control.target_s %v is high", c.Control.TargetS)
	}
	if c.Control.Published() && c.Control.Deadband >= c.Control.TargetS {
		v.Warn("control.deadband", "deadband_wide", "", "control.deadband %v is not below target_s %v: lambda can never fall", c.Control.Deadband, c.Control.TargetS)
	}
	if n := c.BatchSize * c.GradientAccumulationSteps; n < 4 {
		verb := "are"
		if n == 1 {
			verb = "is"
		}
		v.Suggest("batch_size", "batch_small", "raise batch_size or gradient_accumulation_steps for steadier steps", "%s a step %s few", Counted(n, "block"), verb)
	}
	if ratio := c.LoRA.Alpha / float64(c.LoRA.R); ratio < 0.5 || ratio > 4 {
		v.Warn("lora.alpha", "alpha_unusual", "1 to 2 is usual", "lora.alpha/lora.r is %.2g", ratio)
	}
	if c.MaxGradNorm == 0 && c.LearningRate > 1e-4 {
		v.Suggest("max_grad_norm", "no_clipping", "1 is the default", "max_grad_norm 0 clips nothing: one odd batch can throw the adapter far off")
	}
}

// Shape is what advice on a model and its data needs to know.
type Shape struct {
	Parameters int64
	Width      int   // hidden size
	Modules    []int // inputs of each adapted module
	Blocks     int   // of the training data; 0: not known
	Tokens     int64 // of one epoch
	Steps      int   // of the job
}

// AdviseOn adds what the model and the data advise against.
func (v *Validation) AdviseOn(c *Config, s Shape) {
	switch {
	case s.Width > 0 && c.LoRA.R >= s.Width:
		v.Warn("lora.r", "rank_exceeds_width", fmt.Sprintf("%d would be an eighth of it", max(1, s.Width/8)),
			"lora.r %d is not below the model's width of %d: the adapter has more weights than what it adapts", c.LoRA.R, s.Width)
	case c.LoRA.R > 64 && s.Parameters < 2e9:
		v.Warn("lora.r", "rank_high", "16 to 32 is usual below 2 billion parameters", "lora.r %d is high for a model of %s parameters", c.LoRA.R, millions(s.Parameters))
	}
	if s.Blocks == 0 || s.Steps == 0 {
		return
	}
	step := c.BatchSize * c.GradientAccumulationSteps
	if step > s.Blocks {
		v.Warn("gradient_accumulation_steps", "step_exceeds_data", "lower batch_size or gradient_accumulation_steps",
			"a step takes %d blocks and the data has %d: each step is a whole epoch", step, s.Blocks)
	}
	if epochs := s.Steps * step / s.Blocks; epochs > manyEpochs && c.Steps == nil && step <= s.Blocks {
		v.Warn("epochs", "epochs_many", "docs/controller.md shows what happens after some 20 epochs",
			"%d epochs repeat %s over and over", c.Epochs, Counted(s.Blocks, "block"))
	}
	v.adviseOnTarget(c, s)
}

// manyEpochs is the number of passes over the same text from which on one asks why.
const manyEpochs = 100

// adviseOnTarget warns of a target that S can't come down to in so few steps. S begins
// where the init of the A matrices puts it, uniform with a variance of 1/(3 in): rank
// r gives each module a sum of squares of r/3. A step of AdamW moves a weight by the
// learning rate at most, so a run moves it by the sum of the schedule, half of
// steps x learning rate.
func (v *Validation) adviseOnTarget(c *Config, s Shape) {
	const dataBPT = 8 // of a model on a text that it hardly knows; more would make S smaller
	var before, after float64
	reach := c.LearningRate * float64(s.Steps) / 2
	for _, in := range s.Modules {
		deviation := 1 / math.Sqrt(3*float64(in))
		n := float64(c.LoRA.R * in)
		left := max(0, deviation-reach)
		before += n * deviation * deviation
		after += n * left * left
	}
	share := func(sumSquares float64) float64 {
		p := sumSquares / (2 * c.PriorSigma * c.PriorSigma * float64(s.Tokens) * math.Ln2)
		return p / (p + dataBPT)
	}
	if least := share(after); least > 1.5*c.Control.TargetS {
		advice := "raise epochs or learning_rate"
		if least <= maxTarget {
			advice += fmt.Sprintf(", or the target to about %.2g", least)
		}
		v.Warn("control.target_s", "target_out_of_reach", advice,
			"S begins near %.2g, and %s at this learning_rate can't bring it below %.2g; the target is %v", share(before), Counted(s.Steps, "step"), least, c.Control.TargetS)
	}
}

func millions(n int64) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.1f billion", float64(n)/1e9)
	}
	return fmt.Sprintf("%.3g million", float64(n)/1e6)
}
