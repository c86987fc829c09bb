package api

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// An owner has no more jobs that wait than may, however they come and however many come at
// once; one that began or ended makes room.
func TestQueuedJobsAreBounded(t *testing.T) {
	r := start(t, func(o *Options) { o.Key, o.Limits = "s3cret", scu.Limits{Queued: 20} })
	ctx := t.Context()
	adaKey, _ := r.key("ada", scu.ScopeSubmit, func(k *scu.Key) { k.Limits.Queued = 3 })
	r.key("ada", scu.ScopeRead, func(k *scu.Key) { k.Limits.Queued = 4 }) // of several the greatest counts
	bobKey, _ := r.key("bob", scu.ScopeSubmit)
	ada, bob := r.with(adaKey), r.with(bobKey)
	req := client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"}
	var accepted, refused atomic.Int32
	var ids sync.Map
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			s, err := ada.Submit(ctx, req)
			switch scu.CodeOf(err) {
			case "":
				accepted.Add(1)
				ids.Store(s.JobID, true)
			case scu.CodeTooMany:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if accepted.Load() != 4 || refused.Load() != 8 {
		t.Fatalf("%d accepted, %d refused", accepted.Load(), refused.Load())
	}
	body := `{"base_model": "bookworm-2m", "train_data_path": "train.txt"}`
	for path, body := range map[string]string{
		"/jobs/submit": body, "/jobs/batch": `{"jobs": [` + body + `]}`,
		"/comparisons": `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "settings": [{"config_overrides": {}}]}`,
	} {
		status, _, text := r.ask("POST", path, body, "Authorization", "Bearer "+adaKey)
		if e := r.refused(t, status, text, 429, scu.CodeTooMany, ""); !e.Retry || !strings.Contains(e.Message, "ada") || e.Hint == "" {
			t.Errorf("%s: %+v", path, e)
		}
	}
	file, err := ada.Upload(ctx, "train.jsonl", strings.NewReader(`{"text": "x"}`), -1, nil)
	must(t, err)
	if status, _, text := r.ask("POST", "/v1/fine_tuning/jobs", `{"model": "bookworm-2m", "training_file": "file-`+file.ID+`"}`, "Authorization", "Bearer "+adaKey); status != 429 || !strings.Contains(text, "rate_limit_exceeded") {
		t.Errorf("/v1: %d %s", status, text)
	}
	var first string
	ids.Range(func(id, _ any) bool { first = id.(string); return false })
	_, err = ada.Cancel(ctx, first)
	must(t, err)
	r.until("there is room again", func() bool { _, err := ada.Submit(ctx, req); return err == nil })
	if _, err := ada.Retry(ctx, first, true); scu.CodeOf(err) != scu.CodeTooMany {
		t.Errorf("a retry too many: %v", err)
	}
	// The administrator's hand isn't bound, nor what has no owner.
	_, err = r.sdk.Retry(ctx, first, true)
	must(t, err)
	for range 30 {
		_, err := r.sdk.Submit(ctx, req)
		must(t, err)
	}
	// Others have the server's limit, and their own account; a batch counts whole.
	batch := client.BatchRequest{}
	for range 20 {
		batch.Jobs = append(batch.Jobs, req)
	}
	_, err = bob.SubmitBatch(ctx, batch)
	must(t, err)
	if _, err := bob.Submit(ctx, req); scu.CodeOf(err) != scu.CodeTooMany {
		t.Errorf("bob's 21st: %v", err)
	}
}

// lateAnswer is a broker that answers its first submission once it is let, and has its job in the
// log meanwhile.
type lateAnswer struct {
	Broker
	first       sync.Once
	stored, let chan struct{}
}

func (b *lateAnswer) Submit(ctx context.Context, e scu.Event) (uint64, error) {
	seq, err := b.Broker.Submit(ctx, e)
	b.first.Do(func() { close(b.stored); <-b.let })
	return seq, err
}

// A job that the read model has before its request is answered takes one place, not two.
func TestAJobCountsOnce(t *testing.T) {
	late := &lateAnswer{stored: make(chan struct{}), let: make(chan struct{})}
	r := start(t, func(o *Options) { late.Broker = o.Broker; o.Broker, o.Key = late, "s3cret" })
	key, _ := r.key("ada", scu.ScopeSubmit, func(k *scu.Key) { k.Limits.Queued = 2 })
	ada := r.with(key)
	answers := make(chan error, 2)
	submit := func() {
		_, err := ada.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"})
		answers <- err
	}
	go submit()
	<-late.stored
	r.until("the read model has the job", func() bool { n, _, err := r.server.o.Store.WaitingOf(t.Context(), "ada"); return err == nil && n == 1 })
	go submit()
	in := r.server.quotas.of("ada")
	r.until("the second waits, or is answered", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.noted != nil || len(answers) > 0
	})
	close(late.let)
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if submit(); scu.CodeOf(<-answers) != scu.CodeTooMany {
		t.Error("a third is taken in")
	}
}

