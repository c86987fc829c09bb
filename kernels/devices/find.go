package devices

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/shannon-control/scu/kernels/cuda"
	"github.com/shannon-control/scu/kernels/cuda/nvml"
)

// Finding is something that was looked for here.
type Finding struct {
	What     string // in a word or two
	Found    string
	Err      error  // why it can't be used; Found has it too
	Optional bool   // jobs run without it
	Advice   string // what to do about Err
}

// Find looks for what jobs could be computed on, and what that stands on.
func Find(threads int, named ...string) (all []Finding) {
	add := func(what, found string, err error, optional bool, advice string) {
		f := Finding{What: what, Found: found, Err: err, Optional: optional}
		if err != nil {
			f.Found, f.Advice = err.Error(), advice
		}
		all = append(all, f)
	}
	wanted := os.Getenv(Variable) == "cuda" || len(named) > 0
	about, err := cuda.Driver()
	add("cuda", about, err, !wanted, "a GPU takes NVIDIA's driver, r550 or later, of which libcuda.so.1 must be found; "+Variable+"=cpu leaves GPUs alone")
	if err == nil {
		version, err := nvml.Driver()
		add("nvml", "driver "+version, err, true, "install libnvidia-ml.so.1 of the driver's version; without it utilisation and temperature aren't known")
		cards, _ := nvml.Cards()
		for _, c := range cards {
			text := fmt.Sprintf("%d: %s, %s, %d of %d MiB free, %d%% busy, %d C, %d W, processes: %d", c.Number, c.Name, c.UUID, c.Free>>20, c.Total>>20, c.Utilisation, c.Temperature, c.Watts, len(c.Processes))
			if c.MIG {
				text += "; MIG: its slices are GPUs"
			}
			add("card", text, nil, true, "")
		}
		products, err := cuda.Products()
		add("cublaslt", products, err, true, "pip install nvidia-cublas-cu12, or a CUDA toolkit, or name it with SCU_CUBLASLT; without it products are slower")
	}
	kinds, err := All(threads, named...)
	for _, k := range kinds {
		add("jobs run on", k.Description, nil, true, "")
	}
	if err != nil {
		add("jobs run on", "", err, false, "nvidia-smi shows the GPUs and what they do; CUDA_VISIBLE_DEVICES may hide them; "+Variable+"=cpu trains on the CPU")
	}
	return all
}

// CPUFeatures names the instruction sets that kernels choose by.
func CPUFeatures() string {
	var names []string
	for _, f := range []struct {
		name string
		has  bool
	}{{"AVX2", cpu.X86.HasAVX2}, {"FMA", cpu.X86.HasFMA}, {"AVX-512", cpu.X86.HasAVX512F}, {"AVX-512 BF16", cpu.X86.HasAVX512BF16}, {"AMX", cpu.X86.HasAMXTile}, {"NEON", cpu.ARM64.HasASIMD}} {
		if f.has {
			names = append(names, f.name)
		}
	}
	if names == nil {
		return "no vector instructions that are used here"
	}
	return strings.Join(names, ", ")
}
