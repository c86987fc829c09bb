// Package models carries the built-in base model inside the binary, so that the
// main job runs with nothing installed and no network.
package models

import (
	"bytes"
	"embed"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
)

// BuiltIn is the name of the built-in model: see README.md for what it is.
const BuiltIn = scu.BuiltInModel

//go:embed bookworm-2m
var files embed.FS

// Extract puts the built-in model into dir/bookworm-2m, unless its files are
// there already, byte for byte, and returns that folder. Each file appears whole
// or not at all, so several processes may do it at once.
func Extract(dir string) (string, error) {
	out := filepath.Join(dir, BuiltIn)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	entries, err := fs.ReadDir(files, BuiltIn)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		want, err := files.ReadFile(BuiltIn + "/" + e.Name())
		if err != nil {
			return "", err
		}
		path := filepath.Join(out, e.Name())
		if got, err := os.ReadFile(path); err == nil && bytes.Equal(got, want) {
			continue
		}
		if err := atomicfile.WriteBytes(path, 0o644, want); err != nil {
			return "", err
		}
	}
	return out, nil
}
