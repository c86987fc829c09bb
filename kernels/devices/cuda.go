package devices

import (
	"fmt"
	"os"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda"
)

// Variable is the environment variable that chooses what jobs are computed on: "cpu", or "cuda" for
// GPUs alone. Without it they are GPUs where there are some.
const Variable = "SCU_DEVICE"

// CUDA is the GPU of that number among those that the process sees: in BF16 for a job that asks for
// 16 bits, with NF4 for one that asks for 4.
func CUDA(gpu cuda.GPU) Kind {
	k := anyGPU
	k.Description = fmt.Sprintf("cuda:%d, %s, %d GB", gpu.Number, gpu.Name, gpu.Memory>>30)
	k.New = func(o kernels.Options) (kernels.Device, error) { return cuda.Open(gpu.Number, o) }
	k.Available = gpu.Available
	k.Number, k.UUID, k.Memory = gpu.Number, gpu.UUID, gpu.Memory
	return k
}

// All lists what jobs can be computed on here, one for each trainer: the GPUs, or the CPU where there
// are none. An error says why GPUs that are asked for can't be used.
func All(threads int) ([]Kind, error) {
	want := os.Getenv(Variable)
	if want == "cpu" {
		return []Kind{CPU(threads)}, nil
	}
	gpus, err := cuda.GPUs()
	switch {
	case len(gpus) > 0:
		var kinds []Kind
		for _, g := range gpus {
			kinds = append(kinds, CUDA(g))
		}
		return kinds, nil
	case want == "":
		return []Kind{CPU(threads)}, nil
	case want != "cuda":
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
