package base

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A model is unchanged until one of its files is written to, replaced, removed or
// joined by another.
func TestUnchanged(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"written to": func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "config.json"), time.Time{}, time.Now().Add(time.Hour))
		},
		"cut short": func(dir string) error { return os.Truncate(filepath.Join(dir, "model.safetensors"), 1000) },
		"replaced": func(dir string) error {
			old := filepath.Join(dir, "tokenizer.json")
			info, err := os.Stat(old)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(old)
			if err != nil {
				return err
			}
			if err := os.WriteFile(old+".new", b, 0o600); err != nil {
				return err
			}
			if err := os.Chtimes(old+".new", time.Time{}, info.ModTime()); err != nil {
				return err
			}
			return os.Rename(old+".new", old)
		},
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "config.json")) },
		"joined":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "chat_template.jinja"), nil, 0o600) },
		"gone":    os.RemoveAll,
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("../../models/bookworm-2m")); err != nil {
			t.Fatal(err)
		}
		m, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if !m.Unchanged() {
			t.Errorf("before it is %s: changed", name)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if m.Unchanged() {
			t.Errorf("%s: unchanged", name)
		}
	}
}
