package base

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shannon-control/scu/models"
)

// longAgo gives the files in a folder a time that was well before now.
func longAgo(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Chtimes(filepath.Join(dir, e.Name()), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

// A model is read once as long as its files stay as they were, and anew after a change.
// Who has it open keeps what it opened.
func TestOutlineIsKept(t *testing.T) {
	f := &Finder{Dir: t.TempDir()}
	open := func() *Model {
		t.Helper()
		m, err := f.Outline(t.Context(), models.BuiltIn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		return m
	}
	if fresh, again := open(), open(); fresh.Tokenizer == again.Tokenizer {
		t.Error("files that were just written are trusted to stay so")
	}
	dir := filepath.Join(f.Dir, models.BuiltIn)
	longAgo(t, dir)
	first := open()
	second := open()
	if first.Tokenizer != second.Tokenizer || first.Weights != second.Weights {
		t.Error("an unchanged model was read twice")
	}
	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := open()
	if third.Tokenizer == first.Tokenizer {
		t.Error("a changed model wasn't read again")
	}
	if b, err := os.ReadFile(config); err != nil || len(b) < 10 {
		t.Errorf("the built-in model was not put right again: %q, %v", b, err)
	}
	first.Close()
	first.Close() // once too often gives back nothing of others'
	if second.HasWeights() != true {
		t.Error("weights went with another user's Close")
	}
}

// No more models than maxShelved are kept, the ones used last.
func TestShelfIsBounded(t *testing.T) {
	var s shelf
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	longAgo(t, dir)
	opened, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"a", "b", "c", "d", "e", "f"}
	for _, key := range keys {
		s.put(key, &Model{Dir: dir, opened: opened, began: time.Now()}).Close()
		if m := s.borrow("a"); m != nil {
			m.Close()
		}
	}
	if len(s.models) != maxShelved || s.borrow("a") == nil || s.borrow("b") != nil {
		t.Errorf("%d models are kept", len(s.models))
	}
}
