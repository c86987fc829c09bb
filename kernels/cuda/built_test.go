//go:build cuda && cgo && linux

package cuda

import (
	"bytes"
	"testing"
)

// Each GPU gets code that it runs: an Orin (8.7) that of an RTX 30, a Blackwell PTX.
func TestImageOfEachDevice(t *testing.T) {
	for capability, want := range map[int]string{
		80: "sm_80.cubin", 86: "sm_86.cubin", 87: "sm_86.cubin", 89: "sm_89.cubin", 90: "sm_90a.cubin",
		100: "compute_80.ptx", 120: "compute_80.ptx",
	} {
		if got := format(capability); got != want {
			t.Errorf("a GPU of capability %d gets %s, want %s", capability, got, want)
		}
		code, err := image("norm", capability)
		if err != nil {
			t.Fatal(err)
		}
		if elf := bytes.HasPrefix(code, []byte("\x7fELF")); elf != (capability <= 90) {
			t.Errorf("a GPU of capability %d gets machine code: %v", capability, elf)
		}
	}
}
