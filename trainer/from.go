package trainer

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// maxAdapter bounds what is unpacked of one file of an adapter's zip.
const maxAdapter = 16 << 30

// fromAdapter reads the adapter that a job begins from: a stored zip of a PEFT folder.
// It must adapt the job's modules with the job's ranks and alphas, and have been trained
// on this base, if it says on which. checkBase is false for a model whose weights aren't
// there yet.
func fromAdapter(ctx context.Context, files scu.FileStore, id string, m *base.Model, modules []lora.Module, checkBase bool) (param []float32, err error) {
	path, err := files.Local(ctx, id)
	if err != nil {
		return nil, base.Within("from_adapter", err)
	}
	dir, err := os.MkdirTemp("", "scu-from-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := unpackAdapter(path, dir); err != nil {
		return nil, base.Within("from_adapter", err)
	}
	if checkBase {
		if err := base.SameBase(dir, m.Files); err != nil {
			return nil, scu.AsError(err).At("from_adapter")
		}
	}
	got, param, err := lora.Read(dir, m.Spec.Targets(), m.Spec.DefaultTargets)
	if err == nil {
		err = lora.Same(got, modules)
	}
	if err != nil {
		return nil, scu.AsError(err).At("from_adapter")
	}
	return param, nil
}

// unpackAdapter takes the files of an adapter that count out of its zip.
func unpackAdapter(path, dir string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return scu.Errorf(scu.CodeInvalid, "not a zip of an adapter: %v", err).WithHint("zip the files of a PEFT folder, adapter_config.json among them")
	}
	defer z.Close()
	for _, name := range base.AdapterFiles {
		in, err := z.Open(name)
		if errors.Is(err, fs.ErrNotExist) && name == base.TrainingFile {
			continue // another program's
		}
		if err != nil {
			return scu.Errorf(scu.CodeInvalid, "the zip has no %s", name).WithHint("zip the files of a PEFT folder, not the folder")
		}
		err = unpack(filepath.Join(dir, name), in)
		in.Close()
		if err != nil {
			return scu.Errorf(scu.CodeInvalid, "%s can't be unpacked: %v", name, err)
		}
	}
	return nil
}

func unpack(path string, in io.Reader) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, maxAdapter+1))
	if err == nil && n > maxAdapter {
		err = errors.New("it is too large")
	}
	return errors.Join(err, out.Close())
}

// firstWeights are the adapter's weights before the first step.
func (r *run) firstWeights(ctx context.Context) ([]float32, error) {
	cfg := r.job.Config
	if cfg.FromAdapterFile == "" {
		return lora.Init(r.modules, cfg.Seed), nil
	}
	return fromAdapter(ctx, r.t.Files, cfg.FromAdapterFile, r.base, r.modules, true)
}
