package trainer

import (
	"context"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
)

// placement is what a job will run on.
type placement struct {
	kind   devices.Kind // by what devices.Classes tells of it
	memory int64        // that a job can have there, in bytes; 0 if it isn't known
}

// place returns where a job goes: to the first of devices.Classes that a trainer takes
// which is there. If there is none, it is the class of this machine's own device.
func (p *Preflight) place(ctx context.Context) placement {
	all := p.trainers(ctx)
	kind := p.Calibration.Device
	for _, k := range devices.Classes() {
		if scu.Served(all, k.Class) {
			kind = k
			break
		}
	}
	return placement{kind, mostMemory(all, kind.Class)}
}

func (p *Preflight) trainers(ctx context.Context) []scu.Presence {
	if p.Trainers == nil {
		return nil
	}
	return p.Trainers(ctx)
}

// mostMemory is what that trainer of a class can give a job which has most, in bytes; 0 if
// none says.
func mostMemory(trainers []scu.Presence, class string) (most int64) {
	for _, t := range trainers {
		if slices.Contains(t.Classes, class) {
			most = max(most, t.Memory)
		}
	}
	return most
}

// gpuMemory is the memory of the largest GPU that a job can go to, in bytes, 0 if it goes
// to something else or it isn't known.
func (to placement) gpuMemory() int64 {
	if to.kind.Half == kernels.F32 {
		return 0
	}
	return to.memory
}
