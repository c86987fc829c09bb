package trainer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/trainer/base"
)

// A second submission of the same data and settings reads nothing and says the same. One
// with other settings, data or another tokenizer is looked at anew.
func TestValidateKnowsWhatItRead(t *testing.T) {
	store, err := files.Open(t.TempDir())
	must(t, err)
	p := &Preflight{Bases: &base.Finder{}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
	dir := modelCopy(t)
	aged := func() {
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			must(t, os.Chtimes(filepath.Join(dir, e.Name()), time.Time{}, time.Now().Add(-time.Hour)))
		}
	}
	aged()
	validate := func(text string, change func(*scu.Config)) scu.Validation {
		t.Helper()
		f, err := store.Put(t.Context(), "data.txt", strings.NewReader(text), 1<<20)
		must(t, err)
		cfg := scu.DefaultConfig()
		cfg.BaseModel = dir
		change(&cfg)
		return p.Validate(t.Context(), &cfg, one(f), nil)
	}
	same := func(*scu.Config) {}
	text := strings.Repeat("It was a dark night, and the lamp had gone out.\n", 100)
	first := validate(text, same)
	if len(first.Errors) > 0 || len(p.known.data) != 1 {
		t.Fatalf("%v, %d known", first.Errors, len(p.known.data))
	}
	if again := validate(text, same); strings.Join(again.Texts(), "\n") != strings.Join(first.Texts(), "\n") || len(p.known.data) != 1 {
		t.Errorf("said %q, and then %q", first.Texts(), again.Texts())
	}
	validate(text, func(c *scu.Config) { c.LearningRate *= 2 })
	if len(p.known.data) != 1 {
		t.Error("a learning rate changes nothing of the data")
	}
	for name, v := range map[string]scu.Validation{
		"other data":     validate(text+text, same),
		"shorter blocks": validate(text, func(c *scu.Config) { c.BlockSize = 64 }),
		"another seed":   validate(text, func(c *scu.Config) { c.Seed++ }),
	} {
		if len(v.Errors) > 0 {
			t.Errorf("%s: %v", name, v.Errors)
		}
	}
	if n := len(p.known.data); n != 4 {
		t.Errorf("%d are known, want 4", n)
	}
	rewrite(t, dir, "tokenizer.json", func(b []byte) []byte { return b[:len(b)/2] })
	aged()
	if v := validate(text, same); len(v.Errors) != 1 || !strings.Contains(v.Errors[0].Message, "tokenizer can't be read") {
		t.Errorf("a model that was damaged since: %v", v.Errors)
	}
}

// What is remembered has a bound.
func TestKnownDataIsBounded(t *testing.T) {
	var k knownData
	for i := range 2 * maxKnown {
		k.put(strings.Repeat("x", i), readData{})
	}
	if len(k.data) != maxKnown || len(k.order) != maxKnown {
		t.Errorf("%d are remembered", len(k.data))
	}
}
