package base

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/hub"
	"github.com/shannon-control/scu/trainer/lora"
)

// An adapter of the Hub becomes a zip of PEFT's files, of one commit, which it names.
func TestAdapterZip(t *testing.T) {
	commit := strings.Repeat("c0", 20)
	cache := t.TempDir()
	dir := filepath.Join(cache, "models--owner--adapter", "snapshots", commit)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{lora.ConfigFile, lora.WeightsFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &Finder{Hub: &hub.Client{CacheDir: cache, Offline: true}}
	var b bytes.Buffer
	pinned, err := f.AdapterZip(t.Context(), "owner/adapter@"+commit, 1<<20, &b)
	if err != nil || pinned != "owner/adapter@"+commit {
		t.Fatalf("%q, %v", pinned, err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(z.File) != 2 {
		t.Fatalf("%v, %v", z, err)
	}
	for _, name := range []string{lora.ConfigFile, lora.WeightsFile} {
		r, err := z.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != name {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if _, err := f.AdapterZip(t.Context(), "owner/other", 1<<20, io.Discard); scu.CodeOf(err) != scu.CodeUnavailable || scu.AsError(err).Field != "from_adapter" {
		t.Errorf("what isn't there: %v", err)
	}
}
