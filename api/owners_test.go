package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// owned is a service with two owners, of which one has everything that there can be.
type owned struct {
	*rig
	ada, bob, admin *client.Client
	bobKey          string

	queued, running, done scu.Job
	file                  scu.File
	comparison, hook      string
}

func withOwners(t *testing.T) *owned {
	r := start(t, func(o *Options) {
		o.Key, o.WebhookKey = "s3cret", []byte("0123456789abcdef0123456789abcdef")
		o.Generate = func(context.Context, scu.Generation, func(scu.Piece) error) (scu.Generated, error) {
			return scu.Generated{}, nil
		}
	})
	o := &owned{rig: r, admin: r.sdk}
	ada, _ := r.key("ada", scu.ScopeSubmit)
	o.bobKey, _ = r.key("bob", scu.ScopeSubmit)
	o.ada, o.bob = r.with(ada), r.with(o.bobKey)
	ctx := t.Context()
	var err error
	o.file, err = o.ada.Upload(ctx, "secret.txt", strings.NewReader(strings.Repeat("Nobody else knows this. ", 100)), -1, nil)
	must(t, err)
	submit := func(data string) scu.Job {
		t.Helper()
		s, err := o.ada.Submit(ctx, client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: data, Name: "ada's"})
		must(t, err)
		j, _, err := r.broker.Job(ctx, s.JobID)
		must(t, err)
		return j
	}
	o.queued = submit(o.file.ID)
	o.running = r.begin(submit("train.txt").ID, 3)
	r.step(o.running, 0)
	o.done = r.begin(submit("train.txt").ID, 3)
	size, sum, err := r.broker.PutAdapter(ctx, scu.AdapterKey{Job: o.done.ID, Attempt: 1, Step: 1}, strings.NewReader("zip"))
	must(t, err)
	r.transit(o.done.ID, func(j scu.Job) (scu.Event, error) {
		return j.Store(1, scu.Checkpoint{Step: 1, Attempt: 1, Size: size, SHA256: sum, CreatedAt: time.Now()}, 3, time.Now())
	})
	r.step(o.done, 0)
	o.done = r.complete(o.done, []byte("zip"))
	c, err := o.ada.Compare(ctx, compared())
	must(t, err)
	o.comparison = c.ID
	w, err := o.ada.AddWebhook(ctx, client.WebhookRequest{URL: "https://hook.invalid/ada"})
	must(t, err)
	o.hook = w.ID
	return o
}

// anyID finds ids of jobs and files.
var anyID = regexp.MustCompile(`[0-9a-f]{64}|[0-9a-f]{16}`)

