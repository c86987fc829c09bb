package estimate

import (
	"strings"
	"testing"

	"scu"
	"scu/trainer/base"
	"scu/trainer/model"
)

// What doesn't fit into memory is recomputed, and what doesn't fit then is refused.
func TestPlanMemory(t *testing.T) {
	m, err := base.Open("../../models/bookworm-2m")
	must(t, err)
	defer m.Close()
	modules, err := m.Modules(scu.DefaultConfig().LoRA)
	must(t, err)
	o := model.WorkspaceOptions{Batch: 8, Len: 512, Training: true}
	whole, err := model.WorkspaceBytes(m.Spec, modules, 0, o)
	must(t, err)
	if got, err := PlanWorkspace(m.Spec, modules, 0, o, 2*whole); err != nil || got.Recompute {
		t.Errorf("with room: recompute %v, %v", got.Recompute, err)
	}
	if got, err := PlanWorkspace(m.Spec, modules, 0, o, whole); err != nil || !got.Recompute {
		t.Errorf("with little room: recompute %v, %v", got.Recompute, err)
	}
	if _, err := PlanWorkspace(m.Spec, modules, 0, o, whole/20); scu.CodeOf(err) != scu.CodeExhausted || !strings.Contains(err.Error(), "lower batch_size (now 8)") {
		t.Errorf("without room: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
