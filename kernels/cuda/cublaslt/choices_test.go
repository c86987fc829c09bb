//go:build linux

package cublaslt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// A choice holds for every later process of the same library on the same GPU, whoever made it first; a file
// that is damaged or of something else is ignored and made anew.
func TestChoices(t *testing.T) {
	const of = "cuBLASLt 130100 on NVIDIA H100"
	folder := t.TempDir()
	always := func(algorithm) bool { return true }
	s := Shape{M: 8192, N: 3072, K: 2048, StrideA: 2048, StrideB: 2048, StrideC: 3072, TransB: true, Type: kernels.BF16, TypeC: kernels.BF16}
	first, other := algorithm{1, 2, 63: 3}, algorithm{4}

	c, late := openChoices(folder, of), openChoices(folder, of)
	if _, ok := c.find(s); ok {
		t.Fatal("something was chosen in an empty folder")
	}
	c.keep(s, first, always)
	if got, _ := late.keep(s, other, always); got != first {
		t.Errorf("the second process kept %v, want the first's", got)
	}
	if got, ok := openChoices(folder, of).find(s); !ok || got != first {
		t.Errorf("after a restart %v is found, %v", got, ok)
	}
	near := s
	near.M = 8190
	if got, ok := c.find(near); !ok || got != first {
		t.Errorf("a neighbour of the same size has a choice of its own: %v", got)
	}
	if got, _ := openChoices(folder, of).keep(s, other, func(a algorithm) bool { return a == other }); got != other {
		t.Errorf("a choice that the library can't use was kept: %v", got)
	}
	if _, ok := openChoices(folder, "cuBLASLt 130200 on NVIDIA H100").find(s); ok {
		t.Error("another library's choice was taken")
	}

	files, _ := filepath.Glob(filepath.Join(folder, "cublaslt-*.json"))
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "torn": string(whole[:len(whole)/2]), "changed": strings.Replace(string(whole), "04", "05", 1), "foreign": strings.Replace(string(whole), "H100", "A100", 1),
	} {
		if err := os.WriteFile(files[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := openChoices(folder, of)
		if got, ok := c.find(s); ok {
			t.Errorf("%s: %v was taken from it", name, got)
		}
		c.keep(s, first, always)
		if got, _ := openChoices(folder, of).find(s); got != first {
			t.Errorf("%s: it wasn't made anew", name)
		}
	}
	if _, err := openChoices(filepath.Join(folder, "missing"), of).keep(s, other, always); err == nil {
		t.Error("a choice was kept in a folder that doesn't exist")
	}
}
