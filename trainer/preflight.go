package trainer

import (
	"context"
	"path/filepath"

	"scu"
	"scu/models"
	"scu/trainer/base"
	"scu/trainer/data"
	"scu/trainer/estimate"
	"scu/trainer/lora"
	"scu/trainer/model"
)

// Preflight makes every check of a job that needs no training, so that a bad one
// is refused before anything is stored: model, tokenizer, adapter and data.
type Preflight struct {
	Bases    *base.Finder
	Files    scu.Files
	CacheDir string // keeps the tokenised data for the run
}

// maxChecked is the most bytes of data that are tokenised while somebody waits
// for an answer. Larger files are checked when the job prepares its data.
const maxChecked = 64 << 20

// Check checks a job and returns what is allowed but unwise, and the resource
// class that can run it. It clamps the default block size to the model's positions.
func (p *Preflight) Check(ctx context.Context, cfg *scu.Config, train scu.File, val *scu.File) (warnings []string, class string, err error) {
	class = "cpu"
	if cfg.GPUID != nil {
		return nil, "", scu.Errorf(scu.CodeUnsupported, "GPU %d was asked for, and this build trains on the CPU", *cfg.GPUID).At("gpu_id").WithHint("leave it out")
	}
	if cfg.AutoUploadToHub && (p.Bases.Hub == nil || p.Bases.Hub.Token == "") {
		return nil, "", scu.Errorf(scu.CodeInvalid, "the server has no Hugging Face token").At("auto_upload_to_hub").WithHint("start it with SCU_HF_TOKEN set")
	}
	dir, whole, err := p.Bases.Describe(ctx, cfg.BaseModel)
	if err != nil {
		return nil, "", err
	}
	open := base.OpenDescription // a Hub model's weights are fetched and checked by the job
	if whole {
		open = base.Open
	}
	m, err := open(dir)
	if err != nil {
		return nil, "", err
	}
	defer m.Close()
	warnings = append(warnings, m.Spec.Notes...)
	if cfg.BaseModel != models.BuiltIn && filepath.IsAbs(cfg.BaseModel) {
		warnings = append(warnings, "the base model is a folder: the adapter names that path, and who loads it elsewhere gives the base by hand")
	}
	modules, err := m.Modules(cfg.LoRA)
	if err != nil {
		return nil, "", err
	}
	if err := m.FitBlock(cfg); err != nil {
		return nil, "", err
	}
	rows := 0
	for _, d := range []struct {
		field string
		file  *scu.File
	}{{"train_data_path", &train}, {"val_data_path", val}} {
		if d.file == nil || d.file.Size > maxChecked {
			continue
		}
		set, report, err := openData(ctx, p.Files, *d.file, m, cfg, p.CacheDir)
		if err != nil {
			return nil, "", base.Within(d.field, err)
		}
		rows = max(rows, longest(set))
		set.Close()
		warnings = append(warnings, report.Warnings()...)
	}
	if rows == 0 {
		rows = cfg.BlockSize
	}
	return warnings, class, p.fits(m.Spec, modules, cfg, rows)
}

// fits refuses what this machine's memory can't hold even at its tightest. Where
// trainers are other machines they check again.
func (p *Preflight) fits(spec *model.Spec, modules []lora.Module, cfg *scu.Config, rows int) error {
	_, err := estimate.PlanWorkspace(spec, modules, cfg.LoRA.Dropout, model.WorkspaceOptions{Batch: cfg.BatchSize, Len: rows, Training: true}, estimate.AvailableMemory())
	return err
}

// openData reads a stored file into blocks for a model.
func openData(ctx context.Context, files scu.Files, f scu.File, m *base.Model, cfg *scu.Config, cacheDir string) (*data.Dataset, *data.Report, error) {
	path, err := files.Local(ctx, f.ID)
	if err != nil {
		return nil, nil, err
	}
	return m.OpenData(ctx, path, f.Name, cfg, cacheDir, f.ID)
}
