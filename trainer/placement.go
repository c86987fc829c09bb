package trainer

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/estimate"
	"github.com/shannon-control/scu/trainer/lora"
)

// placement is what a job will run on.
type placement struct {
	kind     devices.Kind // by what devices.Classes tells of it
	class    string       // of the job, as far as it is known
	memory   int64        // that a job can have there, in bytes; 0 if it isn't known
	trainers []scu.Presence
}

// place returns where a job goes: to the GPU that it names; else to the first of
// devices.Classes that a trainer takes which is there; if there is none, to this
// machine's own device. number may be nil.
func (p *Preflight) place(ctx context.Context, number *int) placement {
	all := p.trainers(ctx)
	kind := p.Calibration.Device
	for _, k := range devices.Classes() {
		if number != nil && scu.ClassFamily(k.Class) == scu.ClassFamily(scu.GPUIDClass(*number)) || number == nil && scu.ServedFamily(all, k.Class) {
			kind = k
			break
		}
	}
	to := placement{kind: kind, class: kind.Class, trainers: all}
	if number != nil {
		to.class = scu.GPUIDClass(*number)
	}
	to.memory = scu.MostMemory(all, to.class)
	return to
}

func (p *Preflight) trainers(ctx context.Context) []scu.Presence {
	if p.Trainers == nil {
		return nil
	}
	return p.Trainers(ctx)
}

// gpuMemory is the memory of the largest GPU that a job can go to, in bytes, 0 if it goes
// to something else or it isn't known.
func (to placement) gpuMemory() int64 {
	if to.kind.Half == kernels.F32 {
		return 0
	}
	return to.memory
}

// run is a job as what it needs there is computed.
func (to placement) run(m *base.Model, cfg *scu.Config, work estimate.Work) estimate.Run {
	return estimate.Run{Spec: m.Spec, Types: m.Types(), Config: *cfg, Work: work, Device: to.kind, Available: to.memory}
}

// classOf is the class of a job that goes to a GPU and names none: the smallest that
// holds it, or that of all GPUs while only older versions' trainers are there, which take
// no other.
func (to placement) classOf(r estimate.Run, modules []lora.Module) (string, error) {
	if to.kind.Scratch == nil || to.class != to.kind.Class {
		return to.class, nil
	}
	var offered func(string) bool
	if scu.ServedFamily(to.trainers, to.kind.Class) {
		offered = func(class string) bool { return scu.Served(to.trainers, class) }
	}
	class, err := r.GPUClass(to.kind.Options(r.Config.Half()).Precision, modules, offered)
	if err != nil || class == "" || offered != nil && !offered(class) && offered(to.class) {
		return to.class, err
	}
	return class, nil
}

// classes are what a trainer on a device takes.
func classes(kind devices.Kind) []string {
	if kind.Scratch == nil {
		return []string{kind.Class}
	}
	memory := kind.Memory
	if kind.Most > 0 {
		memory = min(memory, kind.Most)
	}
	return scu.ClassesOfGPU(memory, kind.Number)
}
