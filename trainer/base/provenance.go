package base

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// TrainingFile is the file of an adapter's folder that tells how it was trained; see
// Training. Adapters of other programs have none.
const TrainingFile = "training_config.json"

// Training is what TrainingFile holds: the job's configuration, and what tells
// whether a model is the one that the adapter was trained on.
type Training struct {
	scu.Config
	BaseFingerprint string       `json:"base_fingerprint"`   // see WeightsID
	TrainData       DataFile     `json:"train_data"`         // the first source, if there are several
	Sources         []DataSource `json:"sources,omitempty"`  // all of them, if there are several
	ValData         *DataFile    `json:"val_data,omitempty"` // nil if a share of TrainData was held out
}

// DataFile names a file of data as its user did, and by its content.
type DataFile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // hex
	Size   int64  `json:"size"`
}

// DataSource is one of several sources: its file, and what an epoch has of it.
type DataSource struct {
	scu.SourceReport
	SHA256 string `json:"sha256"` // hex
	Size   int64  `json:"size"`
}

// WeightsID names a model's weights: by each one's name, type, shape and first bytes,
// which tells versions and fine-tunes apart without reading all of it.
func WeightsID(files *safetensors.Model) string {
	h := sha256.New()
	for _, name := range files.Names() {
		t, _ := files.Tensor(name)
		fmt.Fprintf(h, "%d %s %s %v ", len(name), name, t.DType, t.Shape)
		h.Write(t.Data[:min(sampleBytes, len(t.Data))])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// HasWeights reports whether the weights themselves are there, not their outline alone.
func (b *Model) HasWeights() bool {
	for _, name := range b.Weights.Names() {
		if t, _ := b.Weights.Tensor(name); len(t.Data) > 0 {
			return true
		}
	}
	return false
}

// SameBase refuses an adapter's folder that says it was trained on other weights than
// these. One that doesn't say is taken.
func SameBase(adapter string, files *safetensors.Model) error {
	var t Training
	b, err := os.ReadFile(filepath.Join(adapter, TrainingFile))
	if err != nil || json.Unmarshal(b, &t) != nil || t.BaseFingerprint == "" {
		return nil // somebody else's, or of a time before fingerprints
	}
	if id := WeightsID(files); id != t.BaseFingerprint {
		return scu.Errorf(scu.CodeInvalid, "it was trained on another base, of fingerprint %.12s; this one has %.12s", t.BaseFingerprint, id).
			At("adapter").WithHint("give the base that it was trained on: %s", t.BaseModel)
	}
	return nil
}
