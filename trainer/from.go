package trainer

import (
	"archive/zip"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// fromAdapter reads the adapter that a job begins from: a stored zip of a PEFT folder.
// It must adapt the job's modules with the job's ranks and alphas, and have been trained
// on this base, if it says on which. checkBase is false for a model whose weights aren't
// there yet. What is unpacked is bounded by the job, not by what the zip claims.
func fromAdapter(ctx context.Context, files scu.LocalFiles, id string, m *base.Model, modules []lora.Module, checkBase bool) (param []float32, err error) {
	path, err := files.Local(ctx, id)
	if err != nil {
		return nil, base.Within("from_adapter", err)
	}
	dir, err := os.MkdirTemp("", "scu-from-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	defer func() { err = inZip(dir, err) }()
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "not a zip of an adapter: %v", err).WithHint("zip the files of a PEFT folder, adapter_config.json among them")
	}
	defer z.Close()
	err = base.UnpackAdapter(&z.Reader, dir, func() ([]lora.Module, error) {
		if checkBase {
			if err := base.SameBase(dir, m.Weights); err != nil {
				return nil, err
			}
		}
		got, err := lora.ReadModules(dir, m.Spec.Targets(), m.Spec.DefaultTargets)
		if err != nil {
			return nil, err
		}
		return modules, lora.Same(got, modules)
	})
	if err != nil {
		return nil, err
	}
	return lora.ReadWeights(dir, modules)
}

// inZip is an error of from_adapter as its user is to see it: the zip's files by their
// names there, not by where they were unpacked. Damaged ones are the zip's fault, and
// what the system refuses is ours.
func inZip(dir string, err error) error {
	if err == nil || errors.As(err, new(*fs.PathError)) {
		return err
	}
	e := *scu.AsError(err)
	if e.Code == scu.CodeInternal {
		e.Code = scu.CodeInvalid
	}
	e.Message = strings.ReplaceAll(e.Message, dir+string(filepath.Separator), "")
	return e.At("from_adapter")
}

// firstWeights are the adapter's weights before the first step.
func (r *run) firstWeights(ctx context.Context) ([]float32, error) {
	cfg := r.job.Config
	if cfg.FromAdapterFile == "" {
		return lora.Init(r.modules, cfg.Seed), nil
	}
	return fromAdapter(ctx, r.t.Files, cfg.FromAdapterFile, r.base, r.modules, true)
}
