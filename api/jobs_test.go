package api

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// Clients in use read these fields.
func TestSeedsFields(t *testing.T) {
	r := start(t, nil)
	status, _, body := r.ask("POST", "/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "val_data_path": null,
		"target_s": 0.02, "config_overrides": {"steps": 2, "lora": {"r": 2, "alpha": 4}}, "priority": 3}`)
	var submitted struct {
		JobID   string `json:"job_id"`
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	must(t, json.Unmarshal([]byte(body), &submitted))
	if status != 200 || !scu.ValidJobID(submitted.JobID) || submitted.Status != "queued" || submitted.Message != "Job "+submitted.JobID+" submitted successfully" {
		t.Fatalf("submit gave %d %s", status, body)
	}
	id := submitted.JobID

	status, h, body := r.ask("GET", "/jobs/"+id+"/status", "")
	if status != 200 || h.Get("Content-Type") != "application/json" {
		t.Errorf("status gave %d %s", status, h.Get("Content-Type"))
	}
	for _, field := range []string{"job_id", "status", "created_at", "started_at", "completed_at", "progress_percent", "adapter_path", "error_message"} {
		if !slices.Contains(keys(t, body), field) {
			t.Errorf("status has no %s: %s", field, body)
		}
	}
	if !strings.Contains(body, `"adapter_path":null`) || !strings.Contains(body, `"progress_percent":0`) {
		t.Errorf("a queued job's status is %s", body)
	}

	_, _, body = r.ask("GET", "/jobs?status=queued&limit=5", "")
	var list struct {
		Jobs []struct {
			JobID     string `json:"job_id"`
			BaseModel string `json:"base_model"`
			Status    string
			CreatedAt string `json:"created_at"`
		}
		Count int
	}
	must(t, json.Unmarshal([]byte(body), &list))
	if list.Count != 1 || len(list.Jobs) != 1 || list.Jobs[0].JobID != id || list.Jobs[0].BaseModel != "bookworm-2m" || list.Jobs[0].Status != "queued" || list.Jobs[0].CreatedAt == "" {
		t.Errorf("list gave %s", body)
	}

	d, err := r.sdk.Job(t.Context(), id)
	must(t, err)
	if c := d.Config; c.LoRA.R != 2 || c.LoRA.Alpha != 4 || c.LoRA.Dropout != 0.05 || c.Control.TargetS != 0.02 || *c.Steps != 2 || d.Priority != 3 || d.Class != "cpu" {
		t.Errorf("the job's configuration is %+v", d.Job)
	}
	if want := sha256.Sum256([]byte(strings.Repeat("Call me Ishmael. ", 100))); d.TrainData.ID != hex.EncodeToString(want[:]) || d.TrainData.Name != "train.txt" || d.ValData != nil {
		t.Errorf("the job's data is %+v", d.TrainData)
	}

	if status, _, body = r.ask("POST", "/jobs/"+id+"/cancel", ""); status != 200 || !strings.Contains(body, `"message":"Job `+id+` cancelled"`) {
		t.Errorf("cancel gave %d %s", status, body)
	}
	if _, _, body = r.ask("GET", "/health", ""); !slices.Equal(keys(t, body), []string{"active_jobs", "queued_jobs", "status", "timestamp", "version"}) || !strings.Contains(body, `"status":"healthy"`) {
		t.Errorf("health gave %s", body)
	}
}

// A whole life, seen by the SDK: submitted with an upload, trained, fetched.
func TestLifeOfAJob(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	var sent int64
	path := writeFile(t, t.TempDir(), "mine.jsonl", strings.Repeat(`{"text": "hello"}`+"\n", 50))
	f, err := r.sdk.UploadFile(ctx, path, func(done, total int64) {
		if sent = done; total != 900 {
			t.Errorf("total %d", total)
		}
	})
	must(t, err)
	if f.Name != "mine.jsonl" || f.Size != 900 || sent != 900 {
		t.Errorf("upload gave %+v after %d bytes", f, sent)
	}
	id := r.submit(func(s *client.SubmitRequest) { s.TrainDataPath, s.ValDataPath, s.Name = f.ID, "train.txt", "my first" })

	// One watches from the start; it is told to go on by its own events.
	var watched []client.Event
	var atStep [4]chan struct{}
	for i := range atStep {
		atStep[i] = make(chan struct{})
	}
	queued := make(chan struct{})
	done := make(chan error, 1)
	wait := func(c chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case err := <-done:
			t.Fatal("Watch ended:", err)
		}
	}
	go func() {
		done <- r.sdk.Watch(ctx, id, 0, func(e client.Event) error {
			if len(watched) == 0 {
				close(queued)
			}
			watched = append(watched, e)
			if e.Metrics != nil {
				if before := watched[len(watched)-2].Status; e.Metrics.Step == 1 && (before == nil || before.CurrentPhase != scu.Training) {
					t.Errorf("the first step came after %+v", before)
				}
				close(atStep[e.Metrics.Step-1])
			}
			return nil
		})
	}()
	wait(queued)
	j := r.begin(id, 4)
	for step := range 4 {
		r.step(j, step)
		wait(atStep[step])
	}
	st, err := r.sdk.Status(ctx, id)
	must(t, err)
	if st.Status != scu.Running || st.CurrentPhase != scu.Training || st.Attempt != 1 || st.TotalSteps != 4 || st.StartedAt == nil {
		t.Errorf("a running job's status is %+v", st)
	}
	if _, err := r.sdk.DownloadAdapter(ctx, id, t.TempDir(), nil); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("the adapter of a running job: %v", err)
	}

	zipped := makeZip(t, map[string]string{"adapter_config.json": "{}", "sub/README.md": "hello"})
	r.complete(j, zipped)
	must(t, <-done)
	last := watched[len(watched)-1]
	if last.Status == nil || last.Status.Status != scu.Completed || last.Status.ProgressPercent != 100 || last.Status.Step != 4 {
		t.Errorf("the last event is %+v", last.Status)
	}
	var steps []int
	for _, e := range watched {
		if e.Metrics != nil {
			steps = append(steps, e.Metrics.Step)
		}
	}
	if !slices.Equal(steps, []int{1, 2, 3, 4}) {
		t.Errorf("watched the steps %v", steps)
	}

	// One comes late, and one again.
	for after, want := range map[int][]int{0: {1, 2, 3, 4}, 2: {3, 4}, 4: nil} {
		steps = nil
		must(t, r.sdk.Watch(ctx, id, after, func(e client.Event) error {
			if e.Metrics != nil {
				steps = append(steps, e.Metrics.Step)
			}
			return nil
		}))
		if !slices.Equal(steps, want) {
			t.Errorf("watched after step %d: %v, want %v", after, steps, want)
		}
	}

	page, err := r.sdk.Metrics(ctx, id, 0, 3)
	must(t, err)
	if len(page.Metrics) != 3 || !page.HasMore || page.Next != 3 || page.Metrics[1].Loss != 2.9 {
		t.Errorf("the first page is %+v", page)
	}
	page, err = r.sdk.Metrics(ctx, id, page.Next, 3)
	must(t, err)
	if len(page.Metrics) != 1 || page.HasMore || page.Next != 4 {
		t.Errorf("the second page is %+v", page)
	}

	dir := t.TempDir()
	path, err = r.sdk.DownloadAdapter(ctx, id, dir, nil)
	must(t, err)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, zipped) || path != filepath.Join(dir, id+"_adapter.zip") {
		t.Errorf("downloaded %s, %d bytes, %v", path, len(got), err)
	}
	must(t, client.Unzip(path, filepath.Join(dir, "adapter")))
	if got, err := os.ReadFile(filepath.Join(dir, "adapter", "sub", "README.md")); err != nil || string(got) != "hello" {
		t.Errorf("unzipped %q, %v", got, err)
	}
	sum := sha256.Sum256(zipped)
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	status, h, body := r.ask("GET", "/jobs/"+id+"/adapter", "")
	if status != 200 || body != string(zipped) || h.Get("Content-Disposition") != `attachment; filename="`+id+`_adapter.zip"` ||
		h.Get("Content-Length") != fmt.Sprint(len(zipped)) || h.Get("ETag") != tag || h.Get("Content-Type") != "application/zip" {
		t.Errorf("the adapter came as %d %v", status, h)
	}
	if status, _, body = r.ask("GET", "/jobs/"+id+"/adapter", "", "If-None-Match", tag); status != 304 || body != "" {
		t.Errorf("the adapter at hand came as %d with %d bytes", status, len(body))
	}
	if _, err := r.sdk.Cancel(ctx, id); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("cancelling a completed job: %v", err)
	}
	d, err := r.sdk.Job(ctx, id)
	must(t, err)
	if d.Name != "my first" || d.ValData == nil || d.Adapter.SHA256 != hex.EncodeToString(sum[:]) || d.Metrics.Step != 4 || *d.AdapterPath != "/jobs/"+id+"/adapter" {
		t.Errorf("the job is %+v", d)
	}
}

func makeZip(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		must(t, err)
		_, err = w.Write([]byte(text))
		must(t, err)
	}
	must(t, z.Close())
	return b.Bytes()
}

func TestAFailedJobSaysWhy(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	j := r.begin(id, 4)
	r.transit(id, func(scu.Job) (scu.Event, error) {
		return j.Fail(1, scu.Errorf(scu.CodeMemory, "out of memory in step 2").WithHint("lower batch_size"), j.CreatedAt)
	})
	st, err := r.sdk.Status(t.Context(), id)
	must(t, err)
	if st.Status != scu.Failed || st.ErrorMessage == nil || *st.ErrorMessage != "out of memory in step 2 (lower batch_size)" || st.Error.Code != scu.CodeMemory {
		t.Errorf("status is %+v", st)
	}
	status, _, body := r.ask("GET", "/jobs/"+id+"/adapter", "")
	r.refused(t, status, body, 404, scu.CodeNotFound, "")
}

func TestCancelTwiceIsOnce(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	for range 2 {
		if status, _, body := r.ask("POST", "/jobs/"+id+"/cancel", ""); status != 200 || !strings.Contains(body, `"status":"cancelled"`) {
			t.Errorf("cancel gave %d %s", status, body)
		}
	}
	l, err := r.sdk.Jobs(t.Context(), client.JobsFilter{Status: scu.Cancelled})
	must(t, err)
	if l.Count != 1 {
		t.Error("the list doesn't have the cancelled job at once")
	}
}

func TestFiftySubmissionsAtOnce(t *testing.T) {
	r := start(t, nil)
	ids := make([]string, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			resp, err := r.sdk.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", Priority: i % 5})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = resp.JobID
			if st, err := r.sdk.Status(t.Context(), resp.JobID); err != nil || st.Status != scu.Queued {
				t.Errorf("status right after the submission: %+v, %v", st, err)
			}
			l, err := r.sdk.Jobs(t.Context(), client.JobsFilter{Limit: 1000})
			if err != nil || !slices.ContainsFunc(l.Jobs, func(j client.JobSummary) bool { return j.JobID == resp.JobID }) {
				t.Errorf("the list right after the submission lacks it: %v", err)
			}
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 50 || r.jobs() != 50 {
		t.Errorf("50 submissions gave %d ids and %d jobs", len(slices.Compact(ids)), r.jobs())
	}
	if got := r.stored(); len(got) != 1 {
		t.Errorf("one data set is stored as %d files", len(got))
	}
}

func TestListPages(t *testing.T) {
	r := start(t, nil)
	var ids []string
	for range 5 {
		ids = append(ids, r.submit(nil))
	}
	slices.Reverse(ids)
	var got []string
	for after := ""; ; {
		l, err := r.sdk.Jobs(t.Context(), client.JobsFilter{Limit: 2, After: after})
		must(t, err)
		if l.Count == 0 {
			break
		}
		for _, j := range l.Jobs {
			got = append(got, j.JobID)
		}
		after = got[len(got)-1]
	}
	if !slices.Equal(got, ids) {
		t.Errorf("pages gave %v, want %v", got, ids)
	}
	if status, _, body := r.ask("GET", "/jobs?status=failed", ""); status != 200 || strings.TrimSpace(body) != `{"jobs":[],"count":0}` {
		t.Errorf("an empty list is %d %s", status, body)
	}
}

// What Preflight refuses leaves nothing; what it warns of reaches the user.
func TestPreflight(t *testing.T) {
	var seen scu.File
	var path string
	r := start(t, func(o *Options) {
		o.Preflight = preflight(func(c *scu.Config, train scu.File) ([]string, string, error) {
			seen = train
			local, err := o.Files.Local(t.Context(), train.ID)
			if err != nil {
				return nil, "", err
			}
			text, err := os.ReadFile(local)
			if err != nil {
				return nil, "", err
			}
			if path = local; strings.Contains(string(text), "bad") {
				return nil, "", scu.Errorf(scu.CodeInvalid, "line 3: not JSON").At("train_data_path")
			}
			return []string{"few blocks"}, "gpu24", nil
		})
	})
	writeFile(t, r.data, "bad.jsonl", "bad")
	status, _, body := r.ask("POST", "/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "bad.jsonl"}`)
	r.refused(t, status, body, 422, scu.CodeInvalid, "train_data_path")
	if seen.Name != "bad.jsonl" || len(r.stored()) != 0 || r.jobs() != 0 {
		t.Errorf("refused data %+v at %s left %v and %d jobs", seen, path, r.stored(), r.jobs())
	}
	resp, err := r.sdk.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt",
		ConfigOverrides: map[string]any{"prior_sigma": 0.01}})
	must(t, err)
	if len(resp.Warnings) != 2 || !strings.Contains(resp.Warnings[0], "prior_sigma") || resp.Warnings[1] != "few blocks" {
		t.Errorf("warnings: %v", resp.Warnings)
	}
	d, err := r.sdk.Job(t.Context(), resp.JobID)
	must(t, err)
	if d.Class != "gpu24" || len(d.Warnings) != 2 {
		t.Errorf("class %s, warnings %v", d.Class, d.Warnings)
	}
}

