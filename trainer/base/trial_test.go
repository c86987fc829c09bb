package base

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/data"
)

// A model of others' is tried before this process reads it, and so is data with it; the
// built-in one isn't. What was refused is never read.
func TestModelsAreTried(t *testing.T) {
	dir, err := models.Extract(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "data.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("The lamp had gone out. ", 50)), 0o600); err != nil {
		t.Fatal(err)
	}
	var tried []Trial
	refuse := errors.New("it never ends")
	f := &Finder{Dir: t.TempDir(), Try: func(_ context.Context, x Trial) error {
		tried = append(tried, x)
		if x.Data != nil {
			return refuse
		}
		return nil
	}}
	cfg := scu.DefaultConfig()
	cfg.BlockSize = 64
	for name, want := range map[string]int{models.BuiltIn: 0, dir: 2} {
		tried = nil
		m, err := f.Outline(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = m.OpenData(t.Context(), text, "data.txt", &cfg, data.Cache{}, "")
		if len(tried) != want || want > 0 != errors.Is(err, refuse) {
			t.Errorf("%s: tried %d times, then %v", name, len(tried), err)
		}
		m.Close()
	}
	f.Try = func(context.Context, Trial) error { return refuse }
	for name, open := range map[string]func() (*Model, error){
		"described": func() (*Model, error) { return f.Describe(t.Context(), dir) },
		"opened":    func() (*Model, error) { return f.Open(t.Context(), dir) },
	} {
		if _, err := open(); !errors.Is(err, refuse) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A link in a model's folder may not show what lies elsewhere; within it, and in the
// Hub's cache, links are as good as files.
func TestLinksStayInTheFolder(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(secret, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(t.TempDir(), "models--owner--name")
	for name, c := range map[string]struct {
		dir, to string
		ok      bool
	}{
		"elsewhere":         {t.TempDir(), secret, false},
		"up":                {t.TempDir(), "../other", false},
		"within":            {t.TempDir(), "file", true},
		"nowhere":           {t.TempDir(), "missing", true},
		"the Hub's cache":   {filepath.Join(cache, "snapshots", "c0"), "../../blobs/file", true},
		"out of that cache": {filepath.Join(cache, "snapshots", "c1"), secret, false},
	} {
		if err := os.MkdirAll(c.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{filepath.Join(c.dir, "file"), filepath.Join(c.dir, "../other"), filepath.Join(c.dir, "../../blobs/file")} {
			if name != "the Hub's cache" && strings.Contains(path, "blobs") {
				continue
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(c.to, filepath.Join(c.dir, "special_tokens_map.json")); err != nil {
			t.Fatal(err)
		}
		f := &Finder{Contained: true}
		_, err := f.Locate(t.Context(), c.dir)
		if c.ok && err != nil || !c.ok && (scu.CodeOf(err) != scu.CodeForbidden || scu.AsError(err).Field != "base_model" || !strings.Contains(err.Error(), "special_tokens_map.json")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
