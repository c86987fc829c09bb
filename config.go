package scu

// Config is everything a training run is made of. DefaultConfig gives the
// defaults named here; Merge lays a user's overrides over them; Check refuses
// what can't be trained. The same Config, data and model give the same adapter.
type Config struct {
	// BaseModel is the built-in "bookworm-2m", a folder with config.json,
	// safetensors and tokenizer.json, or a Hugging Face model id.
	BaseModel string `json:"base_model"`
	// BaseRevision is the commit that BaseModel was resolved to when the job was
	// submitted, for a model of the Hub. It is the server's to set; ask for a branch,
	// a tag or a commit in BaseModel, "owner/name@revision".
	BaseRevision string `json:"base_revision,omitempty"`
	// TrainDataPath is what the user named: a file id, a path, a URL, or a file of a
	// Hub data set (hf://datasets/owner/name/path, with the commit that it was at). What
	// is read is the stored copy of it, Job.TrainData.
	TrainDataPath string `json:"train_data_path"`
	// ValDataPath likewise; empty holds a share of the training data out, see
	// ValFraction.
	ValDataPath string `json:"val_data_path,omitempty"`

	// OtherDataPath, named likewise, is text of another kind. It isn't trained on: its loss
	// before and after tells what the adapter keeps of the base's other abilities.
	OtherDataPath string `json:"other_data_path,omitempty"`

	// FromAdapter is the adapter that training begins from, as the user named it: a job,
	// JOB@STEP for a checkpoint of it (or @last, @best), an uploaded zip of a PEFT folder,
	// or owner/name on the Hub, with its commit. Default none: new weights. It must have the job's modules, ranks and
	// alphas, and its base model. The optimiser and the controller begin anew.
	FromAdapter string `json:"from_adapter,omitempty"`
	// FromAdapterFile is the id of the stored copy, which is what is read.
	FromAdapterFile string `json:"from_adapter_file,omitempty"`

	Control ControlConfig `json:"control"`
	LoRA    LoRAConfig    `json:"lora"`

	// PriorSigma is the standard deviation of the Gaussian prior on LoRA weights
	// that ParamBPT is measured against. Default 0.1. At 0.01, the value first
	// published, the untrained A matrices alone put S far over any target and
	// lambda presses the adapter to zero: it is allowed and warned of.
	PriorSigma float64 `json:"prior_sigma"`
	// Epochs is the number of passes over the training blocks. Default 1. More
	// passes over a small text overfit; watch the validation loss.
	Epochs int `json:"epochs"`
	// Steps, where set, is the number of optimiser steps and goes before Epochs.
	// Default null. Warmup and decay stretch over it.
	Steps *int `json:"steps"`
	// BatchSize is the blocks of one micro-batch. Default 4. Memory grows with it.
	BatchSize int `json:"batch_size"`
	// GradientAccumulationSteps is the micro-batches of one optimiser step.
	// Default 1. It widens the batch at no memory, and makes steps fewer.
	GradientAccumulationSteps int `json:"gradient_accumulation_steps"`
	// LearningRate is AdamW's peak, after warmup. Default 5e-5. LoRA bears more
	// than full fine-tuning; over 1e-3 runs begin to diverge.
	LearningRate float64 `json:"learning_rate"`
	// BlockSize is the tokens of a block. Default 4096, clamped to the model's
	// positions; one that was asked for and is longer than that is an error.
	BlockSize int `json:"block_size"`
	// MaxGradNorm clips the gradient's norm; 0 doesn't. Default 1. Without it one
	// odd batch can throw the adapter far off.
	MaxGradNorm float64 `json:"max_grad_norm"`
	// Seed drives the LoRA init, dropout, the order of blocks and which documents
	// are held out. Default 42.
	Seed int64 `json:"seed"`

	// ValFraction is the share of the training documents held out for validation if
	// there is no validation data: of rows, or of the documents of a plain text; a
	// text that is one document gives its end. Default 0.05, at least one; 0 trains
	// on everything and then no validation loss is known.
	ValFraction float64 `json:"val_fraction"`
	// EvalEvery is the steps between validations; they also happen before the
	// first step and after the last. Default 0: five in a run. Each costs a pass
	// over the validation blocks.
	EvalEvery int `json:"eval_every"`
	// Keep is which weights become the adapter: "best" (default), those with the lowest
	// validation loss, or "last". Without validation data the last are kept.
	Keep string `json:"keep"`
	// EarlyStoppingPatience, if not 0, ends a job, as completed, after so many
	// validations in a row that brought no lower loss. Default 0: off. A loss that
	// rises for a while and falls again is missed with a low one.
	EarlyStoppingPatience int `json:"early_stopping_patience"`
	// KeepCheckpoints is how many of the newest adapters, as they were at validations,
	// stay beside the best one, to be downloaded and used. Default 3; 0 keeps none, the
	// best neither. Each takes the room of an adapter on the server.
	KeepCheckpoints int `json:"keep_checkpoints"`
	// CheckpointEvery is the steps between the checkpoints that a job resumes from.
	// Default 0: by time, so
	// that they cost below 1%. What was trained since the last is trained again
	// after a crash.
	CheckpointEvery int `json:"checkpoint_every"`
	// TextDocuments says what a document is in plain text: "file" (default), the
	// whole file, or "paragraph", what blank lines part. An end-of-text token
	// follows each.
	TextDocuments string `json:"text_documents"`
	// Packing says how rows of prompt and completion, of chat and of text share
	// blocks. "rows" (default): each row sees itself alone and its positions begin
	// anew, as if it were trained on by itself; one longer than a block is cut.
	// "joined": rows run on from one to the next, as the documents of a plain text
	// do, and see those before them. "off": a block a row, which trains as "rows"
	// does, in more and shorter steps. Plain text is always joined.
	Packing string `json:"packing"`
	// TrainOn says which tokens of prompt+completion and chat rows count in the
	// loss: "all" (default), "completion", the completion or the assistant's
	// turns alone, or "last", the completion or the assistant's last turn. Where
	// a model's chat template marks what is generated, its marks are used. A message
	// with "weight" 0 never counts.
	TrainOn string `json:"train_on"`

	// AutoUploadToHub uploads the adapter to the Hugging Face Hub when it is done,
	// into a private repository. Default false. It needs a token on the server.
	AutoUploadToHub bool `json:"auto_upload_to_hub"`
	// HubAdapterName is the repository, "owner/name", or "name" below the token's
	// account. Default scu-<base model>-<job id>.
	HubAdapterName string `json:"hub_adapter_name,omitempty"`

	// Use4Bit keeps the frozen weights in NF4 on a GPU. Default true. It saves
	// memory and costs some accuracy; on the CPU weights stay as they are.
	Use4Bit bool `json:"use_4bit"`
	// UseFP16 computes in half precision on a GPU. Default true. The CPU computes
	// in fp32 always.
	UseFP16 bool `json:"use_fp16"`
	// HalfType is what use_fp16 means on a GPU: "auto" (default), the GPU's own choice,
	// which is bf16 on each that jobs run on, "bf16", or "fp16", with three more bits of
	// precision and a scaled loss; a base that was trained in bf16 can overflow in it.
	HalfType string `json:"half_type,omitempty"`
	// GradientCheckpointing, if true, keeps only each block's input of the forward pass and
	// computes the rest again going back, which takes a third to a half longer. If false
	// all is kept, and a job that doesn't fit its device then is refused. Default null: as
	// much is kept as fits. The adapter is the same.
	GradientCheckpointing *bool `json:"gradient_checkpointing,omitempty"`
	// GPUID asks for one GPU by its number on its machine. Default null: any that fits. A
	// job waits until a trainer with a GPU of that number is there.
	GPUID *int `json:"gpu_id"`

	asked map[string]bool // fields that were among the overrides
}