// Validation tells everything at once and keeps nothing; a submission tells the same.
func TestValidate(t *testing.T) {
	r := start(t, func(o *Options) {
		o.Preflight = preflight(func(*scu.Config, scu.File) ([]string, string, error) { return []string{"few blocks"}, "cpu", nil })
	})
	good := client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", ConfigOverrides: map[string]any{"prior_sigma": 0.01}}
	report, err := r.sdk.Validate(t.Context(), good)
	must(t, err)
	if !report.Valid || len(report.Errors) != 0 || len(report.Warnings) != 2 || report.Warnings[0].Field != "prior_sigma" || report.Warnings[0].Suggestion == "" {
		t.Errorf("%+v", report)
	}

	bad := client.SubmitRequest{BaseModel: "./nowhere", TrainDataPath: "none.txt", ValDataPath: "neither.txt",
		ConfigOverrides: map[string]any{"epochs": 0, "batch_size": 1000}}
	report, err = r.sdk.Validate(t.Context(), bad)
	must(t, err)
	var fields []string
	for _, f := range report.Errors {
		fields = append(fields, f.Field)
	}
	want := []string{"epochs", "batch_size", "base_model", "train_data_path", "val_data_path"}
	if report.Valid || !slices.Equal(fields, want) {
		t.Errorf("errors of %v, want %v", fields, want)
	}
	_, err = r.sdk.Submit(t.Context(), bad)
	if all := scu.AllErrors(err); len(all) != len(want) {
		t.Errorf("the submission is refused with %v", all)
	}
	if r.jobs() != 0 || len(r.stored()) != 0 {
		t.Error("something was kept")
	}
}

