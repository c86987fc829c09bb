package estimate

import (
	"cmp"
	"context"
	"sort"
	"strconv"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
)

// share is how much of the available memory a run may plan with. A GPU is a job's alone,
// and what it needs is known to a percent; the host is shared.
const (
	share    = 0.8
	gpuShare = 0.97
)

// Plan decides how activations of a type are kept: all of them if the run then fits
// its share of the available memory, else as many as fit, at the least each block's
// input alone; or as the job asks. If that doesn't fit either the job can't run here;
// there weights don't count where they are mapped, since they can be read again. With 0
// available nothing is known, and what is kept is what takes the least time.
func (r Run) Plan(activations kernels.DType, modules []lora.Module) (model.WorkspaceOptions, error) {
	plans := r.plans()
	if r.Available == 0 {
		return plans[0], nil
	}
	var err error
	fits := func(i int) bool {
		need, e := r.Needs(activations, modules, plans[i])
		err = cmp.Or(err, e)
		return need <= r.limit()
	}
	if fits(0) { // as for most runs, without a search
		return plans[0], err
	}
	less := plans[1:]
	if i := sort.Search(len(less), func(i int) bool { return fits(1 + i) }); i < len(less) {
		return less[i], err
	}
	least := plans[len(plans)-1]
	return least, r.tooLarge(activations, modules, least)
}

// copiesHide is from how many bytes a block on copies to the host and back are hidden behind the work: on an H100 they took
// 0.2 to 0.7% of a step from there, and 1.3% with half as many.
const copiesHide = 64 << 20

// plans are the ways to keep activations that the job allows, each of less memory and
// more time than the one before.
func (r Run) plans() []model.WorkspaceOptions {
	all := r.keepAll()
	again := all
	again.Recompute = true
	switch asked := r.Config.GradientCheckpointing; {
	case asked == nil:
	case *asked:
		return []model.WorkspaceOptions{again}
	default:
		return []model.WorkspaceOptions{all}
	}
	plans := []model.WorkspaceOptions{all}
	if most := r.Spec.MostAside(); r.Device.Scratch != nil && most > 0 {
		all.AsideMLP, all.AsideEvery = most, r.Spec.AsideEvery()
		if r.Spec.KeptByMLP()*r.Config.BatchSize*r.Work.Longest >= copiesHide {
			plans = nil // the time of the first isn't less
		}
		plans = append(plans, all)
	}
	for n := 2; n <= len(r.Spec.Layers)-all.AsideMLP; n++ {
		some := all
		some.RecomputeMLP = n
		plans = append(plans, some)
	}
	return append(plans, again)
}

// limit is the memory that a run may plan with.
func (r Run) limit() int64 {
	if r.Device.Scratch != nil {
		return int64(gpuShare * float64(r.Available))
	}
	return int64(share * float64(r.Available))
}

// Within is what a run may be told to be available of a GPU where it takes at most `most` bytes, the driver's share
// included, of the memory available; 0 for any.
func Within(most, available int64) int64 {
	if most == 0 {
		return available
	}
	return min(available, int64(float64(max(1, most-scu.GPUContext))/gpuShare))
}

func (r Run) keepAll() model.WorkspaceOptions {
	return model.WorkspaceOptions{Batch: r.Config.BatchSize, Len: r.Work.Longest, Training: true}
}

func (r Run) outline(activations kernels.DType, modules []lora.Module, o model.WorkspaceOptions) (*passes, error) {
	var scratch func(...any) int64
	if r.Device.Scratch != nil {
		scratch = func(ops ...any) int64 { return r.Device.Scratch(activations, ops...) }
	}
	return outline(newPlanner(activations, scratch), r, modules, o)
}

// tooLarge refuses a run that doesn't fit with its weights by the plan o, the one of the
// least memory; nil if the weights may be read again and the rest fits.
func (r Run) tooLarge(activations kernels.DType, modules []lora.Module, o model.WorkspaceOptions) error {
	p, err := r.outline(activations, modules, o)
	if err != nil {
		return err
	}
	if r.Device.Scratch == nil {
		need := p.learning + p.activations
		if need <= r.limit() {
			return nil
		}
		return r.refuse(scu.Errorf(scu.CodeMemory, "training needs %s besides the weights%s, but only %s of memory are available", size(need), r.uncheckpointed(), size(r.Available)))
	}
	if p.loaded > r.limit() {
		e := scu.Errorf(scu.CodeMemory, "the model's weights take %s, but only %s of the GPU's memory are available", size(p.loaded), size(r.Available)).At("base_model")
		if !r.nf4() && r.Device.NF4 {
			return e.WithHint("set use_4bit, or take a smaller model or a larger GPU")
		}
		return e.WithHint("take a smaller model or a larger GPU")
	}
	need, err := r.Needs(activations, modules, o)
	if err != nil {
		return err
	}
	how := cmp.Or(r.uncheckpointed(), " with checkpointing")
	return r.refuse(scu.Errorf(scu.CodeMemory, "training needs %s%s, %s of them the weights, but only %s of the GPU's memory are available", size(need), how, size(p.loaded), size(r.Available)))
}

// uncheckpointed says that the job forbids to compute activations again; "" if it doesn't.
func (r Run) uncheckpointed() string {
	if asked := r.Config.GradientCheckpointing; asked != nil && !*asked {
		return " without gradient checkpointing"
	}
	return ""
}

func (r Run) refuse(e *scu.Error) error {
	if r.uncheckpointed() != "" {
		return e.At("gradient_checkpointing").WithHint("leave it out, so that activations are computed again, or lower batch_size (now %d) or block_size", r.Config.BatchSize)
	}
	return e.WithHint("lower batch_size (now %d) or block_size; gradient_accumulation_steps keeps the effective batch", r.Config.BatchSize)
}

// nf4 reports whether linear weights are quantised when they are loaded.
func (r Run) nf4() bool { return r.Device.NF4 && r.Config.Use4Bit }

// Needs returns the memory that a planned run takes in bytes, weights included; the
// scratch memory only of a GPU, whose own all of this is.
func (r Run) Needs(activations kernels.DType, modules []lora.Module, o model.WorkspaceOptions) (int64, error) {
	p, err := r.outline(activations, modules, o)
	if err != nil {
		return 0, err
	}
	need := p.loaded + p.learning + p.activations
	if r.Device.Scratch == nil {
		return need, nil
	}
	if err := p.record(context.Background(), o.Batch, 0, o.Len); err != nil {
		return 0, err
	}
	return need + p.rec.scratch(), nil
}

// GPUClass returns the smallest class of GPUs that hold a run: with all activations kept
// if one of the classes offered does, else with as few as the job allows. Where none is
// offered it is the smallest that there is; "" if even the largest is too small.
func (r Run) GPUClass(activations kernels.DType, modules []lora.Module, offered func(class string) bool) (string, error) {
	smallest := ""
	plans := r.plans()
	for _, o := range []model.WorkspaceOptions{plans[0], plans[len(plans)-1]} {
		need, err := r.Needs(activations, modules, o)
		if err != nil {
			return "", err
		}
		class := scu.GPUClassFor(int64(float64(need) / gpuShare))
		if class == "" {
			continue
		}
		if smallest = class; offered == nil || offered(class) {
			return class, nil
		}
	}
	return smallest, nil
}

// size formats bytes for people.
func size(n int64) string {
	if n < 1<<30 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}
