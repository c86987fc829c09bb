package base

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/hub"
)

// A misspelt model leads to the one here that was meant, not to the network.
func TestNear(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"llama-3-tiny", "no-model"} {
		check(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	check(t, os.WriteFile(filepath.Join(dir, "llama-3-tiny", "config.json"), []byte("{}"), 0o600))
	b := &Finder{Folders: []string{dir, filepath.Join(dir, "gone")}}
	for name, want := range map[string]string{
		"bookworm2m": "bookworm-2m", "Bookworm-2m": "bookworm-2m", "someone/bookworm-2m@main": "bookworm-2m",
		"llama-3-tyny": "llama-3-tiny", "no-modal": "", "gpt2": "", "x": "",
	} {
		if got := b.near(name); got != want {
			t.Errorf("near %s is %q, want %q", name, got, want)
		}
	}
	err := scu.AsError(b.hubError("bookworm2m", fmt.Errorf("%w: dial tcp", hub.ErrUnreachable)))
	if err.Message != `no model "bookworm2m" here, and the Hugging Face Hub can't be asked for it` || err.Hint != `did you mean "bookworm-2m"?` || err.Code != scu.CodeUnavailable {
		t.Errorf("%+v", err)
	}
}
