package devices

import (
	"context"
	"fmt"
	"os"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda"
	"github.com/shannon-control/scu/kernels/cuda/nvml"
)

// Variable is the environment variable that chooses what jobs are computed on: "cpu", or "cuda" for
// GPUs alone. Without it they are GPUs where there are some.
const Variable = "SCU_DEVICE"

// Figures are a GPU's as its driver tells them.
type Figures = nvml.Card

// Fault is what the driver reports of a GPU.
type Fault = nvml.Fault

// CUDA is the GPU of that number among those that the process sees: in BF16 for a job that asks for
// 16 bits, with NF4 for one that asks for 4.
func CUDA(gpu cuda.GPU) Kind {
	k := anyGPU
	k.New = func(o kernels.Options) (kernels.Device, error) { return cuda.Open(gpu.Number, o) }
	k.Available = gpu.Available
	k.Number, k.UUID, k.Memory = gpu.Number, gpu.UUID, gpu.Memory
	k.Figures = func() (Figures, bool) { return nvml.Read(gpu.UUID) }
	k.Watch = func(ctx context.Context, report func(Fault)) error {
		return nvml.Watch(ctx, []string{gpu.UUID}, report)
	}
	if f, ok := k.Figures(); ok {
		k.Number = f.Number
	}
	k.Description = fmt.Sprintf("cuda:%d, %s, %d GB", k.Number, gpu.Name, gpu.Memory>>30)
	return k
}

// All lists what jobs can be computed on here, one for each trainer: the GPUs, or the CPU where there
// are none. named are the GPUs to take, by number or UUID; none named: all. An error says
// why GPUs that are asked for can't be used.
func All(threads int, named ...string) ([]Kind, error) {
	want := os.Getenv(Variable)
	if want == "cpu" {
		if len(named) > 0 {
			return nil, fmt.Errorf("GPUs are named, and %s is cpu", Variable)
		}
		return []Kind{CPU(threads)}, nil
	}
	gpus, err := cuda.GPUs()
	switch {
	case len(gpus) > 0:
		var kinds []Kind
		for _, g := range gpus {
			kinds = append(kinds, CUDA(g))
		}
		return choose(kinds, named)
	case want == "" && len(named) == 0:
		return []Kind{CPU(threads)}, nil
	case want != "cuda" && want != "":
		return nil, fmt.Errorf("%s is %q: want cpu or cuda", Variable, want)
	}
	return nil, fmt.Errorf("jobs can't be computed on a GPU here: %w", err)
}

// About describes what jobs would be computed on here, and what is known of GPUs, a line each.
func About(threads int) []string {
	var lines []string
	kinds, err := All(threads)
	if err != nil {
		lines = append(lines, err.Error())
	}
	for _, k := range kinds {
		lines = append(lines, "jobs run on "+k.Description)
	}
	return append(lines, "CUDA: "+cuda.About())
}
