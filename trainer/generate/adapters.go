package generate

import (
	"context"
	"os"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// maxBeside is how many adapters stay beside a base.
const maxBeside = 4

// adapter is one that is loaded.
type adapter struct {
	key     scu.AdapterKey
	weights *lora.Adapter
}

// adapter loads one beside the base, unless it is there.
func (e *Engine) adapter(ctx context.Context, key scu.AdapterKey) (*lora.Adapter, error) {
	if i := slices.IndexFunc(e.beside, func(a adapter) bool { return a.key == key }); i >= 0 {
		a := e.beside[i]
		e.beside = append(slices.Delete(e.beside, i, i+1), a)
		return a.weights, nil
	}
	weights, err := e.fetch(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(e.beside) == maxBeside {
		e.beside[0].weights.Close()
		e.beside = slices.Delete(e.beside, 0, 1)
	}
	e.beside = append(e.beside, adapter{key, weights})
	return weights, nil
}

// fetch reads a stored adapter onto the device. It must have been trained on this base.
func (e *Engine) fetch(ctx context.Context, key scu.AdapterKey) (*lora.Adapter, error) {
	dir, err := os.MkdirTemp("", "scu-generate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	err = base.FetchAdapter(ctx, e.adapters, key, dir, func() ([]lora.Module, error) {
		if err := base.SameBase(dir, e.base.Weights); err != nil {
			return nil, err
		}
		return lora.ReadModules(dir, e.base.Spec.Targets(), e.base.Spec.DefaultTargets)
	})
	if err != nil {
		return nil, err
	}
	return lora.Load(e.dev, dir, e.base.Spec.Targets(), e.base.Spec.DefaultTargets)
}
