package estimate

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"scu"
	"scu/trainer/lora"
	"scu/trainer/model"
)

// AvailableMemory is what the machine can give without swapping, in bytes; 0
// where that isn't known.
func AvailableMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// PlanWorkspace decides how activations are kept: all of them where they fit into
// 70% of what is available, else each block's input alone. Where that doesn't fit
// either the job can't run here. With 0 available nothing is known, and all are
// kept.
func PlanWorkspace(spec *model.Spec, modules []lora.Module, dropout float64, o model.WorkspaceOptions, available int64) (model.WorkspaceOptions, error) {
	if available == 0 {
		return o, nil
	}
	limit := available / 10 * 7
	need, err := model.WorkspaceBytes(spec, modules, dropout, o)
	if err != nil || need <= limit {
		return o, err
	}
	o.Recompute = true
	if need, err = model.WorkspaceBytes(spec, modules, dropout, o); err != nil || need <= limit {
		return o, err
	}
	return o, scu.Errorf(scu.CodeExhausted, "training needs %s for activations, and %s of memory are available", gib(need), gib(available)).
		WithHint("lower batch_size (now %d) or block_size; gradient_accumulation_steps keeps the effective batch", o.Batch)
}

func gib(n int64) string { return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB" }