// Of many that are retried those beyond the limit are refused, and those before it told of.
func TestRetriesAreBounded(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	key, _ := r.key("ada", scu.ScopeSubmit, func(k *scu.Key) { k.Limits.Queued = 3 })
	ada := r.with(key)
	var dead []string
	for range 5 {
		s, err := ada.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"})
		must(t, err)
		_, err = ada.Cancel(t.Context(), s.JobID)
		must(t, err)
		r.until("it doesn't wait any more", func() bool { n, _, err := r.server.o.Store.WaitingOf(t.Context(), "ada"); return err == nil && n == 0 })
		dead = append(dead, s.JobID)
	}
	got, err := ada.RetryAll(t.Context(), client.RetryRequest{JobIDs: dead})
	must(t, err)
	if !slices.Equal(got.Retried, dead[:3]) || len(got.Refused) != 2 {
		t.Fatalf("%+v", got)
	}
	for i, x := range got.Refused {
		if x.JobID != dead[3+i] || x.Error.Code != scu.CodeTooMany {
			t.Errorf("%+v", x)
		}
	}
	if _, err := ada.RetryAll(t.Context(), client.RetryRequest{JobIDs: dead[3:]}); scu.CodeOf(err) != scu.CodeTooMany {
		t.Errorf("with none queued again: %v", err)
	}
}

// What is refused leaves no trace in the account: wrong jobs don't use up the room.
func TestRefusedJobsDontCount(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	key, _ := r.key("ada", scu.ScopeSubmit, func(k *scu.Key) { k.Limits.Queued = 2 })
	ada := r.with(key)
	for range 5 {
		if _, err := ada.Submit(t.Context(), client.SubmitRequest{BaseModel: "no/such-model", TrainDataPath: "train.txt"}); scu.CodeOf(err) != scu.CodeInvalid {
			t.Fatal(err)
		}
	}
	req := client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", IdempotencyKey: "once"}
	for range 5 { // the same one again is no other
		_, err := ada.Submit(t.Context(), req)
		must(t, err)
	}
	req.IdempotencyKey = ""
	_, err := ada.Submit(t.Context(), req)
	must(t, err)
}

// An owner's files have no more bytes than may be, whichever way they come; the same bytes
// count once.
func TestBytesAreBounded(t *testing.T) {
	r := start(t, func(o *Options) { o.Key, o.Limits = "s3cret", scu.Limits{Bytes: 5000} })
	ctx := t.Context()
	key, _ := r.key("ada", scu.ScopeSubmit)
	ada := r.with(key)
	upload := func(n int, c *client.Client) (scu.File, error) {
		return c.Upload(ctx, "x.txt", strings.NewReader(strings.Repeat("x", n)), int64(n), nil)
	}
	small, err := upload(3000, ada)
	must(t, err)
	_, err = upload(3000, ada)
	must(t, err)
	if _, err := upload(2500, ada); scu.CodeOf(err) != scu.CodeTooLarge || !strings.Contains(err.Error(), "the 5000 allowed") {
		t.Errorf("too many bytes: %v", err)
	}
	req := client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"}
	_, err = ada.Submit(ctx, req) // 1700 bytes
	must(t, err)
	writeFile(t, r.data, "other.txt", strings.Repeat("y", 1000))
	req.TrainDataPath = "other.txt"
	if _, err := ada.Submit(ctx, req); scu.CodeOf(err) != scu.CodeTooLarge {
		t.Errorf("a submission's data: %v", err)
	}
	if l, err := ada.Files(ctx, "", 0); err != nil || l.Count != 2 {
		t.Errorf("%+v, %v", l, err)
	}
	_, err = ada.DeleteFile(ctx, small.ID)
	must(t, err)
	_, err = ada.Submit(ctx, req)
	must(t, err)
	// What is lost is no longer the owner's, and makes room.
	for _, path := range r.stored() {
		must(t, os.Remove(path))
	}
	_, err = upload(4900, ada)
	must(t, err)
	if l, err := ada.Files(ctx, "", 0); err != nil || l.Count != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	_, err = upload(10_000, r.sdk) // the administrator's
	must(t, err)
	if status, _, body := r.ask("POST", "/files", fmt.Sprintf("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n%s\r\n--b--", strings.Repeat("x", 75_000)),
		"Authorization", "Bearer "+key, "Content-Type", "multipart/form-data; boundary=b"); status != 413 || !strings.Contains(body, "may keep in all") {
		t.Errorf("one that is larger than all may be: %d %s", status, body)
	}
}

