package scu

import (
	"slices"
	"testing"
)

// A card takes jobs of its size and of all smaller ones, and whatever names it.
func TestClassesOfGPU(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		card   string
		memory int64
		want   []string
	}{
		{"RTX 3070", 7973 * mib, []string{"gpu-id-1", "gpu-8", "gpu-4", "gpu"}},
		{"A10, with error correction", 22731 * mib, []string{"gpu-id-1", "gpu-24", "gpu-16", "gpu-8", "gpu-4", "gpu"}},
		{"L40S", 46068 * mib, []string{"gpu-id-1", "gpu-48", "gpu-40", "gpu-24", "gpu-16", "gpu-8", "gpu-4", "gpu"}},
		{"H100", 81079 * mib, []string{"gpu-id-1", "gpu-80", "gpu-48", "gpu-40", "gpu-24", "gpu-16", "gpu-8", "gpu-4", "gpu"}},
		{"H200", 143771 * mib, []string{"gpu-id-1", "gpu-141", "gpu-80", "gpu-48", "gpu-40", "gpu-24", "gpu-16", "gpu-8", "gpu-4", "gpu"}},
		{"unknown", 0, []string{"gpu-id-1", "gpu"}},
	} {
		if got := ClassesOfGPU(c.memory, 1); !slices.Equal(got, c.want) {
			t.Errorf("%s takes %v, want %v", c.card, got, c.want)
		}
	}
}

// What a job of a class may need, every card that takes the class has.
func TestGPUClassHoldsTheJob(t *testing.T) {
	for need := int64(1 << 28); ; need += 1 << 28 {
		class := GPUClassFor(need)
		if class == "" {
			if need < 250<<30 {
				t.Errorf("no class for %d GiB", need>>30)
			}
			return
		}
		size, ok := GPUSize(class)
		if !ok || !ValidClass(class) || ClassFamily(class) != "gpu" {
			t.Fatalf("class %q", class)
		}
		for memory := int64(1 << 30); memory < 300<<30; memory += 1 << 30 {
			if slices.Contains(ClassesOfGPU(memory, 0), class) && memory-GPUContext < need {
				t.Fatalf("a card of %d bytes takes class %s (%d GB), whose jobs need %d", memory, class, size, need)
			}
		}
	}
}