// By another owner's ids nothing is found on any route: not a byte of the answer tells that
// there is something.
func TestForeignIDsAreNotFound(t *testing.T) {
	o := withOwners(t)
	unknownJob, unknownFile := "00000000000000ff", strings.Repeat("f", 64)
	foreign := map[string][]string{ // what {id} stands for, by how the path begins; the last is of nobody
		"/jobs/":                {o.queued.ID, o.running.ID, o.done.ID, unknownJob},
		"/files/":               {o.file.ID, unknownFile},
		"/comparisons/":         {o.comparison, unknownJob},
		"/webhooks/":            {o.hook, unknownJob},
		"/v1/files/":            {"file-" + o.file.ID, "file-" + o.done.ID + "-metrics", "file-" + o.done.ID + "-adapter", "file-" + unknownFile},
		"/v1/fine_tuning/jobs/": {"ftjob-" + o.queued.ID, "ftjob-" + o.done.ID, "ftjob-" + unknownJob},
		"/v1/models/":           {o.done.ID, unknownJob},
	}
	tried := 0
	for route, needed := range scopes {
		method, path, _ := strings.Cut(route, " ")
		if !strings.ContainsAny(path, "{*") || !scu.ScopeSubmit.Allows(needed) || needed == anyone {
			continue
		}
		begin := path[:strings.IndexAny(path, "{*")]
		ids, ok := foreign[begin]
		if !ok {
			t.Errorf("no id for %s", route)
			continue
		}
		fill := func(id string) string { return strings.NewReplacer("{id}", id, "{step}", "1", "*", id).Replace(path) }
		ask := func(id string) (int, string) {
			status, _, body := o.ask(method, fill(id), "", "Authorization", "Bearer "+o.bobKey)
			return status, anyID.ReplaceAllString(body, "ID")
		}
		_, want := ask(ids[len(ids)-1])
		for _, id := range ids[:len(ids)-1] {
			if result := strings.HasSuffix(id, "-metrics") || strings.HasSuffix(id, "-adapter"); result {
				if method == "DELETE" { // refused, whosoever they are
					continue
				}
				_, want = ask("file-" + unknownJob + id[strings.LastIndex(id, "-"):])
			}
			if status, body := ask(id); status != 404 || body != want {
				t.Errorf("%s with %s: %d\n%s\nof nobody:\n%s", route, id, status, body, want)
			}
			tried++
		}
	}
	if tried < 50 {
		t.Errorf("only %d were tried", tried)
	}
	// All of it is still there.
	ctx := t.Context()
	for _, j := range []scu.Job{o.queued, o.running, o.done} {
		now, err := o.ada.Job(ctx, j.ID)
		must(t, err)
		if now.Status != j.Status || now.Owner != "ada" {
			t.Errorf("job %s is %s of %s", j.ID, now.Status, now.Owner)
		}
	}
	if l, err := o.ada.Webhooks(ctx); err != nil || l.Count != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if f, err := o.ada.Files(ctx, "", 0); err != nil || !slices.ContainsFunc(f.Files, func(f scu.File) bool { return f.ID == o.file.ID && f.Name == "secret.txt" }) {
		t.Errorf("%+v, %v", f, err)
	}
}