// An owner has no more files than may be, whichever way they come and however many come at
// once; the same bytes are one file, and what is deleted or lost makes room.
func TestFilesAreBounded(t *testing.T) {
	r := start(t, func(o *Options) { o.Key, o.Limits = "s3cret", scu.Limits{Files: 2} })
	ctx := t.Context()
	key, _ := r.key("ada", scu.ScopeSubmit, func(k *scu.Key) { k.Limits.Files = 30 })
	bobKey, _ := r.key("bob", scu.ScopeSubmit)
	ada, bob := r.with(key), r.with(bobKey)
	upload := func(c *client.Client, name, text string) (scu.File, error) {
		return c.Upload(ctx, name, strings.NewReader(text), int64(len(text)), nil)
	}
	var kept, refused atomic.Int32
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			switch _, err := upload(ada, "x.txt", fmt.Sprint("ada's file ", i)); scu.CodeOf(err) {
			case "":
				kept.Add(1)
			case scu.CodeTooMany:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if kept.Load() != 30 || refused.Load() != 10 {
		t.Fatalf("%d kept, %d refused", kept.Load(), refused.Load())
	}
	body := `{"base_model": "bookworm-2m", "train_data_path": "train.txt"}`
	status, _, text := r.ask("POST", "/jobs/submit", body, "Authorization", "Bearer "+key)
	if e := r.refused(t, status, text, 429, scu.CodeTooMany, ""); e.Message != "ada has 30 files, and may have 30" || e.Hint == "" {
		t.Errorf("a submission's data: %+v", e)
	}
	l, err := ada.Files(ctx, "", 0)
	must(t, err)
	if l.Count != 30 {
		t.Fatalf("%d files", l.Count)
	}
	_, err = ada.DeleteFile(ctx, l.Files[0].ID)
	must(t, err)
	again, err := upload(ada, "x.txt", "in the place of one that was deleted")
	must(t, err)
	_, err = upload(ada, "y.txt", "in the place of one that was deleted")
	must(t, err)
	if _, err := upload(ada, "x.txt", "one more"); scu.CodeOf(err) != scu.CodeTooMany {
		t.Errorf("one too many: %v", err)
	}
	// What others have is none of it; who has no limit of a key has the server's.
	for i := range 3 {
		_, err := upload(bob, "x.txt", fmt.Sprint("bob's file ", i))
		if want := map[bool]scu.Code{true: scu.CodeTooMany}[i == 2]; scu.CodeOf(err) != want {
			t.Errorf("bob's file %d: %v", i, err)
		}
	}
	for _, path := range r.stored() {
		if strings.Contains(path, again.ID) {
			must(t, os.Remove(path))
		}
	}
	_, err = upload(ada, "x.txt", "in the place of one that was lost")
	must(t, err)
	for i := range 3 {
		_, err := upload(r.sdk, "x.txt", fmt.Sprint("the administrator's ", i))
		must(t, err)
	}
}

// How many jobs of an owner may run is told to those who hand them out.
func TestRunningLimitsAreTold(t *testing.T) {
	r := start(t, func(o *Options) { o.Key, o.Limits = "s3cret", scu.Limits{Running: 5} })
	told := func(owner string, most int) func() bool {
		return func() bool {
			h, err := r.broker.Halted(t.Context())
			must(t, err)
			return h.MaxRunning(owner) == most
		}
	}
	r.until("the server's limit is told", told("ada", 5))
	_, id := r.key("ada", scu.ScopeSubmit, func(k *scu.Key) { k.Limits.Running = 2 })
	r.until("ada's is told", told("ada", 2))
	r.until("others' stays", told("bob", 5))
	_, err := r.sdk.RevokeKey(t.Context(), id)
	must(t, err)
	r.until("it is the server's again", told("ada", 5))
}
