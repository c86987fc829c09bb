package base

import (
	"os"
	"testing"

	"github.com/shannon-control/scu/models"
)

// Another version of a model in the same place is another model, wherever one of
// its weights begins to differ.
func TestFingerprint(t *testing.T) {
	seen := map[string]string{}
	for _, change := range []string{"", "config.json", "tokenizer.json", "model.safetensors"} {
		dir, err := models.Extract(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if change != "" {
			b, err := os.ReadFile(dir + "/" + change)
			if err != nil {
				t.Fatal(err)
			}
			if change == "model.safetensors" {
				b[len(b)-1] ^= 1 // the last tensor is a norm's, and short
			} else {
				b = append(b, '\n')
			}
			if err := os.WriteFile(dir+"/"+change, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		id, err := m.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("a change of %q has the fingerprint of %q", change, other)
		}
		seen[id] = change
	}
}
