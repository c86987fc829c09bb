package scu

import (
	"context"
	"fmt"
	"io"
	"time"
)

// AdapterKey names a stored zip: by job and attempt, so that a trainer that was given up
// can't overwrite what its successor stored.
type AdapterKey struct {
	Job     string
	Attempt int
	Step    int // of a checkpoint; 0 is the job's adapter
}

// Blob names it among the blobs.
func (k AdapterKey) Blob() BlobKey {
	name := fmt.Sprintf("%s.%d", k.Job, k.Attempt)
	if k.Step > 0 {
		name += fmt.Sprintf(".%d", k.Step)
	}
	return BlobKey{Kind: AdapterBlob, Name: name}
}

// AdapterKey names what the job's attempt stores, or stored, as its adapter.
func (j Job) AdapterKey() AdapterKey { return AdapterKey{Job: j.ID, Attempt: j.Attempt} }

// Adapters stores the zips of trained adapters and of checkpoints.
type Adapters interface {
	// PutAdapter stores a zip and returns its size in bytes and its sha256 in hex.
	// After an error nothing is kept.
	PutAdapter(ctx context.Context, key AdapterKey, zip io.Reader) (size int64, sum string, err error)
	// GetAdapter opens a zip, and gives its size in bytes;
	// CodeNotFound if there is none. The last Read fails if the bytes are not those
	// that were stored. The caller closes it.
	GetAdapter(ctx context.Context, key AdapterKey) (zip io.ReadCloser, size int64, err error)
	// DeleteAdapter removes a zip, if it is there.
	DeleteAdapter(ctx context.Context, key AdapterKey) error
}

// Adapter describes a trained LoRA adapter: a PEFT folder, kept as one zip in
// the object store under the job's id.
type Adapter struct {
	JobID     string        `json:"job_id"`
	BaseModel string        `json:"base_model"`
	Name      string        `json:"name"`   // file name of the zip
	Size      int64         `json:"size"`   // of the zip, bytes
	SHA256    string        `json:"sha256"` // of the zip
	Files     []AdapterFile `json:"files"`
	HubID     string        `json:"hub_model_id,omitempty"`
	HubError  string        `json:"hub_error,omitempty"` // a failed upload doesn't fail the adapter
	Metrics   Summary       `json:"metrics"`
	CreatedAt time.Time     `json:"created_at"`
}

// AdapterFile is one file of the folder.
type AdapterFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Summary is what a finished run amounts to.
type Summary struct {
	Steps         int      `json:"steps"`
	Tokens        int64    `json:"tokens"`
	Loss          float64  `json:"loss"`                      // of the last step, with the regulariser, nats per token
	CE            float64  `json:"ce"`                        // of the last step, without
	ValLossBefore *float64 `json:"val_loss_before,omitempty"` // the untouched base
	ValLossAfter  *float64 `json:"val_loss_after,omitempty"`  // the adapter: the weights of KeptStep
	ValLossLast   *float64 `json:"val_loss_last,omitempty"`   // the weights of the last step
	// The loss on text of another kind (Config.OtherDataPath): of the untouched base, of
	// the adapter, and of the weights of the last step.
	OtherLossBefore *float64 `json:"other_loss_before,omitempty"`
	OtherLossAfter  *float64 `json:"other_loss_after,omitempty"`
	OtherLossLast   *float64 `json:"other_loss_last,omitempty"`
	KeptStep        int      `json:"kept_step"`             // after which step the adapter's weights are; see Config.Keep
	EndedEarly      string   `json:"ended_early,omitempty"` // why, if not all steps were made
	S               float64  `json:"s_ratio"`               // of the last step
	KeptS           float64  `json:"kept_s_ratio"`          // of KeptStep
	TargetS         float64  `json:"target_s"`
	Lambda          float64  `json:"lambda_value"`         // after the last step
	LambdaMin       *float64 `json:"lambda_min,omitempty"` // the bounds, if lambda rests at one of them
	LambdaMax       *float64 `json:"lambda_max,omitempty"`
	Seconds         float64  `json:"training_time_seconds"` // of all attempts, loading and validation included
	TrainableCount  int64    `json:"trainable_parameters"`
	Warnings        []string `json:"warnings,omitempty"` // of how the run ended; Job.Warnings has them too
}
