package base

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// sampleBytes is how much of each weight WeightsID reads.
const sampleBytes = 4096

// Fingerprint names what a run takes from the model: config.json, the tokenizer
// and the weights (see WeightsID). For a model with weights.
func (b *Model) Fingerprint() (string, error) {
	h := sha256.New()
	config, err := os.ReadFile(filepath.Join(b.Dir, "config.json"))
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%d %s %s %d %d ", len(config), config, b.TokenizerID, b.EOS, b.BOS)
	fmt.Fprint(h, WeightsID(b.Weights))
	return hex.EncodeToString(h.Sum(nil)), nil
}
