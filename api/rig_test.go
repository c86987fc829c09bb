package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
)

// rig is the API over real parts: an embedded NATS server, SQLite, a projector,
// a folder of files. There is no trainer; tests play one.
type rig struct {
	*testing.T
	server *Server
	broker *broker.Broker
	nats   *embedded.Server
	files  string // folder of stored files
	data   string // the data folder
	url    string
	stop   func() // makes the projector stand still
	sdk    *client.Client
}

// start makes a rig; change may change its options.
func start(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	base := t.TempDir()
	r := &rig{T: t, files: filepath.Join(base, "files"), data: filepath.Join(base, "data")}
	must(t, os.Mkdir(r.data, 0o700))
	writeFile(t, r.data, "train.txt", strings.Repeat("Call me Ishmael. ", 100))

	nats, err := embedded.Start(embedded.Config{Rights: broker.Rights, Dir: filepath.Join(base, "nats"), Log: quiet})
	must(t, err)
	t.Cleanup(nats.Close)
	r.nats = nats
	r.broker, err = broker.Connect(ctx, broker.Options{Server: nats, Log: quiet})
	must(t, err)
	t.Cleanup(r.broker.Close)
	must(t, r.broker.Setup(ctx))

	db, err := sqlite.Open(ctx, filepath.Join(base, "scu.db"))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	running, stop := context.WithCancel(ctx)
	projected := make(chan error, 1)
	p := store.NewProjector(db, r.broker, store.ProjectorOptions{Log: quiet})
	go func() { projected <- p.Run(running) }()
	r.stop = sync.OnceFunc(func() {
		stop()
		if err := <-projected; err != nil {
			t.Error("projector:", err)
		}
	})
	t.Cleanup(r.stop)

	dir, err := files.Open(r.files)
	must(t, err)
	o := Options{Broker: r.broker, Store: db, Files: dir, DataDirs: []string{r.data}, MaxFileBytes: 64 << 10, Version: "test", Log: quiet, patience: longest,
		Preflight: preflight(func(c *scu.Config, _ scu.File) ([]string, string, error) {
			if c.BaseModel == "no/such-model" {
				return nil, "cpu", scu.Errorf(scu.CodeInvalid, "the Hub has no %s", c.BaseModel).At("base_model")
			}
			return nil, "cpu", nil
		})}
	if change != nil {
		change(&o)
	}
	r.server, err = New(o)
	must(t, err)
	following, forget := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() { defer close(followed); r.server.followKeys(following) }()
	t.Cleanup(func() { forget(); <-followed })
	web := httptest.NewServer(r.server)
	t.Cleanup(web.Close)
	r.url = web.URL
	r.sdk, err = client.New(web.URL, o.Key)
	must(t, err)
	return r
}

// longest bounds a wait for what must come, on however slow a machine.
const longest = 2 * time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// ask sends a request as curl would and returns the status and the body.
func (r *rig) ask(method, path, body string, headers ...string) (int, http.Header, string) {
	r.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	must(r, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(r, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(r, err)
	return resp.StatusCode, resp.Header, string(b)
}

// refused checks that an answer is a refusal of the service's one form.
func (r *rig) refused(t *testing.T, status int, body string, want int, code scu.Code, field string) scu.Error {
	t.Helper()
	var e struct {
		Error  *scu.Error
		Detail string
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == nil {
		t.Fatalf("status %d, body is no refusal: %s", status, body)
	}
	if status != want || e.Error.Code != code || e.Error.Field != field {
		t.Errorf("got %d %s at %q, want %d %s at %q: %s", status, e.Error.Code, e.Error.Field, want, code, field, body)
	}
	if e.Error.Message == "" || e.Detail == "" || strings.Contains(body, "goroutine") || strings.Contains(body, filepath.Dir(r.data)) {
		t.Errorf("the refusal says too little or too much: %s", body)
	}
	return *e.Error
}

// stored lists the files that the file storage holds.
func (r *rig) stored() []string {
	r.Helper()
	var names []string
	must(r, filepath.WalkDir(r.files, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != ".name" { // a title
			names = append(names, path)
		}
		return err
	}))
	return names
}

// jobs counts the jobs that are known.
func (r *rig) jobs() int {
	r.Helper()
	l, err := r.sdk.Jobs(r.Context(), client.JobsFilter{Limit: 1000})
	must(r, err)
	return l.Count
}

func (r *rig) submit(change func(*client.SubmitRequest)) string {
	r.Helper()
	req := client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"}
	if change != nil {
		change(&req)
	}
	resp, err := r.sdk.Submit(r.Context(), req)
	must(r, err)
	return resp.JobID
}

// trainer is the name under which tests train.
const trainer = "t1"

// transit takes a job on, as a trainer does.
func (r *rig) transit(id string, f func(scu.Job) (scu.Event, error)) scu.Job {
	r.Helper()
	j, _, err := r.broker.Append(r.Context(), id, trainer, f)
	must(r, err)
	return j
}

func (r *rig) begin(id string, steps int) scu.Job {
	r.Helper()
	r.transit(id, func(j scu.Job) (scu.Event, error) { return j.Start(trainer, time.Now()) })
	return r.transit(id, func(j scu.Job) (scu.Event, error) {
		return j.Enter(j.Attempt, scu.Training, steps, nil, time.Now())
	})
}

// step publishes a step, which the log of steps has when it returns.
func (r *rig) step(j scu.Job, step int) {
	r.Helper()
	must(r, r.broker.PublishMetrics(r.Context(), trainer, scu.Metrics{
		JobID: j.ID, Attempt: j.Attempt, Step: step + 1, Steps: j.Steps, Loss: 3 - float64(step)/10, S: 0.01, Lambda: 1, Timestamp: time.Now().UTC(),
	}))
	must(r, r.broker.FlushMetrics(r.Context()))
}

func (r *rig) complete(j scu.Job, zip []byte) scu.Job {
	r.Helper()
	size, sum, err := r.broker.PutAdapter(r.Context(), scu.AdapterKey{Job: j.ID, Attempt: j.Attempt}, bytes.NewReader(zip))
	must(r, err)
	must(r, r.broker.FlushMetrics(r.Context()))
	return r.transit(j.ID, func(j scu.Job) (scu.Event, error) {
		return j.Complete(j.Attempt, scu.Adapter{
			JobID: j.ID, BaseModel: j.BaseModel, Name: j.ID + "_adapter.zip", Size: size, SHA256: sum,
			Metrics: scu.Summary{Steps: j.Steps}, CreatedAt: time.Now().UTC(),
		}, time.Now())
	})
}

// keys are an object's, sorted.
func keys(t *testing.T, body string) []string {
	t.Helper()
	var m map[string]any
	must(t, json.Unmarshal([]byte(body), &m))
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// preflight makes a Preflight of what a test looks at: warnings, class, refusal.
func preflight(f func(*scu.Config, scu.File) ([]string, string, error)) func(context.Context, *scu.Config, scu.Sources, *scu.File) scu.Validation {
	return func(_ context.Context, c *scu.Config, train scu.Sources, _ *scu.File) (v scu.Validation) {
		v.Advise(c)
		warnings, class, err := f(c, train[0].File)
		for _, w := range warnings {
			v.Warn("", "test", "", "%s", w)
		}
		v.Class, v.Errors = class, scu.AllErrors(err)
		return v
	}
}

// newest asks a list for its first jobs.
var newest client.JobsFilter
