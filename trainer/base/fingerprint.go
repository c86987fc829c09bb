package base

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// sampleBytes is how much of each weight Fingerprint reads.
const sampleBytes = 4096

// Fingerprint names what a run takes from the model: config.json, the tokenizer,
// and of each weight its name, type, shape and first bytes, which tells versions
// and fine-tunes of a model apart without reading all of it. For a model with
// weights.
func (b *Model) Fingerprint() (string, error) {
	h := sha256.New()
	config, err := os.ReadFile(filepath.Join(b.Dir, "config.json"))
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%d %s %s %d %d ", len(config), config, b.TokenizerID, b.EOS, b.BOS)
	for _, name := range b.Files.Names() {
		t, _ := b.Files.Tensor(name)
		fmt.Fprintf(h, "%d %s %s %v ", len(name), name, t.DType, t.Shape)
		h.Write(t.Data[:min(sampleBytes, len(t.Data))])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
