package scu

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// Facts are what a recommendation is made from. Zero values are unknown.
type Facts struct {
	BaseModel string
	Size      ModelSize
	Width     int // the model's hidden size
	Positions int // the longest text that the model reads, in tokens

	Tokens     int64 // of the training data
	Longest    int   // tokens of its longest row; 0 for plain text
	Validation bool  // there is validation data, or enough to hold some out

	// Blocks counts the blocks that a job of this configuration trains on in an epoch: rows
	// don't fill them, and some are held out. Nil: about as many as the tokens fill.
	Blocks func(Config) int

	GPUMemory int64 // of the largest GPU that a trainer offers, in bytes; 0 without one

	// Fits reports whether a job of this configuration fits the memory of some
	// trainer. Nil: not known.
	Fits func(Config) bool
}

// Choice is one recommended setting.
type Choice struct {
	Field  string `json:"field"`
	Value  any    `json:"value"`
	Reason string `json:"reason"` // one sentence
}

// Recommendation is a configuration for a model and its data, with a reason for
// each choice.
type Recommendation struct {
	BaseModel string    `json:"base_model"`
	Size      ModelSize `json:"model_size"`
	Tokens    int64     `json:"tokens,omitempty"` // of the data
	Choices   []Choice  `json:"choices"`
	// Config holds the choices as config_overrides take them.
	Config map[string]any `json:"config"`
}

// What the published rules aim at, and the sizes at which they change.
const (
	effectiveBatch = 16         // blocks of a step
	smallData      = 1_000_000  // tokens below which data is small
	largeData      = 10_000_000 // tokens above which one epoch is enough
	tinyModel      = 50_000_000 // parameters below which our own measurements hold
	wantedSteps    = 200        // that a small text should be trained for
	mostEpochs     = 20
)

// Recommend chooses a job's settings. The published rules are the base: a table of
// models, the learning rate by size and batch, accumulation to 16 blocks a step,
// blocks by size, more care with small data. Where a measurement of this project is
// better it goes before them, and the reason says so.
func Recommend(f Facts) Recommendation {
	if f.Size.Parameters == 0 {
		f.Size = SizeOf(f.BaseModel)
	}
	r := recommender{Facts: f, cfg: DefaultConfig(), out: Recommendation{BaseModel: f.BaseModel, Size: f.Size, Tokens: f.Tokens, Config: map[string]any{}}}
	var ok bool
	if r.model, ok = known(f.BaseModel); !ok || f.Size.Source == SizeFromName {
		r.model = bySize(f.Size.Parameters)
	}
	r.precision()
	r.target()
	r.adapter()
	r.block()
	r.blocks = r.countBlocks()
	r.batch()
	r.learningRate()
	r.epochs()
	return r.out
}

// recommender makes the choices one by one; later ones read earlier ones from cfg.
type recommender struct {
	Facts
	model  knownModel
	cfg    Config
	blocks int // to train on in an epoch; 0: not known
	out    Recommendation
}

// choose records a choice. field is its path in the configuration.
func (r *recommender) choose(field string, value any, reason string, args ...any) {
	r.out.Choices = append(r.out.Choices, Choice{field, value, fmt.Sprintf(reason, args...)})
	group, name, nested := strings.Cut(field, ".")
	if !nested {
		r.out.Config[field] = value
		return
	}
	m, ok := r.out.Config[group].(map[string]any)
	if !ok {
		m = map[string]any{}
		r.out.Config[group] = m
	}
	m[name] = value
}

// precision decides what the frozen weights are held in. It comes first, since
// memory depends on it.
func (r *recommender) precision() {
	const gib = 1 << 30
	bf16 := 2 * r.Size.Parameters
	switch {
	case r.GPUMemory == 0:
		r.cfg.Use4Bit, r.cfg.UseFP16 = false, false
		r.choose("use_4bit", false, "no trainer has a GPU, and the CPU keeps the weights as they are")
		r.choose("use_fp16", false, "the CPU computes in 32 bits")
	case float64(bf16) > 0.7*float64(r.GPUMemory):
		r.cfg.Use4Bit, r.cfg.UseFP16 = true, true
		r.choose("use_4bit", true, "16-bit weights take %d GiB of the GPU's %d; in 4 bits they take a quarter", bf16/gib, r.GPUMemory/gib)
		r.choose("use_fp16", true, "16-bit activations are faster and take half the memory; the adapter stays in 32 bits")
	default:
		r.cfg.Use4Bit, r.cfg.UseFP16 = false, true
		r.choose("use_4bit", false, "16-bit weights fit the GPU's %d GiB, and 4 bits would cost accuracy and time", r.GPUMemory/gib)
		r.choose("use_fp16", true, "16-bit activations are faster and take half the memory; the adapter stays in 32 bits")
	}
}

func (r *recommender) target() {
	published := r.model.targetS
	why := "the published value for a model of this size"
	if r.Tokens > 0 && r.Tokens < smallData {
		published *= 0.7
		why = "the published value for a model of this size, times 0.7 for a small text"
	}
	published = math.Round(published*1e4) / 1e4
	r.cfg.Control.TargetS = 0.004
	reason := "held at 0.004, the last weights were the best of every setting tried on texts of 20,000 to 138,000 tokens (docs/controller.md)"
	if r.Validation {
		r.cfg.Control.TargetS = 0.008
		reason = "with the best weights kept, 0.008 was the best of every setting tried on texts of 20,000 to 138,000 tokens (docs/controller.md)"
	}
	if r.Size.Parameters >= tinyModel {
		// Measured on a small model alone: on others the published value stands.
		r.cfg.Control.TargetS = max(0.001, published)
		r.choose("control.target_s", r.cfg.Control.TargetS, "%s", why)
		return
	}
	r.choose("control.target_s", r.cfg.Control.TargetS, "%s; the published rule says %v", reason, published)
}