// However many submissions come at once, so many are checked at a time.
func TestChecksAtATime(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	full := make(chan struct{})
	release := sync.OnceFunc(func() { close(full) })
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		running += n
		if most = max(most, running); most == maxChecks {
			release()
		}
	}
	r := start(t, func(o *Options) {
		o.Preflight = preflight(func(*scu.Config, scu.File) ([]string, string, error) {
			count(1)
			defer count(-1)
			select {
			case <-full:
			case <-t.Context().Done():
			}
			return nil, "cpu", nil
		})
	})
	var clients sync.WaitGroup
	for range 3 * maxChecks {
		clients.Go(func() {
			if _, err := r.sdk.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"}); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	if most != maxChecks {
		t.Errorf("%d checks at a time, want %d", most, maxChecks)
	}
}

func TestDocuments(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "k" })
	auth := []string{"Authorization", "Bearer k"}
	_, h, body := r.ask("GET", "/openapi.json", "", auth...)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	must(t, json.Unmarshal([]byte(body), &doc))
	if h.Get("Content-Type") != "application/json" || doc.OpenAPI == "" {
		t.Errorf("the document is %s %q", h.Get("Content-Type"), doc.OpenAPI)
	}
	for path, method := range map[string]string{
		"/jobs/submit": "post", "/jobs": "get", "/jobs/{id}": "get", "/jobs/{id}/status": "get", "/jobs/{id}/cancel": "post",
		"/jobs/{id}/metrics": "get", "/jobs/{id}/events": "get", "/jobs/{id}/adapter": "get", "/files": "post", "/health": "get",
	} {
		if doc.Paths[path][method] == nil {
			t.Errorf("the document lacks %s %s", method, path)
		}
		if _, _, page := r.ask("GET", "/docs", "", auth...); !strings.Contains(page, path) {
			t.Errorf("the docs page lacks %s", path)
		}
	}
	if status, h, _ := r.ask("GET", "/", "", auth...); status != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		t.Errorf("a browser at / gets %d %q", status, h.Get("Content-Type"))
	}
	_, h, page := r.ask("GET", "/docs", "", auth...)
	if strings.Contains(page, "<script") || strings.Contains(page, "https://") || !strings.Contains(page, `href="#SubmitRequest"`) || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("the docs page isn't self-contained, or lacks the types")
	}
	r.ask("GET", "/made/up/path", "", auth...)
	if status, _, body := r.ask("GET", "/metrics", "", auth...); strings.Contains(body, "made") || status != http.StatusOK || !strings.Contains(body, `scu_jobs{status="queued"} 0`) || !strings.Contains(body, `scu_http_requests_total{method="GET",route="/docs",status="200"}`) {
		t.Errorf("Prometheus got %d %s", status, body)
	}
}

