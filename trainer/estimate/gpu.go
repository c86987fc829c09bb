package estimate

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/lora"
)

// Memory estimates what r takes on its device, without that device. It is for GPUs.
func (r Run) Memory() (m scu.MemoryEstimate, err error) {
	modules, err := lora.Plan(r.Spec.Targets(), r.Spec.DefaultTargets, r.Config.LoRA)
	if err != nil {
		return m, err
	}
	activations := r.Device.Options(r.Config.Half()).Precision
	o, err := r.Plan(activations, modules)
	if err != nil {
		return m, err
	}
	p, err := r.outline(activations, modules, o)
	if err == nil && r.Device.Scratch != nil {
		err = p.record(context.Background(), o.Batch, 0, o.Len)
	}
	if err != nil {
		return m, err
	}
	m = p.onGPU()
	m.Checkpointing, m.Available = o.Recomputes(), r.Available
	return m, nil
}

// onGPU is the memory of a GPU. Its share of the process is the driver's for one.
func (p *passes) onGPU() scu.MemoryEstimate {
	m := scu.MemoryEstimate{Weights: p.loaded, Activations: p.activations, Adapter: p.learning, Scratch: p.rec.scratch(), Process: scu.GPUContext, Host: p.rec.host}
	m.Peak = m.Weights + m.Activations + m.Adapter + m.Scratch + m.Process
	return m
}
