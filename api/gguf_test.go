package api

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// A job's adapter comes as GGUF with the file's own sha256; what can't be written is refused in
// words, and nothing is left behind.
func TestAdapterGGUF(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	refusal := scu.Errorf(scu.CodeUnsupported, "llama.cpp doesn't compute the family falcon").At("base_model")
	var fail bool
	r := start(t, func(o *Options) {
		o.AdapterGGUF = func(_ context.Context, model string, key scu.AdapterKey, as, out string) error {
			if fail {
				return refusal
			}
			return os.WriteFile(out, []byte(model+" "+key.Job+" "+as), 0o600)
		}
	})
	id := r.submit(nil)
	if status, _, body := r.ask("GET", "/jobs/"+id+"/adapter.gguf", ""); status != http.StatusNotFound {
		t.Errorf("before the end: %d %s", status, body)
	}
	r.complete(r.begin(id, 1), []byte("zip"))
	path, err := r.sdk.DownloadGGUF(t.Context(), id, "q8_0", t.TempDir(), nil)
	must(t, err)
	if b, err := os.ReadFile(path); err != nil || string(b) != "bookworm-2m "+id+" q8_0" {
		t.Errorf("%s, %v", b, err)
	}
	if _, head, body := r.ask("GET", "/jobs/"+id+"/adapter.gguf", ""); body != "bookworm-2m "+id+" f32" ||
		head.Get("Content-Disposition") != `attachment; filename="`+id+`_adapter.gguf"` {
		t.Errorf("%v %s", head, body)
	}
	if _, err := r.sdk.DownloadGGUF(t.Context(), id, "q2", t.TempDir(), nil); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("of another type: %v", err)
	}
	fail = true
	if _, err := r.sdk.DownloadGGUF(t.Context(), id, "f32", t.TempDir(), nil); scu.CodeOf(err) != scu.CodeUnsupported || scu.AsError(err).Message != refusal.Message {
		t.Errorf("of another family: %v", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// One is written at a time, few wait, and the next is told to come again.
func TestAdapterGGUFIsBounded(t *testing.T) {
	let := make(chan struct{})
	writing := make(chan struct{}, mostGGUF)
	r := start(t, func(o *Options) {
		o.AdapterGGUF = func(_ context.Context, _ string, _ scu.AdapterKey, _, out string) error {
			writing <- struct{}{}
			<-let
			return os.WriteFile(out, []byte("gguf"), 0o600)
		}
	})
	id := r.submit(nil)
	r.complete(r.begin(id, 1), []byte("zip"))
	var all sync.WaitGroup
	r.server.ggufs.open.Store(mostGGUF) // as if they were on their way
	if _, err := r.sdk.DownloadGGUF(t.Context(), id, "f32", t.TempDir(), nil); scu.CodeOf(err) != scu.CodeUnavailable {
		t.Errorf("beyond the limit: %v", err)
	}
	r.server.ggufs.open.Store(0)
	for range 3 {
		all.Go(func() {
			if _, err := r.sdk.DownloadGGUF(t.Context(), id, "f32", t.TempDir(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		<-writing
		if n := len(writing); n > 0 {
			t.Errorf("%d more are written beside", n)
		}
		let <- struct{}{}
	}
	all.Wait()
}

// An owner's downloads, however slowly they are read, leave some for others.
func TestAdapterGGUFOfAnOwner(t *testing.T) {
	let := make(chan struct{})
	writing := make(chan struct{})
	r := start(t, func(o *Options) {
		o.Key = "s3cret"
		o.AdapterGGUF = func(_ context.Context, _ string, _ scu.AdapterKey, _, out string) error {
			writing <- struct{}{}
			<-let
			return os.WriteFile(out, []byte("gguf"), 0o600)
		}
	})
	ask := func(key, id string) (int, string) {
		status, _, body := r.ask("GET", "/jobs/"+id+"/adapter.gguf", "", "Authorization", "Bearer "+key)
		return status, body
	}
	jobOf := func(owner string) (key, id string) {
		key, _ = r.key(owner, scu.ScopeSubmit)
		job, err := r.with(key).Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"})
		must(t, err)
		r.complete(r.begin(job.JobID, 1), []byte("zip"))
		return key, job.JobID
	}
	ada, hers := jobOf("ada")
	bob, his := jobOf("bob")
	var all sync.WaitGroup
	for range mostGGUF / 2 {
		all.Go(func() {
			if status, body := ask(ada, hers); status != 200 {
				t.Errorf("ada: %d %s", status, body)
			}
		})
	}
	<-writing // of the others it isn't known whether they are counted yet
	r.until("all of hers are counted", func() bool { return r.server.ggufs.open.Load() == mostGGUF/2 })
	status, body := ask(ada, hers)
	r.refused(t, status, body, 429, scu.CodeTooMany, "")
	all.Go(func() {
		if status, body := ask(bob, his); status != 200 {
			t.Errorf("bob: %d %s", status, body)
		}
	})
	for range mostGGUF / 2 {
		let <- struct{}{}
		<-writing
	}
	let <- struct{}{}
	all.Wait()
}