func (r *recommender) adapter() {
	rank, why := r.model.rank, "the published rank for a model of this size"
	if most := r.Width / 8; r.Width > 0 && rank > most {
		rank, why = max(1, most), fmt.Sprintf("an eighth of the model's width of %d; more would be most of its weights again", r.Width)
	}
	r.cfg.LoRA.R = rank
	r.choose("lora.r", rank, "%s", why)
	r.choose("lora.alpha", 2*rank, "twice the rank, as is usual")
}

func (r *recommender) block() {
	size, why := 4096, "the published length for models of 7 billion parameters and more"
	switch b := float64(r.Size.Parameters) / 1e9; {
	case b < 2:
		size, why = 1024, "the published length for models below 2 billion parameters"
	case b < 7:
		size, why = 2048, "the published length for models of 2 to 7 billion parameters"
	}
	if r.Size.Parameters < tinyModel && size > 256 {
		size, why = 256, "the length that small models were measured at; it makes more steps of the same text than 1,024"
	}
	if r.Longest > 0 && r.Longest <= size/2 {
		size, why = max(128, powerOfTwo(r.Longest)), fmt.Sprintf("the longest row has %d tokens", r.Longest)
	}
	if r.Positions > 0 && size > r.Positions {
		size, why = r.Positions, "all positions that the model has"
	}
	r.cfg.BlockSize = size
	r.choose("block_size", size, "%s", why)
}

// countBlocks counts the data's blocks of the size that was chosen.
func (r *recommender) countBlocks() int {
	if r.Blocks != nil {
		return r.Blocks(r.cfg)
	}
	return int((r.Tokens + int64(r.cfg.BlockSize) - 1) / int64(r.cfg.BlockSize))
}

func (r *recommender) batch() {
	batch, why := r.model.batch, "the published batch for a model of this size"
	if r.Tokens > 0 && r.Tokens < smallData && batch > 4 {
		batch, why = 4, "at most 4 for a small text"
	}
	for r.cfg.BatchSize = batch; r.Fits != nil && r.cfg.BatchSize > 1 && !r.Fits(r.cfg); r.cfg.BatchSize /= 2 {
	}
	if r.cfg.BatchSize < batch {
		batch, why = r.cfg.BatchSize, fmt.Sprintf("%d blocks at once don't fit the memory", batch)
	}
	step, whyStep := effectiveBatch, fmt.Sprintf("%d blocks a step, the published aim", effectiveBatch)
	if n := r.blocks; n > 0 && n < 10*effectiveBatch {
		step = max(1, n/10)
		whyStep = fmt.Sprintf("the data makes %s to train on, and ten steps should come of them", Counted(n, "block"))
		if step < batch {
			batch, why = step, whyStep
		}
	}
	r.cfg.BatchSize, r.cfg.GradientAccumulationSteps = batch, max(1, step/batch)
	r.choose("batch_size", batch, "%s", why)
	r.choose("gradient_accumulation_steps", r.cfg.GradientAccumulationSteps, "%s", whyStep)
}

func (r *recommender) learningRate() {
	if r.Size.Parameters < tinyModel {
		r.cfg.LearningRate = 1e-3
		r.choose("learning_rate", 1e-3, "the rate that small models were measured at; the published 5e-5 hardly moves their adapters in so few steps")
		return
	}
	base := 5e-5
	if r.Size.Parameters > 5e9 {
		base = 2e-5
	}
	rate := base * math.Sqrt(float64(r.cfg.BatchSize)/4)
	rate = math.Round(rate*1e7) / 1e7
	r.cfg.LearningRate = rate
	r.choose("learning_rate", rate, "the published %g, times the root of a quarter of the batch size", base)
}

func (r *recommender) epochs() {
	step := r.cfg.BatchSize * r.cfg.GradientAccumulationSteps
	perEpoch := (r.blocks + step - 1) / step
	switch {
	case r.blocks == 0:
		r.choose("epochs", 1, "the data isn't known")
	case r.Tokens > largeData:
		r.choose("epochs", 1, "a text of more than 10 million tokens needs no second pass")
	case perEpoch >= wantedSteps:
		r.choose("epochs", 1, "one pass is %s", Counted(perEpoch, "step"))
	default: // at least two
		epochs := min(mostEpochs, (wantedSteps+perEpoch-1)/perEpoch)
		keep := "the controller keeps the adapter from learning it by heart"
		if r.Validation {
			keep = "the best weights by validation are kept"
		}
		r.choose("epochs", epochs, "one pass is only %s; %s", Counted(perEpoch, "step"), keep)
	}
}

func powerOfTwo(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

// Overlay returns c with the recommended settings.
func (r Recommendation) Overlay(c Config) (Config, error) {
	b, err := json.Marshal(r.Config)
	if err != nil {
		return c, err
	}
	var overrides map[string]any
	if err := json.Unmarshal(b, &overrides); err != nil {
		return c, err
	}
	err = c.Merge(overrides)
	return c, err
}
