//go:build unix

package postgrestest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A server that can't be made is an error, and leaves nothing behind.
func TestNoServer(t *testing.T) {
	bin, place := t.TempDir(), t.TempDir()
	for _, program := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	if _, err := Run(Place{Dir: place}); err == nil || !strings.HasPrefix(err.Error(), "initdb: ") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
