package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The data folder is looked at where it is or will be, and nothing stays in it.
func TestDoctorDataFolder(t *testing.T) {
	dir := t.TempDir()
	for data, says := range map[string]string{dir: dir + " can be written", filepath.Join(dir, "a", "b"): dir + " can be written; " + filepath.Join(dir, "a", "b") + " is made in it"} {
		if c := dataFolder(data); !c.OK || !strings.HasPrefix(c.Found, says) {
			t.Errorf("%+v, want %q", c, says)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := dataFolder(filepath.Join(file, "data")); c.OK || c.Advice == "" {
		t.Errorf("below a file: %+v", c)
	}
}