// Asked reports whether the user set a field, of this JSON name, where a default
// would be treated more gently: a block_size beyond the model's positions is an
// error if it was asked for, and clamped otherwise. Sections count as one field.
// It is known until the Config goes through JSON, into a job.
func (c *Config) Asked(field string) bool { return c.asked[field] }

// Half is the type of activations that the job asks for: "" in 32 bits, else one of
// HalfType's values.
func (c *Config) Half() string {
	switch {
	case !c.UseFP16:
		return ""
	case c.HalfType == "": // of a job from before there was a choice
		return HalfAuto
	}
	return c.HalfType
}

// Base names the base model with its revision, if that is known.
func (c *Config) Base() string {
	if c.BaseRevision == "" {
		return c.BaseModel
	}
	return c.BaseModel + "@" + c.BaseRevision
}

// EvalSteps is the steps between validations of a run of so many.
func (c *Config) EvalSteps(steps int) int {
	if c.EvalEvery > 0 {
		return c.EvalEvery
	}
	return max(1, (steps+4)/5)
}

// ControlConfig sets the Shannon Control Unit.
type ControlConfig struct {
	// Law is "log_pi" (default), a positional PI on ln(S/target), which settles at
	// the target, or "scu", the controller as published, with the published gains
	// and bounds. scu swings, or rests at its upper bound with S far over the
	// target; it is for comparisons, as are "fixed", which leaves lambda at LambdaInit
	// (0 is LoRA without a regulariser), and "scu_unapplied", the published code as it
	// is: scu moves lambda, but no gradient of the regulariser reaches the weights, so
	// it trains as lambda 0 does. Gains and bounds belong to their law: name the law
	// beside them.
	Law string `json:"law"`
	// TargetS is the share of information that the adapter should hold. Default
	// 0.01. Higher learns more and overfits sooner; 0.004 to 0.008 was best at
	// sigma 0.1 on the three sizes of data tried. A short run needs a higher one: S
	// begins high and takes some hundred steps to come down.
	TargetS float64 `json:"target_s"`
	// Kp is the proportional gain. Default 1; under scu 0.8, under fixed 0. High gains swing.
	Kp float64 `json:"Kp"`
	// Ki is the integral gain. Default 0.02; under scu 0.15, under fixed 0. High gains overshoot.
	Ki float64 `json:"Ki"`
	// Deadband is the error of S within which lambda rests, under scu alone, where
	// the default is 0.002; log_pi has none and wants 0. At or over TargetS, lambda
	// can never fall.
	Deadband float64 `json:"deadband"`
	// LambdaInit is lambda before the first step, under fixed for the whole run. Default 1.
	LambdaInit float64 `json:"lambda_init"`
	// LambdaMin and LambdaMax bound lambda. Default 1e-6 and 1e4; under scu 1e-4
	// and 10. A lambda that rests at a bound no longer controls; the job warns.
	LambdaMin float64 `json:"lambda_min"`
	LambdaMax float64 `json:"lambda_max"`
}

