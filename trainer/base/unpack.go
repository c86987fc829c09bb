package base

import (
	"archive/zip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/lora"
)

// MaxAdapterText bounds each file of an adapter's zip but the weights: real ones have
// some kilobytes.
const MaxAdapterText = 1 << 20

// UnpackAdapter takes an adapter's files out of its zip into dir. modules is called once
// those beside the weights are there, and refuses them or says what the weights are of,
// which bounds their file.
func UnpackAdapter(z *zip.Reader, dir string, modules func() ([]lora.Module, error)) error {
	for _, name := range AdapterFiles {
		if name != lora.WeightsFile {
			if err := unpack(z, name, dir, MaxAdapterText); err != nil {
				return err
			}
		}
	}
	of, err := modules()
	if err != nil {
		return err
	}
	return unpack(z, lora.WeightsFile, dir, MaxWeights(of))
}

// MaxWeights bounds the file of modules' weights, in bytes: a header, and the weights in
// the widest type. PEFT may put a copy of the base's own head beside its adapter.
func MaxWeights(modules []lora.Module) int64 {
	const header, widest = 16 << 20, 8
	params := int64(lora.Count(modules))
	for _, m := range modules {
		if m.Head {
			params += int64(m.In) * int64(m.Out)
		}
	}
	return header + widest*params
}

// unpack takes a file of at most limit bytes out of an adapter's zip.
func unpack(z *zip.Reader, name, dir string, limit int64) error {
	in, err := z.Open(name)
	if errors.Is(err, fs.ErrNotExist) && name == TrainingFile {
		return nil // another program's
	}
	if err == nil {
		defer in.Close()
		var info fs.FileInfo
		if info, err = in.Stat(); err == nil && !info.Mode().IsRegular() {
			err = fs.ErrInvalid
		}
	}
	if err != nil {
		return scu.Errorf(scu.CodeInvalid, "the zip has no readable %s", name).WithHint("zip the files of a PEFT folder, not the folder")
	}
	out, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, limit+1))
	switch err = errors.Join(err, out.Close()); {
	case errors.As(err, new(*fs.PathError)):
		return err
	case err != nil:
		return scu.Errorf(scu.CodeInvalid, "%s can't be unpacked: %v", name, err)
	case n > limit:
		return scu.Errorf(scu.CodeTooLarge, "%s has more than the %d bytes that it can have for this job", name, limit)
	}
	return nil
}
