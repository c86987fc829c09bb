package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// A file of a Hub data set is stored as any other data, and the job says at which
// commit it was.
func TestHubData(t *testing.T) {
	const pinned = "hf://datasets/owner/name@c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0/data/train.jsonl"
	local := filepath.Join(t.TempDir(), "blob")
	must(t, os.WriteFile(local, []byte(`{"text":"one two three"}`+"\n"), 0o600))
	r := start(t, func(o *Options) {
		o.HubData = func(_ context.Context, address string, limit int64) (string, string, error) {
			if address != "hf://datasets/owner/name/data/train.jsonl" || limit != o.MaxFileBytes {
				return "", "", scu.Errorf(scu.CodeInvalid, "data set: no %s", address)
			}
			return local, pinned, nil
		}
	})
	id := r.submit(func(s *client.SubmitRequest) { s.TrainDataPath = "hf://datasets/owner/name/data/train.jsonl" })
	j, _, err := r.broker.Job(t.Context(), id)
	must(t, err)
	if j.Config.TrainDataPath != pinned || j.TrainData.Name != "train.jsonl" {
		t.Errorf("the job is on %q, named %q", j.Config.TrainDataPath, j.TrainData.Name)
	}
	status, _, body := r.ask("POST", "/jobs/submit", `{"base_model":"bookworm-2m","train_data_path":"hf://datasets/owner/other/x"}`)
	r.refused(t, status, body, 422, scu.CodeInvalid, "train_data_path")
}

// An adapter of the Hub is stored as the zip that it is made into, and the job says of
// which commit it was.
func TestHubAdapter(t *testing.T) {
	r := start(t, func(o *Options) {
		o.HubAdapter = func(_ context.Context, name string, limit int64, w io.Writer) (string, error) {
			if name != "owner/adapter" || limit != o.MaxFileBytes {
				return "", scu.Errorf(scu.CodeInvalid, "adapter: no %s", name)
			}
			_, err := io.WriteString(w, "a zip")
			return "owner/adapter@c0c0", err
		}
	})
	id := r.submit(func(s *client.SubmitRequest) { s.FromAdapter = "owner/adapter" })
	j, _, err := r.broker.Job(t.Context(), id)
	must(t, err)
	sum := sha256.Sum256([]byte("a zip"))
	if stored := strings.Join(r.stored(), " "); j.Config.FromAdapter != "owner/adapter@c0c0" || j.Config.FromAdapterFile != hex.EncodeToString(sum[:]) || !strings.Contains(stored, j.Config.FromAdapterFile) {
		t.Errorf("the job begins from %q, %s; stored are %s", j.Config.FromAdapter, j.Config.FromAdapterFile, stored)
	}
	for _, named := range []string{"owner/other", "a/b/c", "nothing", "0123456789abcdef", "0123456789abcdef@last", strings.Repeat("0", 64)} {
		status, _, body := r.ask("POST", "/jobs/submit", `{"base_model":"bookworm-2m","train_data_path":"`+j.TrainData.ID+`","from_adapter":"`+named+`"}`)
		r.refused(t, status, body, 422, scu.CodeInvalid, "from_adapter")
	}
}