// Lists, counts and cursors have nothing of another owner's; the administrator sees all.
func TestListsAreOwn(t *testing.T) {
	o := withOwners(t)
	ctx := t.Context()
	for path, empty := range map[string]string{
		"/jobs": `"jobs":[]`, "/files": `"files":[]`, "/comparisons": `"comparisons":[]`, "/webhooks": `"webhooks":[]`,
		"/jobs/counts": `"completed":0`, "/v1/files": `"data":[]`, "/v1/fine_tuning/jobs": `"data":[]`, "/v1/models": `"bookworm-2m"`,
	} {
		status, _, body := o.ask("GET", path, "", "Authorization", "Bearer "+o.bobKey)
		if status != 200 || !strings.Contains(body, empty) || strings.Contains(body, o.done.ID) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for path, field := range map[string]string{"/jobs?after=" + o.done.ID: "", "/v1/fine_tuning/jobs?after=ftjob-" + o.done.ID: "after"} {
		if status, _, body := o.ask("GET", path, "", "Authorization", "Bearer "+o.bobKey); status != 404 || strings.Contains(body, "ada") {
			t.Errorf("%s (%s): %d %s", path, field, status, body)
		}
	}
	mine, err := o.ada.Jobs(ctx, newest)
	must(t, err)
	_, err = o.admin.Submit(ctx, client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"})
	must(t, err)
	all, err := o.admin.Jobs(ctx, newest)
	must(t, err)
	if mine.Count != 7 || all.Count != 8 {
		t.Errorf("ada sees %d, the administrator %d", mine.Count, all.Count)
	}
	for _, c := range []struct {
		by    *client.Client
		owner string
		want  int
	}{{o.admin, "ada", 7}, {o.admin, "bob", 0}, {o.ada, "ada", 7}, {o.ada, "bob", 0}, {o.bob, "ada", 0}} {
		if l, err := c.by.Jobs(ctx, client.JobsFilter{Owner: c.owner}); err != nil || l.Count != c.want {
			t.Errorf("jobs of %s: %d, %v", c.owner, l.Count, err)
		}
	}
	for what, got := range map[string]func(*client.Client) (int, error){
		"comparisons": func(c *client.Client) (int, error) { l, err := c.Comparisons(ctx); return len(l.Comparisons), err },
		"webhooks":    func(c *client.Client) (int, error) { l, err := c.Webhooks(ctx); return l.Count, err },
		"files":       func(c *client.Client) (int, error) { l, err := c.Files(ctx, "", 0); return l.Count, err },
	} {
		want := 1
		if what == "files" {
			want = 2
		}
		for _, c := range []*client.Client{o.ada, o.admin} {
			if n, err := got(c); err != nil || n != want {
				t.Errorf("%s: %d, %v", what, n, err)
			}
		}
	}
	must(t, o.broker.Announce(ctx, scu.Presence{Trainer: trainer, Classes: []string{"cpu"}, Job: o.running.ID}))
	for c, job := range map[*client.Client]string{o.bob: "", o.ada: o.running.ID, o.admin: o.running.ID} {
		if l, err := c.Trainers(ctx); err != nil || l.Count != 1 || l.Trainers[0].Job != job {
			t.Errorf("trainers: %+v, %v", l, err)
		}
	}
}

// Another owner's ids in a body are as unknown ones.
func TestForeignIDsInBodies(t *testing.T) {
	o := withOwners(t)
	unknown := strings.NewReplacer(o.file.ID, strings.Repeat("f", 64), o.done.ID, "00000000000000ff")
	for _, c := range []struct{ path, body string }{
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "FILE"}`},
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "val_data_path": "FILE"}`},
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "other_data_path": "FILE"}`},
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data": [{"path": "train.txt"}, {"path": "FILE"}]}`},
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "from_adapter": "FILE"}`},
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "from_adapter": "JOB"}`},
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "from_adapter": "JOB@1"}`},
		{"/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "config_overrides": {"from_adapter_file": "FILE"}}`},
		{"/jobs/batch", `{"jobs": [{"base_model": "bookworm-2m", "train_data_path": "FILE"}]}`},
		{"/jobs/validate", `{"base_model": "bookworm-2m", "train_data_path": "FILE"}`},
		{"/comparisons", `{"base_model": "bookworm-2m", "train_data_path": "FILE", "settings": [{"config_overrides": {}}]}`},
		{"/jobs/retry", `{"job_ids": ["JOB"]}`},
		{"/v1/fine_tuning/jobs", `{"model": "bookworm-2m", "training_file": "file-FILE"}`},
		{"/v1/fine_tuning/jobs", `{"model": "ft:bookworm-2m:scu::JOB", "training_file": "file-FILE"}`},
		{"/v1/completions", `{"model": "ft:bookworm-2m:scu::JOB", "prompt": "x"}`},
		{"/v1/chat/completions", `{"model": "ft:bookworm-2m:scu::JOB", "messages": [{"role": "user", "content": "x"}]}`},
	} {
		body := strings.NewReplacer("FILE", o.file.ID, "JOB", o.done.ID).Replace(c.body)
		status, _, got := o.ask("POST", c.path, body, "Authorization", "Bearer "+o.bobKey)
		other, _, want := o.ask("POST", c.path, unknown.Replace(body), "Authorization", "Bearer "+o.bobKey)
		if status != other || unknown.Replace(got) != want || status == 200 && c.path != "/jobs/retry" && c.path != "/jobs/validate" {
			t.Errorf("%s %s: %d %s\nof nobody: %d %s", c.path, c.body, status, got, other, want)
		}
	}
	if n := o.jobs(); n != 7 {
		t.Errorf("there are %d jobs", n)
	}
	status, _, body := o.ask("POST", "/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "owner": "ada"}`, "Authorization", "Bearer "+o.bobKey)
	o.refused(t, status, body, 422, scu.CodeInvalid, "owner")
}

