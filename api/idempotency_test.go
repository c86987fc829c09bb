package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// A submission under a key is one job however often it is sent, to whichever API, and
// answered with the same words; another one under it is a conflict.
func TestIdempotencyKey(t *testing.T) {
	r := start(t, nil)
	other, err := New(r.server.o) // another API of the same service
	must(t, err)
	body := `{"base_model":"` + models.BuiltIn + `","train_data_path":"train.txt","name":"one"}`
	spaced := strings.ReplaceAll(body, ",", " ,\n")
	send := func(key, body string) (int, string) {
		t.Helper()
		status, _, answer := r.ask(http.MethodPost, "/jobs/submit", body, "Idempotency-Key", key)
		return status, answer
	}
	status, first := send("k", body)
	if status != 200 {
		t.Fatalf("%d %s", status, first)
	}
	before := r.server
	for _, s := range []*Server{before, other} {
		r.server.handler = s.handler
		for _, b := range []string{body, spaced} {
			if status, again := send("k", b); status != 200 || again != first {
				t.Errorf("again: %d %s, want %s", status, again, first)
			}
		}
	}
	status, answer := send("k", strings.Replace(body, "one", "two", 1))
	r.refused(t, status, answer, http.StatusConflict, scu.CodeConflict, "Idempotency-Key")
	for _, key := range []string{strings.Repeat("k", 256), "k\u00fc"} {
		status, answer := send(key, body)
		r.refused(t, status, answer, http.StatusUnprocessableEntity, scu.CodeInvalid, "Idempotency-Key")
	}
	// What is refused binds no key.
	if status, _ = send("later", strings.Replace(body, "train.txt", "missing.txt", 1)); status != http.StatusUnprocessableEntity {
		t.Errorf("data that isn't there: %d", status)
	}
	if status, answer = send("later", body); status != 200 || answer == first {
		t.Errorf("the same key for what was refused before: %d %s", status, answer)
	}
	if n := r.jobs(); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
	// A key that was bound by an API that died before it submitted.
	id := scu.NewJobID()
	k, _, err := r.server.keyed(t.Context(), "bound", &client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", Name: "one"})
	must(t, err)
	_, err = r.broker.Reserve(t.Context(), "bound", scu.KeyedSubmission{JobID: id, Request: k.request})
	must(t, err)
	if status, answer = send("bound", body); status != 200 || !strings.Contains(answer, id) {
		t.Errorf("a key that was bound before: %d %s, want job %s", status, answer, id)
	}
}

// Of rivals under one key one makes the job, and all are answered with it.
func TestIdempotencyKeyRivals(t *testing.T) {
	r := start(t, nil)
	answers := make([]string, 12)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			out, err := r.sdk.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", IdempotencyKey: "rivals"})
			answers[i] = fmt.Sprint(out, err)
		})
	}
	all.Wait()
	slices.Sort(answers)
	if distinct := slices.Compact(answers); len(distinct) != 1 {
		t.Errorf("answers differ: %q", distinct)
	}
	if n := r.jobs(); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
}
