package api

import (
	"errors"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// A batch is taken in whole, in its order, once for a key; with one bad job none is, and
// the error tells which.
func TestBatch(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	batch := client.BatchRequest{IdempotencyKey: "b1"}
	for i := range 20 {
		batch.Jobs = append(batch.Jobs, client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", Priority: i % 3, Name: string(rune('a' + i))})
	}
	first, err := r.sdk.SubmitBatch(ctx, batch)
	must(t, err)
	again, err := r.sdk.SubmitBatch(ctx, batch)
	must(t, err)
	if first.Count != 20 || len(first.Jobs) != 20 || r.jobs() != 20 {
		t.Fatalf("%d answers, %d jobs", len(first.Jobs), r.jobs())
	}
	for i, j := range first.Jobs {
		got, err := r.sdk.Job(ctx, j.JobID)
		must(t, err)
		if got.Name != batch.Jobs[i].Name || got.Priority != i%3 || again.Jobs[i].JobID != j.JobID {
			t.Errorf("job %d is %+v", i, got)
		}
	}
	batch.Jobs[3].BaseModel, batch.Jobs[5].ConfigOverrides = "no such model", map[string]any{"batch_size": -1}
	if _, err := r.sdk.SubmitBatch(ctx, batch); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("another batch under the same key: %v", err)
	}
	batch.IdempotencyKey = ""
	_, err = r.sdk.SubmitBatch(ctx, batch)
	var all scu.Errors
	if !errors.As(err, &all) || len(all) != 2 || all[0].Field != "jobs[3].base_model" || all[1].Field != "jobs[5].config_overrides.batch_size" && all[1].Field != "jobs[5].batch_size" || r.jobs() != 20 {
		t.Errorf("%v; %d jobs", err, r.jobs())
	}
}