// What owners name themselves is their own: keys of submissions, comparisons.
func TestNamesAreOwn(t *testing.T) {
	o := withOwners(t)
	ctx := t.Context()
	req := client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", IdempotencyKey: "nightly"}
	var ids []string
	for _, c := range []*client.Client{o.ada, o.bob, o.admin, o.ada} {
		s, err := c.Submit(ctx, req)
		must(t, err)
		ids = append(ids, s.JobID)
	}
	if ids[0] != ids[3] || ids[0] == ids[1] || ids[1] == ids[2] || ids[0] == ids[2] {
		t.Errorf("the jobs are %v", ids)
	}
	req.Name = "another" // ada's key was for another submission; bob's own tells nothing of it
	req.IdempotencyKey = "weekly"
	first, err := o.ada.Submit(ctx, req)
	must(t, err)
	req.Name = "changed"
	if _, err := o.ada.Submit(ctx, req); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("ada's second: %v", err)
	}
	second, err := o.bob.Submit(ctx, req)
	must(t, err)
	if first.JobID == second.JobID {
		t.Error("bob was given ada's job")
	}
	batch := client.BatchRequest{Jobs: []client.SubmitRequest{{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"}}, IdempotencyKey: "nightly"}
	got, err := o.bob.SubmitBatch(ctx, batch)
	if err == nil && got.Jobs[0].JobID == ids[0] {
		t.Errorf("a batch of bob's is ada's job: %+v", got)
	}
	c, err := o.bob.Compare(ctx, compared())
	must(t, err)
	if c.ID == o.comparison {
		t.Error("bob was given ada's comparison")
	}
}

// The same bytes are one file, of which each owner has its own: another's upload tells
// nothing, and another's deletion takes nothing.
func TestSameBytesOfTwoOwners(t *testing.T) {
	o := withOwners(t)
	ctx := t.Context()
	content := strings.Repeat("Nobody else knows this. ", 100)
	upload := func(c *client.Client, name string) scu.File {
		t.Helper()
		f, err := c.Upload(ctx, name, strings.NewReader(content), -1, nil)
		must(t, err)
		return f
	}
	names := func(c *client.Client) (all []string) {
		t.Helper()
		l, err := c.Files(ctx, "", 0)
		must(t, err)
		for _, f := range l.Files {
			if f.ID == o.file.ID {
				all = append(all, f.Name)
			}
		}
		return all
	}
	before := time.Now()
	f := upload(o.bob, "mine.txt")
	if f.ID != o.file.ID || f.Name != "mine.txt" || f.CreatedAt.Before(before.Add(-time.Second)) {
		t.Errorf("bob's is %+v", f)
	}
	if got := names(o.bob); !slices.Equal(got, []string{"mine.txt"}) {
		t.Errorf("bob has %v", got)
	}
	if got := names(o.ada); !slices.Equal(got, []string{"secret.txt"}) {
		t.Errorf("ada has %v", got)
	}
	// Ada's job needs it, which is nothing to bob.
	_, err := o.bob.DeleteFile(ctx, f.ID)
	must(t, err)
	if got := names(o.bob); len(got) != 0 {
		t.Errorf("bob has %v", got)
	}
	if _, err := o.bob.DeleteFile(ctx, f.ID); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("bob's second deletion: %v", err)
	}
	if _, err := o.ada.DeleteFile(ctx, f.ID); scu.CodeOf(err) != scu.CodeConflict || !strings.Contains(err.Error(), o.queued.ID) {
		t.Errorf("ada's: %v", err)
	}
	_, err = o.ada.Cancel(ctx, o.queued.ID)
	must(t, err)
	if _, err := o.ada.DeleteFile(ctx, f.ID); err != nil {
		t.Errorf("ada's deletion: %v", err)
	}
	if got := names(o.admin); len(got) != 0 {
		t.Errorf("the bytes are still there: %v", got)
	}
	// Its data gone, the job can't be retried, though another owner has the same bytes.
	upload(o.bob, "mine.txt")
	if _, err := o.ada.Retry(ctx, o.queued.ID, false); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("a retry without data: %v", err)
	}
	// The administrator's file stays when an owner deletes the same bytes, and takes all with it.
	upload(o.admin, "admins.txt")
	_, err = o.bob.DeleteFile(ctx, f.ID)
	must(t, err)
	if got := names(o.admin); len(got) != 1 {
		t.Errorf("the administrator has %v", got)
	}
	upload(o.ada, "again.txt")
	_, err = o.admin.DeleteFile(ctx, f.ID)
	must(t, err)
	if got := append(names(o.ada), names(o.admin)...); len(got) != 0 {
		t.Errorf("they have %v", got)
	}
}

