package lora

import (
	"slices"

	"github.com/shannon-control/scu"
)

// Same refuses an adapter with the modules got for a job that wants others, or others of
// their ranks and scales, by the first one that differs.
func Same(got, want []Module) error {
	find := func(list []Module, path string) (Module, bool) {
		i := slices.IndexFunc(list, func(m Module) bool { return m.Path == path })
		if i < 0 {
			return Module{}, false
		}
		return list[i], true
	}
	for _, m := range want {
		had, ok := find(got, m.Path)
		switch {
		case !ok:
			return scu.Errorf(scu.CodeInvalid, "the adapter doesn't adapt %s, which the job trains", m.Path).WithHint("set lora.target_modules, and lora.layers_to_transform, as the adapter has them")
		case had.R != m.R:
			return scu.Errorf(scu.CodeInvalid, "the adapter has rank %d on %s, the job %d", had.R, m.Path, m.R).WithHint("set lora.r to %d", had.R)
		case had.Scale != m.Scale:
			return scu.Errorf(scu.CodeInvalid, "the adapter scales %s by %g (alpha %g), the job by %g", m.Path, had.Scale, had.Alpha, m.Scale).WithHint("set lora.alpha to %g, and lora.use_rslora as the adapter has it", had.Alpha)
		}
	}
	for _, m := range got {
		if _, ok := find(want, m.Path); !ok {
			return scu.Errorf(scu.CodeInvalid, "the adapter adapts %s, which the job doesn't train", m.Path).WithHint("set lora.target_modules as the adapter has them")
		}
	}
	return nil
}