// LoRAConfig sets the adapter's shape.
type LoRAConfig struct {
	// R is the rank. Default 16. Parameters and memory grow with it.
	R int `json:"r"`
	// Alpha scales the adapter by alpha/r. Default 32. Twice r is usual; it may be
	// fractional.
	Alpha float64 `json:"alpha"`
	// Dropout on the adapter's input. Default 0.05.
	Dropout float64 `json:"dropout"`
	// TargetModules names the linear modules that get an adapter, or is
	// ["all-linear"]. The default's seven names are Llama's; on other families the
	// default means the modules that do the same work. The output head (lm_head) gets
	// one by its name alone; its parameters grow with the vocabulary. One regular
	// expression instead picks the modules whose whole path matches, as in PEFT.
	TargetModules []string `json:"target_modules"`
	// LayersToTransform limits the adapter to the blocks of these numbers, from 0, as
	// in PEFT. Default none: all of them. Modules that are named by their whole path
	// are not limited.
	LayersToTransform []int `json:"layers_to_transform,omitempty"`
	// ExcludeModules names modules that get none though TargetModules names them, as
	// in PEFT: by the whole path or its end; one regular expression instead leaves
	// out the modules whose whole path matches. Default none.
	ExcludeModules []string `json:"exclude_modules,omitempty"`
	// UseRSLoRA scales by alpha/sqrt(r) (arXiv:2312.03732). Default false.
	UseRSLoRA bool `json:"use_rslora"`
	// RankPattern and AlphaPattern give single modules another rank or alpha, by
	// the end of their name, as in PEFT. Default none. Of several that match, the
	// first in the alphabet counts, as where PEFT reads the adapter again.
	RankPattern  map[string]int     `json:"rank_pattern"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
}

// Names of Config's choices.
const (
	LawSCU            = "scu"
	LawLogPI          = "log_pi"
	LawFixed          = "fixed"
	LawUnapplied      = "scu_unapplied"
	DocumentFile      = "file"
	DocumentPara      = "paragraph"
	PackRows          = "rows"
	PackJoined        = "joined"
	HalfAuto          = "auto"
	HalfBF16          = "bf16"
	HalfFP16          = "fp16"
	PackOff           = "off"
	TrainOnAll        = "all"
	TrainOnCompletion = "completion"
	TrainOnLast       = "last"
	KeepBest          = "best"
	KeepLast          = "last"
	DefaultBlockSize  = 4096
	AllLinear         = "all-linear"
)

// DefaultTargetModules are the projections of attention and feed-forward in Llama's names.
func DefaultTargetModules() []string {
	return []string{"q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
}

// Published reports whether the law is the published one, applied or not.
func (c *ControlConfig) Published() bool { return c.Law == LawSCU || c.Law == LawUnapplied }

// HoldsS reports whether the law can bring S to its target.
func (c *ControlConfig) HoldsS() bool { return c.Law == LawSCU || c.Law == LawLogPI }

// DefaultControl is a law with its own gains and bounds: scu's are those
// published; any other name gives log_pi's, for Check to refuse.
func DefaultControl(law string) ControlConfig {
	switch law {
	case LawFixed:
		return ControlConfig{Law: law, TargetS: 0.01, LambdaInit: 1, LambdaMax: 1e4}
	case LawSCU, LawUnapplied:
		return ControlConfig{Law: law, TargetS: 0.01, Kp: 0.8, Ki: 0.15, Deadband: 0.002, LambdaInit: 1, LambdaMin: 1e-4, LambdaMax: 10}
	}
	return ControlConfig{Law: law, TargetS: 0.01, Kp: 1, Ki: 0.02, LambdaInit: 1, LambdaMin: 1e-6, LambdaMax: 1e4}
}

// DefaultConfig is the configuration of a user who set nothing.
func DefaultConfig() Config {
	return Config{
		Control: DefaultControl(LawLogPI),
		LoRA: LoRAConfig{R: 16, Alpha: 32, Dropout: 0.05, TargetModules: DefaultTargetModules(),
			RankPattern: map[string]int{}, AlphaPattern: map[string]float64{}},
		PriorSigma: 0.1, Epochs: 1, BatchSize: 4, GradientAccumulationSteps: 1,
		LearningRate: 5e-5, BlockSize: DefaultBlockSize, MaxGradNorm: 1, Seed: 42,
		ValFraction: 0.05, TextDocuments: DocumentFile, Packing: PackRows, TrainOn: TrainOnAll, Keep: KeepBest, KeepCheckpoints: 3,
		Use4Bit: true, UseFP16: true, HalfType: HalfAuto,
	}
}
