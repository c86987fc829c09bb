package trainer

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/estimate"
	"github.com/shannon-control/scu/trainer/lora"
)

// Preflight checks a job's model, tokenizer, adapter and data without training, so that
// a bad job is refused before anything is stored.
type Preflight struct {
	Bases      *base.Finder
	Files      scu.FileStore
	CacheDir   string // keeps the tokenised data for the run
	CacheBytes int64  // as a trainer's

	// Trainers lists the trainers that are there. nil: none is known.
	Trainers func(context.Context) []scu.Presence

	// Calibration times operations for Estimate, on this machine.
	Calibration *estimate.Calibration

	known knownData
}

// maxChecked is the most bytes of data that are tokenised while a client waits. Larger
// files are checked when the job prepares its data.
const maxChecked = 64 << 20

// Validate checks everything about a job that can be checked without training it, and
// tells all of it at once. It clamps the default block size to the model's positions.
func (p *Preflight) Validate(ctx context.Context, cfg *scu.Config, train scu.Sources, val *scu.File) (v scu.Validation) {
	to := p.place(ctx, cfg.GPUID)
	v.Class = to.class
	v.Advise(cfg)
	adviseOnPrecision(&v, to.kind, cfg)
	refuse := func(err error) {
		if err != nil {
			v.Errors = append(v.Errors, scu.AllErrors(err)...)
		}
	}
	if cfg.GPUID != nil && !scu.Served(to.trainers, to.class) {
		v.Warn("gpu_id", "no_such_gpu", "leave it out, or start a trainer that has it", "no trainer that is there has GPU %d: the job waits for one", *cfg.GPUID)
	}
	if cfg.AutoUploadToHub && (p.Bases.Hub == nil || p.Bases.Hub.Token == "") {
		refuse(scu.Errorf(scu.CodeInvalid, "the server has no Hugging Face token").At("auto_upload_to_hub").WithHint("start it with SCU_HF_TOKEN set"))
	}
	if val != nil && slices.ContainsFunc(train, func(x scu.Source) bool { return x.File.ID == val.ID }) {
		v.Warn(dataFields[1], "same_data", "leave it out, and a share of the training data is held out", "the validation data is the training data: its loss says nothing about new text")
	}
	m, err := p.Bases.Outline(ctx, cfg.BaseModel)
	if err != nil {
		refuse(err)
		return v
	}
	defer m.Close()
	if m.Commit != "" {
		cfg.BaseModel, _ = base.Revision(cfg.BaseModel)
		cfg.BaseRevision = m.Commit
	}
	if cfg.BaseModel != models.BuiltIn && filepath.IsAbs(cfg.BaseModel) {
		v.Warn("base_model", "model_folder", "", "the base model is a folder: the adapter names that path, and who loads it elsewhere gives the base by hand")
	}
	modules, err := m.Modules(cfg.LoRA)
	refuse(err)
	if err == nil {
		for _, text := range m.Spec.Warnings(modules) {
			v.Warn("base_model", "model_note", "", "%s", text)
		}
	}
	if err := m.FitBlock(cfg); err != nil {
		refuse(err)
		return v // the data can't be cut into blocks
	}
	work := p.validateData(ctx, &v, m, cfg, train, val)
	if len(v.Errors) > 0 {
		return v
	}
	if cfg.FromAdapterFile != "" {
		if _, err := fromAdapter(ctx, p.Files, cfg.FromAdapterFile, m, modules, m.HasWeights()); err != nil {
			refuse(err)
			return v
		}
	}
	shape := scu.Shape{Parameters: m.Parameters(), Width: m.Spec.Hidden, Blocks: work.Blocks, Tokens: work.Tokens, Steps: work.Steps(cfg)}
	for _, x := range modules {
		shape.Modules = append(shape.Modules, x.In)
	}
	v.AdviseOn(cfg, shape)
	refuse(to.validateMemory(&v, m, cfg, work, modules))
	if len(v.Errors) == 0 {
		v.Class, err = to.classOf(to.run(m, cfg, work), modules)
		refuse(err)
	}
	return v
}

// tight is the share of the available memory from which on a job is warned of.
const tight = 0.9

// validateMemory returns an error if the trainer with the most memory can't hold a job,
// and warns if little would be left.
func (to placement) validateMemory(v *scu.Validation, m *base.Model, cfg *scu.Config, work estimate.Work, modules []lora.Module) error {
	activations := to.kind.Options(cfg.Half()).Precision
	run := to.run(m, cfg, work)
	o, err := run.Plan(activations, modules)
	if err != nil || run.Available == 0 {
		return err
	}
	needs, err := run.Needs(activations, modules, o)
	if err == nil && float64(needs) > tight*float64(run.Available) {
		v.Warn("batch_size", "memory_tight", "lower batch_size or block_size; gradient_accumulation_steps keeps the effective batch",
			"the job takes %d MiB of the %d MiB of memory that are available", needs>>20, run.Available>>20)
	}
	return err
}

// adviseOnPrecision warns of precisions that the user asked for and the device doesn't
// have: the job is accepted, and they have no effect.
func adviseOnPrecision(v *scu.Validation, kind devices.Kind, cfg *scu.Config) {
	if cfg.UseFP16 && cfg.Asked("use_fp16") && kind.Half == kernels.F32 {
		v.Warn("use_fp16", "no_half_precision", "leave it out, or set it to false", "use_fp16 has no effect: jobs run on %s, in fp32", kind.Name)
	}
	if cfg.Asked("half_type") {
		if kind.Half == kernels.F32 {
			v.Warn("half_type", "no_half_precision", "leave it out", "half_type has no effect: jobs run on %s, in fp32", kind.Name)
		} else if !cfg.UseFP16 {
			v.Warn("half_type", "no_half_precision", "leave it out, or set use_fp16 to true", "half_type has no effect without use_fp16")
		}
	}
	if cfg.Use4Bit && cfg.Asked("use_4bit") && !kind.NF4 {
		v.Warn("use_4bit", "no_4bit", "leave it out, or set it to false", "use_4bit has no effect: jobs run on %s, with weights in the checkpoint's own types", kind.Name)
	}
}

