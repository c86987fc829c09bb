package hub

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestDatasetFile(t *testing.T) {
	ctx := t.Context()
	const rows = `{"text":"one"}` + "\n"
	h := newFakeHub(t, map[string][]byte{"data/train.jsonl": []byte(rows)})
	c, _ := h.client()
	path, commit, err := c.DatasetFile(ctx, "owner/model", "", "data/train.jsonl", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != rows || commit != h.commit {
		t.Errorf("%q at %s, error %v", b, commit, err)
	}
	if !strings.Contains(path, "datasets--owner--model") {
		t.Errorf("it lies in %s", path)
	}
	for _, r := range h.requests() {
		if !strings.Contains(r, "/datasets/owner/model/resolve/") && !strings.Contains(r, "/api/resolve-cache/") {
			t.Errorf("request %s", r)
		}
	}
	// Its commit needs no network, and a branch's last one serves when there is none.
	if again, _, err := c.DatasetFile(ctx, "owner/model", commit, "data/train.jsonl", 1<<20); err != nil || again != path || len(h.requests()) != 0 {
		t.Errorf("again %s, error %v", again, err)
	}
	c.Offline = true
	if again, at, err := c.DatasetFile(ctx, "owner/model", "main", "data/train.jsonl", 1<<20); err != nil || again != path || at != commit {
		t.Errorf("offline %s at %s, error %v", again, at, err)
	}
	if _, _, err := c.DatasetFile(ctx, "owner/model", "main", "data/other.jsonl", 1<<20); !errors.Is(err, ErrOffline) {
		t.Errorf("offline, what isn't cached: %v", err)
	}
	c.Offline = false

	for file, want := range map[string]error{"none.jsonl": ErrEntryNotFound, "../x": ErrBadName} {
		if _, _, err := c.DatasetFile(ctx, "owner/model", "", file, 1<<20); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", file, err, want)
		}
	}
	if _, _, err := c.DatasetFile(ctx, "owner/model", "v9", "data/train.jsonl", 1<<20); !errors.Is(err, ErrRevisionNotFound) {
		t.Errorf("a revision that isn't there: %v", err)
	}
	c.CacheDir = t.TempDir()
	if _, _, err := c.DatasetFile(ctx, "owner/model", "", "data/train.jsonl", 3); err == nil || !strings.Contains(err.Error(), "more than the 3 allowed") {
		t.Errorf("a large file: %v", err)
	}
}

// A model's repository, as adapters have, gives single files likewise.
func TestModelFile(t *testing.T) {
	h := newFakeHub(t, map[string][]byte{"adapter_config.json": []byte("{}")})
	c, _ := h.client()
	path, commit, err := c.ModelFile(t.Context(), "owner/model", "", "adapter_config.json", 1<<20)
	if err != nil || commit != h.commit || !strings.Contains(path, "models--owner--model") {
		t.Fatalf("%s at %s, error %v", path, commit, err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "{}" {
		t.Errorf("%q, error %v", b, err)
	}
	if _, _, err := c.ModelFile(t.Context(), "owner/model", "", "none", 1<<20); !errors.Is(err, ErrEntryNotFound) {
		t.Error(err)
	}
}
