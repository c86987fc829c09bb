package gguf

import (
	"context"
	"os"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// Exporter writes adapters of jobs as GGUF. It is safe for concurrent use.
type Exporter struct {
	Bases    *base.Finder
	Adapters scu.Adapters
}

// Write writes the adapter of key, which was trained on the model of a name, to the file
// out, as [Adapter] does. Of a model of the Hub only what describes it is fetched.
func (x Exporter) Write(ctx context.Context, model string, key scu.AdapterKey, as, out string) error {
	to, ok := Types[as]
	if !ok {
		return scu.Errorf(scu.CodeInvalid, "%.20q is no type of weights", as).At("type").WithHint("use f32, f16, bf16 or q8_0")
	}
	m, err := x.Bases.Describe(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := Supported(m.Dir); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "scu-gguf-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	err = base.FetchAdapter(ctx, x.Adapters, key, dir, func() ([]lora.Module, error) {
		return lora.ReadModules(dir, m.Spec.Targets(), m.Spec.DefaultTargets)
	})
	if err != nil {
		return err
	}
	return Adapter(m.Dir, dir, out, to)
}