// validateData tells what is wrong with a job's data and what is odd. Files that are too
// large to be read while the client waits are represented by their longest block alone.
func (p *Preflight) validateData(ctx context.Context, v *scu.Validation, m *base.Model, cfg *scu.Config, train scu.Sources, val *scu.File) estimate.Work {
	read, err := p.read(ctx, m, cfg, train, val)
	v.Errors = append(v.Errors, scu.AllErrors(err)...)
	for i, texts := range read.trainOdd {
		adviseOnFile(v, train.Field(i), texts)
	}
	adviseOnFile(v, dataFields[1], read.valOdd)
	if err != nil || !read.all {
		return estimate.Work{Longest: cfg.BlockSize}
	}
	adviseOnData(v, read, cfg)
	adviseOnSources(v, train, read.sources)
	return read.work
}

// adviseOnFile warns of what is odd in one file.
func adviseOnFile(v *scu.Validation, field string, texts []string) {
	for _, text := range texts {
		v.Warn(field, "data_odd", "", "%s", text)
	}
}

// manyPasses is how often data is read in an epoch before it is worth a warning: up to
// four passes teach nearly as much as new text does (arXiv:2305.16264).
const manyPasses = 4

// adviseOnSources warns of a source that is small for its share.
func adviseOnSources(v *scu.Validation, sources scu.Sources, reports []scu.SourceReport) {
	for i, x := range reports {
		if passes := float64(x.EpochTokens) / float64(x.Tokens); sources[i].Share > 0 && passes > manyPasses {
			v.Warn(fmt.Sprintf("train_data[%d].share", i), "source_repeated", "lower its share, or give it more data", "%s is read %.1f times an epoch to have its share", sources[i].File.Name, passes)
		}
	}
}

// adviseOnData warns of what is odd about a run's data as a whole.
func adviseOnData(v *scu.Validation, read readData, cfg *scu.Config) {
	for _, text := range read.work.Warnings(cfg) {
		v.Warn("epochs", "steps_few", "", "%s", text)
	}
	if read.shared > 0 {
		verb := "are"
		if read.shared == 1 {
			verb = "is"
		}
		v.Warn(dataFields[1], "shared_documents", "", "%d of %s of the validation data %s in the training data too: the validation loss is better than the model will be on new text", read.shared, scu.Counted(read.valDocuments, "document"), verb)
	}
}

// dataFields are the fields that name the training and the validation data.
var dataFields = [2]string{"train_data_path", "val_data_path"}

// Estimate predicts what a job will take on its data or, if train is nil, on so many
// tokens. Times are those of this machine.
func (p *Preflight) Estimate(ctx context.Context, cfg *scu.Config, train scu.Sources, val *scu.File, tokens int64) (e scu.Estimate, err error) {
	m, err := p.Bases.Outline(ctx, cfg.BaseModel)
	if err != nil {
		return e, err
	}
	defer m.Close()
	if err := m.FitBlock(cfg); err != nil {
		return e, err
	}
	work := estimate.WorkOfTokens(tokens, cfg)
	if train != nil {
		if work, err = p.work(ctx, m, cfg, train, val); err != nil {
			return e, err
		}
	}
	here, to := p.Calibration.Device, p.place(ctx, cfg.GPUID)
	run := to.run(m, cfg, work)
	if to.kind.Class == here.Class {
		e, err = p.Calibration.Of(ctx, run)
	} else {
		run.Device, run.Available = here, 0
		if e, err = p.Calibration.Of(ctx, run); err == nil {
			e.Warnings = append(e.Warnings, fmt.Sprintf("times are those of %s, but jobs run on %s", here.Name, to.kind.Name))
			e.Memory, err = to.run(m, cfg, work).Memory()
		}
	}
	if err != nil {
		return e, err
	}
	modules, err := m.Modules(cfg.LoRA)
	if err == nil {
		e.Class, err = to.classOf(to.run(m, cfg, work), modules)
	}
	return e, err
}

// work is the work of a run on files.
func (p *Preflight) work(ctx context.Context, m *base.Model, cfg *scu.Config, train scu.Sources, val *scu.File) (estimate.Work, error) {
	fits := func(field string, size int64) error {
		if size > maxChecked {
			return scu.Errorf(scu.CodeTooLarge, "at most %d bytes are read on request, and there are %d", maxChecked, size).At(field).WithHint("give tokens instead; a token is about 4 bytes")
		}
		return nil
	}
	if err := fits(train.Field(0), train.Size()); err != nil {
		return estimate.Work{}, err
	}
	if val != nil {
		if err := fits(dataFields[1], val.Size); err != nil {
			return estimate.Work{}, err
		}
	}
	read, err := p.read(ctx, m, cfg, train, val)
	return read.work, err
}

// openData reads a stored file into blocks for a model.
func openData(ctx context.Context, files scu.LocalFiles, f scu.File, m *base.Model, cfg *scu.Config, cache data.Cache) (*data.Dataset, *data.Report, error) {
	path, err := files.Local(ctx, f.ID)
	if err != nil {
		return nil, nil, err
	}
	return m.OpenData(ctx, path, f.Name, cfg, cache, f.ID)
}