// What was kept before there were owners is the administrator's, and stays so.
func TestFilesFromBeforeOwners(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	ctx := t.Context()
	r.until("that there are no owners is known", func() bool { return !r.server.keys.owned() })
	content := strings.Repeat("It was here before. ", 100)
	old, err := r.sdk.Upload(ctx, "old.txt", strings.NewReader(content), -1, nil)
	must(t, err)
	if owners, err := r.broker.HoldersOf(ctx, old.ID); err != nil || len(owners) != 0 {
		t.Errorf("without owners it is noted for %v, %v", owners, err)
	}
	key, _ := r.key("ada", scu.ScopeSubmit)
	ada := r.with(key)
	if _, err := ada.DeleteFile(ctx, old.ID); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("ada deletes the administrator's file: %v", err)
	}
	_, err = ada.Upload(ctx, "same.txt", strings.NewReader(content), -1, nil)
	must(t, err)
	_, err = ada.DeleteFile(ctx, old.ID)
	must(t, err)
	if l, err := r.sdk.Files(ctx, "", 0); err != nil || l.Count != 1 {
		t.Errorf("the administrator has %+v, %v", l, err)
	}
}

// The stream of all jobs has an owner's own alone: states, steps and deletions.
func TestAllEventsAreOwn(t *testing.T) {
	o := withOwners(t)
	resp := o.open(t.Context(), "GET", "/events", nil, o.bobKey)
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != ": open" {
		t.Fatal(lines.Text())
	}
	o.step(o.running, 1)
	_, err := o.ada.Cancel(t.Context(), o.queued.ID)
	must(t, err)
	_, err = o.ada.DeleteJob(t.Context(), o.queued.ID)
	must(t, err)
	s, err := o.bob.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"})
	must(t, err)
	o.step(o.begin(s.JobID, 2), 0)
	var text bytes.Buffer
	for lines.Scan() && !(strings.Contains(text.String(), "event: metrics") && strings.Contains(text.String(), `"status":"running"`)) {
		fmt.Fprintln(&text, lines.Text())
	}
	for _, id := range []string{o.running.ID, o.queued.ID, "ada"} {
		if strings.Contains(text.String(), id) {
			t.Errorf("bob sees %s:\n%s", id, &text)
		}
	}
	if !strings.Contains(text.String(), s.JobID) {
		t.Errorf("bob doesn't see his own:\n%s", &text)
	}
}

// A webhook is told of its owner's jobs, an administrator's of all.
func TestWebhooksAreOwn(t *testing.T) {
	r, tell := hooked(t)
	r.server.o.Key = "s3cret"
	url, got := receiver(t, 200)
	ctx := t.Context()
	ada, _ := r.key("ada", scu.ScopeSubmit)
	bob, _ := r.key("bob", scu.ScopeSubmit)
	_, err := r.with(ada).AddWebhook(ctx, client.WebhookRequest{URL: url})
	must(t, err)
	defer tell()()
	req := client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"}
	for _, key := range []string{bob, ada} {
		s, err := r.with(key).Submit(ctx, req)
		must(t, err)
		_, err = r.with(key).Cancel(ctx, s.JobID)
		must(t, err)
		if key == ada {
			m := <-got
			var said struct{ Data client.JobStatus }
			must(t, json.Unmarshal([]byte(m.body), &said))
			if said.Data.JobID != s.JobID || said.Data.Owner != "ada" {
				t.Errorf("told of %+v", said.Data)
			}
		}
	}
	for range maxOwnWebhooks - 1 {
		_, err := r.with(ada).AddWebhook(ctx, client.WebhookRequest{URL: url})
		must(t, err)
	}
	if _, err := r.with(ada).AddWebhook(ctx, client.WebhookRequest{URL: url}); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("one more webhook: %v", err)
	}
	_, err = r.with(bob).AddWebhook(ctx, client.WebhookRequest{URL: url})
	must(t, err)
}
