package estimate

import (
	"strconv"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
)

// share is how much of the available memory a run may plan with.
const share = 0.8

// Plan decides how activations of a type are kept: all of them if the run then fits
// its share of the available memory, else each block's input alone. If that doesn't
// fit either, not counting weights (they are mapped and can be read again), the job
// can't run here. With 0 available nothing is known, and all are kept.
func (r Run) Plan(activations kernels.DType, modules []lora.Module) (model.WorkspaceOptions, error) {
	o := model.WorkspaceOptions{Batch: r.Config.BatchSize, Len: r.Work.Longest, Training: true}
	if r.Available == 0 {
		return o, nil
	}
	limit := int64(share * float64(r.Available))
	p, err := outline(newPlanner(activations), r, modules, o)
	if err != nil || p.loaded+p.learning+p.activations <= limit {
		return o, err
	}
	o.Recompute = true
	if p, err = outline(newPlanner(activations), r, modules, o); err != nil || p.learning+p.activations <= limit {
		return o, err
	}
	return o, scu.Errorf(scu.CodeMemory, "training needs %s besides the weights, but only %s of memory are available", size(p.learning+p.activations), size(r.Available)).
		WithHint("lower batch_size (now %d) or block_size; gradient_accumulation_steps keeps the effective batch", o.Batch)
}

// Needs returns the memory that a planned run takes in bytes, weights included, scratch memory not.
func (r Run) Needs(activations kernels.DType, modules []lora.Module, o model.WorkspaceOptions) (int64, error) {
	p, err := outline(newPlanner(activations), r, modules, o)
	if err != nil {
		return 0, err
	}
	return p.loaded + p.learning + p.activations, nil
}

// size formats bytes for people.
func size(n int64) string {
	if n < 1<<30 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}