// The CSV of a completed job has all its steps, over more pages than one, at once; that of
// a new one its header.
func TestMetricsCSV(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	id := r.submit(nil)
	_, h, empty := r.ask("GET", "/jobs/"+id+"/metrics.csv", "")
	if empty != string(scu.CSVLive.AppendHeader(nil)) || !strings.HasPrefix(h.Get("Content-Type"), "text/csv") || !strings.Contains(h.Get("Content-Disposition"), id+"_metrics.csv") {
		t.Errorf("before the first step: %q, %v", empty, h)
	}
	const steps = csvPage + 1
	j := r.begin(id, steps)
	for i := range steps {
		r.step(j, i)
	}
	r.complete(j, []byte("a zip"))
	var table bytes.Buffer
	must(t, r.sdk.MetricsCSV(ctx, id, &table))
	rows, err := csv.NewReader(&table).ReadAll()
	must(t, err)
	if len(rows) != 1+steps {
		t.Fatalf("%d rows", len(rows))
	}
	for i, row := range rows[1:] {
		if row[0] != strconv.Itoa(i+1) {
			t.Fatalf("row %d is of step %s", i, row[0])
		}
	}
	status, _, body := r.ask("GET", "/jobs/0123456789abcdef/metrics.csv", "")
	r.refused(t, status, body, 404, scu.CodeNotFound, "")
}

