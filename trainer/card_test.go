package trainer

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// The card names a base that its reader can get: a Hub model with its revision, the
// built-in one with where it lies, a folder by its last name and never by its path.
func TestCardBase(t *testing.T) {
	for _, c := range []struct {
		model, revision         string
		repo, name, args, wants string
	}{
		{"owner/name", "0123abc", "owner/name", "owner/name", `"owner/name", revision="0123abc"`, "https://huggingface.co/owner/name"},
		{"gpt2", "", "gpt2", "gpt2", `"gpt2"`, "https://huggingface.co/gpt2"},
		{"bookworm-2m", "", "", "bookworm-2m", `"models/bookworm-2m"`, "is not on the Hugging Face Hub"},
		{"/srv/secret/llama", "", "", "llama", `"path/to/llama"`, "a local folder, llama"},
	} {
		got := cardBaseOf(scu.Config{BaseModel: c.model, BaseRevision: c.revision})
		if got.repo != c.repo || got.name != c.name || got.args != c.args || !strings.Contains(got.origin, c.wants) {
			t.Errorf("%s: %+v", c.model, got)
		}
		if strings.Contains(got.origin, "secret") {
			t.Errorf("%s: the card tells a path: %s", c.model, got.origin)
		}
	}
}
