package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/gguf"
	"github.com/shannon-control/scu/trainer/merge"
)

// What scu merge writes.
const (
	toFolder  = "safetensors"
	toGGUF    = "gguf"
	toAdapter = "gguf-adapter"
)

// ggufTypes are the names of the types that weights in GGUF can have.
var ggufTypes = []string{"f32", "f16", "bf16", "q8_0"}

// ggufType checks --to and --type.
func ggufType(to, kind string) (gguf.Type, error) {
	if !slices.Contains([]string{toFolder, toGGUF, toAdapter}, to) {
		return 0, scu.Errorf(scu.CodeInvalid, "--to: %q is not known", to).WithHint("use %s, %s or %s", toFolder, toGGUF, toAdapter)
	}
	if to == toFolder {
		if kind != "" {
			return 0, scu.Errorf(scu.CodeInvalid, "--type is for GGUF: a merged folder has the base model's own types").WithHint("add --to gguf")
		}
		return 0, nil
	}
	as, ok := gguf.Types[cmp.Or(kind, map[string]string{toGGUF: "f16", toAdapter: "f32"}[to])]
	if !ok {
		return 0, scu.Errorf(scu.CodeInvalid, "--type: %q is not known", kind).WithHint("use one of: %s", strings.Join(ggufTypes, ", "))
	}
	return as, nil
}

// writeGGUF writes the merged model, or the adapter alone, as one GGUF file.
func (a *app) writeGGUF(ctx context.Context, dev kernels.Device, o merge.Options, to string, as gguf.Type) error {
	out := o.Out
	if to == toAdapter {
		if err := gguf.Adapter(o.Base, o.Adapter, out, as); err != nil {
			return err
		}
		return a.tellGGUF(out)
	}
	if err := cmp.Or(gguf.SupportedWhole(o.Base), gguf.Vacant(out)); err != nil { // before the work
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(out)), ".merge-*")
	if err != nil {
		return scu.Errorf(scu.CodeInvalid, "the output can't be made: %w", err).At("out")
	}
	defer os.RemoveAll(tmp)
	o.Out = filepath.Join(tmp, strings.TrimSuffix(filepath.Base(out), ".gguf"))
	if _, err := merge.Run(ctx, dev, o); err != nil {
		return err
	}
	if err := gguf.Model(ctx, o.Out, out, as); err != nil {
		return err
	}
	return a.tellGGUF(out)
}

func (a *app) tellGGUF(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.out, map[string]any{"path": path, "bytes": info.Size()})
	}
	_, err = fmt.Fprintf(a.out, "Written: %s, %s bytes\n", path, thousands(info.Size()))
	return err
}