// HEAD answers as GET does, without the body; a stream, which may never end, has none.
func TestHead(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	r.complete(r.begin(id, 1), []byte("a zip"))
	for _, path := range []string{"/", "/docs", "/openapi.json", "/health", "/jobs", "/jobs/" + id + "/status", "/jobs/" + id + "/adapter", "/jobs/0/status", "/nowhere"} {
		want, get, _ := r.ask("GET", path, "")
		status, head, body := r.ask("HEAD", path, "")
		if status != want || head.Get("Content-Type") != get.Get("Content-Type") || head.Get("ETag") != get.Get("ETag") || body != "" {
			t.Errorf("%s: HEAD gives %d %v %q, GET %d %v", path, status, head, body, want, get)
		}
	}
	if status, h, _ := r.ask("HEAD", "/jobs/"+id+"/adapter", ""); status != 200 || h.Get("Content-Length") != "5" {
		t.Errorf("HEAD of an adapter gives %d %v", status, h)
	}
	for _, path := range []string{"/jobs/" + id + "/events", "/estimate"} {
		if status, _, _ := r.ask("HEAD", path, ""); status != 405 {
			t.Errorf("HEAD of %s gives %d", path, status)
		}
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	r.server.streams.open.Store(maxStreams)
	status, _, body := r.ask("GET", "/jobs/"+id+"/events", "")
	r.refused(t, status, body, 503, scu.CodeUnavailable, "")

	r.server.streams.open.Store(maxStreams - 1) // one that ends makes room
	_, err := r.sdk.Cancel(t.Context(), id)
	must(t, err)
	for range 2 {
		if status, _, body := r.ask("GET", "/jobs/"+id+"/events", ""); status != 200 {
			t.Errorf("got %d %s", status, body)
		}
	}
}

// A queued job's status tells its place, and what is before it.
func TestPlaceInTheQueue(t *testing.T) {
	r := start(t, nil)
	first := r.submit(nil)
	second := r.submit(nil)
	urgent := r.submit(func(s *client.SubmitRequest) { s.Priority = 5 })
	r.jobs() // the read model has them
	for id, want := range map[string]client.QueuedBefore{
		urgent: {}, first: {HigherPriority: 1}, second: {HigherPriority: 1, SamePriority: 1},
	} {
		st, err := r.sdk.Status(t.Context(), id)
		must(t, err)
		if st.QueuedBefore == nil || *st.QueuedBefore != want || st.QueuePosition != want.HigherPriority+want.SamePriority+1 || st.Class != "cpu" {
			t.Errorf("job %s is at %d, after %+v; want after %+v", id, st.QueuePosition, st.QueuedBefore, want)
		}
	}
	r.begin(urgent, 3)
	if st, err := r.sdk.Status(t.Context(), urgent); err != nil || st.QueuePosition != 0 || st.QueuedBefore != nil {
		t.Errorf("a running job has a place in the queue: %+v, %v", st, err)
	}
}

// A queued job says if no trainer that is there takes its class.
func TestNoTrainer(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	for _, c := range []struct {
		classes []string
		waits   bool
	}{{nil, true}, {[]string{"gpu"}, true}, {[]string{"gpu", "cpu"}, false}} {
		if c.classes != nil {
			must(t, r.broker.Announce(t.Context(), scu.Presence{Trainer: trainer, Classes: c.classes}))
		}
		st, err := r.sdk.Status(t.Context(), id)
		must(t, err)
		if st.NoTrainer != c.waits {
			t.Errorf("a trainer of %q: no_trainer %v, want %v", c.classes, st.NoTrainer, c.waits)
		}
	}
}

// A running job whose trainer gives no sign of life says so; an announcement is one only
// if it names the job.
func TestSilentTrainer(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	silent := func() int {
		t.Helper()
		st, err := r.sdk.Status(t.Context(), id)
		must(t, err)
		return st.SilentSeconds
	}
	announce := func(job string) {
		t.Helper()
		must(t, r.broker.Announce(t.Context(), scu.Presence{Trainer: trainer, Classes: []string{"cpu"}, Job: job}))
	}
	r.transit(id, func(j scu.Job) (scu.Event, error) { return j.Start(trainer, time.Now().Add(-time.Minute)) })
	if n := silent(); n < 60 || n > 90 {
		t.Errorf("silent for %d s, want 60", n)
	}
	announce("")
	if n := silent(); n < 60 {
		t.Errorf("its trainer is there, but not with this job: silent for %d s", n)
	}
	announce(id)
	if n := silent(); n != 0 {
		t.Errorf("its trainer is there: silent for %d s", n)
	}
}
