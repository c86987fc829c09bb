// Package api serves jobs over HTTP: it accepts submissions, answers for jobs,
// streams their metrics and hands out their adapters. [New] makes a [Server] from
// [Options]; package client is its Go SDK.
//
// It promises:
//
//   - What is refused leaves nothing behind: a submission is checked whole, its
//     data and model included, before anything is kept. What was answered with a
//     job id is in the log.
//   - A job can be asked for as soon as its id is known: its state is read from
//     the log, and a list waits (bounded) for what the log had when it was asked for.
//   - Every refusal has the same body, with a code for machines, the field it
//     speaks of and what to do; never a stack trace or a path of the server's own.
//   - Nothing that a request carries is held in memory beyond 1 MiB; files stream.
//   - Of the server's files only those below [Options].DataDirs and ModelDirs are read, after
//     links are resolved, and no hidden ones as data; no URL takes it to a private
//     address.
package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/github.com/labstack/echo/otelecho"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/api/openai"
	"github.com/shannon-control/scu/telemetry"
)

// Broker is what the API needs of the rest of the service; package broker has it.
type Broker interface {
	scu.Log
	scu.MetricsStream
	scu.Adapters
	scu.Roster
	scu.SubmissionKeys
	scu.Operator
	scu.Comparisons
	scu.Webhooks
	scu.Keys
	scu.FileHolders
	scu.DeletionMarks
	scu.DamageReports
	// Ping asks whether the service stores what it is told; CodeUnavailable if there is
	// no answer.
	Ping(ctx context.Context) error
	// Time is the time by the clock of who keeps the log, by which scheduled jobs are queued.
	Time(ctx context.Context) (time.Time, error)
	// Copies returns how many servers keep the log.
	Copies(ctx context.Context) (scu.Copies, error)
	// LogUse returns how full the log is.
	LogUse(ctx context.Context) (scu.StreamUse, error)
	// Streams returns how full all streams are, the log and the metrics first.
	Streams(ctx context.Context) ([]scu.StreamUse, error)
	// Shortages returns which streams aren't as they should be, since NATS has no room.
	Shortages() []*scu.Error
}

// HeapFloor is an API's own, see Options.
const HeapFloor = 128 << 20

// Options are what a Server is made of.
type Options struct {
	Broker Broker         // the log, live metrics and adapters
	Store  scu.ReadModel  // lists and pages; a projector keeps it up to date
	Files  scu.FileIntake // uploads and data sets

	// HeapFloor counts as live when the collector decides how far the heap may grow. An API
	// makes much garbage and keeps little: its small heap would be collected several times a
	// second, which stops all requests twice each time. Default 0.
	HeapFloor int64

	// Retention plans what the policy lets go, and Collect removes it. Without them the
	// routes say that there is none.
	Retention, Collect func(ctx context.Context) ([]scu.Collected, error)

	// Blobs are where each kind of blob is kept, for who mends damaged ones, and Verify has
	// all of them read. Without it the route refuses.
	Blobs  map[scu.BlobKind]scu.Blobs
	Verify func()

	// Preflight checks the model and tokenizer, and the data against them, and may settle
	// open values of the config.
	Preflight func(ctx context.Context, c *scu.Config, train scu.Sources, val *scu.File) scu.Validation
	// CheckData says what becomes of a data file in training, with a preview of so
	// many blocks, and Estimate what a job will take, on its data or, without, on so
	// many tokens. Without them the routes refuse.
	CheckData func(ctx context.Context, c *scu.Config, data scu.Sources, preview int) (scu.DataCheck, error)
	Estimate  func(ctx context.Context, c *scu.Config, train scu.Sources, val *scu.File, tokens int64) (scu.Estimate, error)
	// Recommend chooses a job's settings by its model and, unless train is nil, its
	// data. Without it the route refuses.
	Recommend func(ctx context.Context, baseModel string, train scu.Sources, val *scu.File) (scu.Recommendation, error)
	// Generate continues a text and gives each new token to emit; see scu.Generation.
	// Without it the routes refuse.
	Generate func(ctx context.Context, g scu.Generation, emit func(scu.Piece) error) (scu.Generated, error)

	// AdapterGGUF writes a stored adapter, trained on a model as Config.Base has it, to the file
	// out as GGUF, with weights of a type: f32, f16, bf16 or q8_0. Without it the route refuses.
	AdapterGGUF func(ctx context.Context, model string, key scu.AdapterKey, as, out string) error

	// HubData fetches a file of a Hugging Face data set, hf://datasets/owner/name/path, of
	// at most limit bytes, and returns where it lies and its address with the commit.
	// Without it such addresses are refused.
	HubData func(ctx context.Context, address string, limit int64) (path, pinned string, err error)

	// HubAdapter writes a zip of an adapter of the Hugging Face Hub, owner/name or
	// owner/name@revision, whose files have at most limit bytes, and returns its name with
	// the commit. Without it such names are refused.
	HubAdapter func(ctx context.Context, name string, limit int64, w io.Writer) (pinned string, err error)

	// DataDirs are the folders below which paths of training data may lie;
	// ModelDirs likewise for models, by default the same. Relative paths are
	// relative to the first. Without any, no path is allowed.
	DataDirs, ModelDirs []string
	// PrivateDirs are never read from, though they lie below the others: the folders
	// and files where the server keeps its own state and settings.
	PrivateDirs []string
	// AllowPrivateURLs lets data URLs lead to private addresses. Default false: with
	// it, whoever may submit can read what the server's network shows the server.
	AllowPrivateURLs bool
	// WebhookKey is what the secrets of webhooks are derived from: the same for all APIs of a
	// service, and known to nobody else. Without it there are no webhooks.
	WebhookKey []byte
	// Trainers lists the trainers that are there, as they were some moments ago at most.
	// Default: the broker is asked each time.
	Trainers func(context.Context) ([]scu.Presence, error)
	// Ageing is that of the queue, which a queued job's place is told by; see [scu.Due].
	Ageing time.Duration
	// MaxFileBytes bounds a data file, however it comes. Default 2 GiB.
	MaxFileBytes int64

	// Room returns an error, of code insufficient_storage, while nothing new can be taken
	// in. nil: there is always room.
	Room func() error

	// Key, where set, is an administrator's key beside those that the Broker keeps. As soon
	// as there is any, every request has to show one, as a bearer token, but those for what
	// holds no data: health, the documents and /. Without Key the server listens on loopback
	// only; without any, it only answers requests that name it as a loopback host.
	Key string

	// Limits are those of each owner whose keys have none; zero: there are none. What has no
	// owner is never limited.
	Limits scu.Limits
	// KeyRate is how many requests a second a key may make, with twice as many at once, and
	// AddressRate the same for an address that shows no key where one is needed. 0: as many
	// as come.
	KeyRate, AddressRate float64
	// TrustedProxies are believed when they say for whom they ask (X-Forwarded-For).
	TrustedProxies []netip.Prefix

	// Registry is where the API's metrics stand, and what GET /metrics shows, other
	// roles' of the process included. Default: one of its own.
	Registry *prometheus.Registry

	Version string       // told by /health and the documents
	Log     *slog.Logger // default slog.Default()

	patience time.Duration // see healthPatience; tests lengthen it
}

// DefaultMaxFileBytes bounds a data file where Options say nothing.
const DefaultMaxFileBytes = 2 << 30

// Server answers the API's requests.
type Server struct {
	o       Options
	log     *slog.Logger
	data    folders
	models  folders
	fetcher *http.Client
	monitor *monitor
	hooks   hooks
	keys    *keyring
	scopes  map[string]scu.Scope // what each route needs; see routeScopes
	huma    huma.API
	handler http.Handler

	quotas    quotas
	keyRate   *rates // nil: no bound
	strangers *rates // likewise, by address
	signIns   *rates
	proxies   proxies
	untrusted sync.Once // tells of a proxy that isn't among them
	asked     places    // requests that proxies ask, by whom they ask for

	sessionRoot []byte // with it the sessions of keys are signed; see sessionSecret
	ballast     []byte // for HeapFloor: counts as live, and takes no memory, since nobody touches it

	pins      pins
	checked   checked
	damaged   *damaged
	adoption  singleflight.Group
	adopted   atomic.Bool   // every file that is kept has an owner; see adopt
	checks    chan struct{} // has room for maxChecks: a check of data takes a place
	ggufs     halves        // downloads as GGUF
	ggufTurn  chan struct{} // has room for one, which is written
	streams   halves        // event streams
	closing   chan struct{} // closed when streams have to end
	closeOnce sync.Once
}

// setHuma makes huma's errors ours, and has it refuse Priority beside priority, or instead of it: package
// json would take one for the other. Variables are huma's only way to.
var setHuma = sync.OnceFunc(func() { huma.NewError, huma.ValidateStrictCasing = newError, true })

// New makes a server. It fails where a folder of the options isn't there.
func New(o Options) (*Server, error) {
	if o.Broker == nil || o.Store == nil || o.Files == nil || o.Preflight == nil {
		return nil, errors.New("api: Broker, Store, Files and Preflight are needed")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Trainers == nil {
		o.Trainers = o.Broker.Trainers
	}
	if o.MaxFileBytes == 0 {
		o.MaxFileBytes = DefaultMaxFileBytes
	}
	if o.patience == 0 {
		o.patience = healthPatience
	}
	if o.ModelDirs == nil {
		o.ModelDirs = o.DataDirs
	}
	s := &Server{o: o, checked: checked{look: o.Store.Check}, log: slog.New(requestLog{o.Log.Handler()}), fetcher: newFetcher(o.AllowPrivateURLs), hooks: newHooks(o.AllowPrivateURLs), pins: pins{held: map[string]int{}, going: map[string]bool{}}, checks: make(chan struct{}, maxChecks), ggufs: halves{what: "downloads as GGUF", most: mostGGUF}, streams: halves{what: "event streams", most: maxStreams}, ggufTurn: make(chan struct{}, 1), closing: make(chan struct{})}
	var err error
	if s.data, err = newFolders(o.DataDirs, o.PrivateDirs); err != nil {
		return nil, fmt.Errorf("api: data folders: %w", err)
	}
	if s.models, err = newFolders(o.ModelDirs, o.PrivateDirs); err != nil {
		return nil, fmt.Errorf("api: model folders: %w", err)
	}
	if o.Registry == nil {
		o.Registry = telemetry.NewRegistry(o.Version)
	}
	s.ballast = make([]byte, o.HeapFloor)
	s.damaged = newDamaged(o.Broker, s.log)
	s.monitor = newMonitor(o.Registry, service{o.Store, o.Broker, s.damaged, o.patience})

	s.keys = newKeyring(o.Broker, s.log)
	if s.sessionRoot = []byte(o.Key); len(s.sessionRoot) == 0 {
		s.sessionRoot = o.WebhookKey
	}
	if len(s.sessionRoot) == 0 { // sessions end with this process
		s.sessionRoot = make([]byte, sha256.Size)
		rand.Read(s.sessionRoot)
	}

	e := echo.New()
	s.proxies = o.TrustedProxies
	s.keyRate, s.strangers = newRates(o.KeyRate), newRates(o.AddressRate)
	s.signIns = &rates{each: rate.Every(signInEvery), burst: signInBurst, buckets: map[string]*rate.Limiter{}}
	e.IPExtractor = s.proxies.who()
	e.HTTPErrorHandler = s.routingError
	e.Use(otelecho.Middleware("scu", otelecho.WithSkipper(untraced)), s.observe, echo.WrapMiddleware(secureHeaders), s.share, s.guard, s.keepRoom, onceEach, echo.WrapMiddleware(decompress))

	setHuma()
	s.huma = humaecho.NewV4(e, s.document())
	s.routes()
	if err := s.pages(e); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	openai.Register(e, &openaiService{s})
	s.scopes = routeScopes(e.Routes())
	s.handler = e
	return s, nil
}

// ServeHTTP answers one request. HEAD is GET without the body, which net/http leaves
// out by its own copy of the request; event streams, which don't end, have none.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead && !strings.HasSuffix(r.URL.Path, "/events") {
		r = r.WithContext(r.Context())
		r.Method = http.MethodGet
	}
	s.handler.ServeHTTP(w, plainPath(r))
}

// document begins the OpenAPI document. Routes add themselves to it.
func (s *Server) document() huma.Config {
	c := huma.DefaultConfig("SCU training API", s.o.Version)
	c.CreateHooks = nil // no $schema fields in the answers
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	c.RejectUnknownQueryParameters = true
	c.Info.Description = "Fine-tunes causal language models with LoRA under a Shannon Control Unit. Below /v1 the server also answers OpenAI's API (files, fine_tuning.jobs, models, completions, chat.completions), whose specification is OpenAI's own: it is not repeated here."
	c.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[refusal](), reflect.TypeFor[client.ErrorBody]())
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer",
		Description: "An API key, if the server has any. Its scope is what it allows: read looks at what its owner has, submit makes and changes it too, admin does everything and sees everybody's. What is another owner's is not found"}}
	return c
}

// reply is an answer with a JSON body.
type reply[T any] struct{ Body T }

func answer[T any](body T) *reply[T] { return &reply[T]{body} }

// handle registers an operation.
func handle[I, O any](s *Server, method, path, id, summary string, h func(context.Context, *I) (*O, error)) {
	op := huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: http.StatusOK}
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, s.outward(ctx, id, err)
		}
		return out, nil
	})
}

func (s *Server) routes() {
	handle(s, http.MethodPost, "/jobs/submit", "submit-job", "Submit a training job", s.submit)
	handle(s, http.MethodPost, "/jobs/batch", "submit-batch", "Submit up to 1,000 training jobs: all or none", s.submitBatch)
	handle(s, http.MethodGet, "/jobs", "list-jobs", "List jobs, newest first", s.list)
	handle(s, http.MethodGet, "/jobs/counts", "count-jobs", "Count the jobs of each status", s.counts)
	handle(s, http.MethodGet, "/jobs/{id}", "get-job", "Everything known of a job, its configuration included", s.job)
	handle(s, http.MethodGet, "/jobs/{id}/status", "job-status", "Show a job's status", s.status)
	handle(s, http.MethodPost, "/jobs/{id}/cancel", "cancel-job", "Cancel a job; twice is once", s.cancel)
	handle(s, http.MethodPost, "/jobs/{id}/stop", "stop-job", "End a running job now and keep what it has learned: it completes with its adapter. Twice is once", s.stop)
	handle(s, http.MethodPost, "/jobs/{id}/pause", "pause-job", "Take a job out of the queue, and from its trainer, until it is resumed. Twice is once", s.pause)
	handle(s, http.MethodPost, "/jobs/{id}/resume", "resume-job", "Queue a paused job again, or a scheduled one now", s.resume)
	handle(s, http.MethodPost, "/jobs/{id}/retry", "retry-job", "Queue a job again that failed or was cancelled: from its last checkpoint, or anew", s.retry)
	handle(s, http.MethodPost, "/jobs/retry", "retry-jobs", "Queue many jobs again: those named, given up, or failed with a code", s.retryAll)
	handle(s, http.MethodDelete, "/jobs/{id}", "delete-job", "Delete a job that has ended, with its metrics, adapter and checkpoints", s.deleteJob)
	handle(s, http.MethodGet, "/jobs/{id}/history", "job-history", "What a job went through: states, phases, attempts, checkpoints, each with its time", s.history)
	handle(s, http.MethodGet, "/jobs/{id}/metrics", "job-metrics", "Every step of a job, in pages; or thinned, for a chart", s.metrics)
	handle(s, http.MethodGet, "/jobs/{id}/curves", "job-curves", "What a chart of a job draws: losses, S and lambda over at most so many steps, no peak lost", s.curves)
	handle(s, http.MethodGet, "/jobs/{id}/metrics.csv", "job-metrics-csv", "Every step of a job so far, as CSV", s.metricsCSV)
	handle(s, http.MethodGet, "/jobs/{id}/events", "job-events", "A job's states and metrics as server-sent events: what was, then what comes, until the job ends", s.events)
	handle(s, http.MethodGet, "/jobs/{id}/adapter", "job-adapter", "The trained adapter, a zip", s.adapter)
	handle(s, http.MethodGet, "/jobs/{id}/adapter.gguf", "job-adapter-gguf", "The trained adapter as one GGUF file, for llama.cpp's --lora", s.gguf)
	handle(s, http.MethodGet, "/jobs/{id}/checkpoints", "job-checkpoints", "The adapters that a job kept at validations, also if it failed or was cancelled", s.checkpoints)
	handle(s, http.MethodGet, "/jobs/{id}/checkpoints/{step}", "job-checkpoint", "The adapter as it was after a step, a zip", s.checkpoint)
	handle(s, http.MethodPost, "/files", "upload-file", "Upload training data", s.upload)
	handle(s, http.MethodGet, "/files", "list-files", "List the files that the server keeps, in the order of their ids", s.listFiles)
	handle(s, http.MethodDelete, "/files/{id}", "delete-file", "Delete a file that no queued or running job needs", s.deleteFile)
	handle(s, http.MethodPost, "/data/check", "check-data", "What becomes of a data file in training: counts, every refused or odd line, the first blocks as tokens. Nothing is kept", s.checkData)
	handle(s, http.MethodPost, "/estimate", "estimate", "What a job will take on the server's machine: parameters, peak memory, time. Nothing is kept", s.estimate)
	handle(s, http.MethodPost, "/jobs/validate", "validate-job", "Everything that is to be said of a job before it is submitted: errors, warnings, suggestions. Nothing is kept", s.validate)
	handle(s, http.MethodPost, "/recommend", "recommend", "The settings of a job by its model and data, each with its reason. Nothing is kept", s.recommend)
	handle(s, http.MethodPost, "/webhooks", "add-webhook", "Have an address told when jobs change; the answer alone has its secret", s.addWebhook)
	handle(s, http.MethodGet, "/webhooks", "list-webhooks", "List webhooks, oldest first", s.listWebhooks)
	handle(s, http.MethodDelete, "/webhooks/{id}", "remove-webhook", "Remove a webhook: what it was not told of yet it never is", s.removeWebhook)
	handle(s, http.MethodPost, "/webhooks/{id}/test", "test-webhook", "Send a webhook a test message now, and answer with what became of it", s.testWebhook)
	handle(s, http.MethodGet, "/webhooks/{id}/deliveries", "list-deliveries", "The newest tries to tell a webhook, newest first", s.deliveries)
	handle(s, http.MethodPost, "/comparisons", "compare", "Train under several settings and seeds, as jobs, and compare; the same under the same name goes on", s.compare)
	handle(s, http.MethodGet, "/comparisons", "list-comparisons", "List comparisons, newest first", s.listComparisons)
	handle(s, http.MethodGet, "/comparisons/{id}", "get-comparison", "A comparison as it stands: its runs, the table, what may be concluded, the best setting", s.comparison)
	handle(s, http.MethodPost, "/comparisons/{id}/cancel", "cancel-comparison", "Cancel all jobs of a comparison that have not ended; twice is once", s.cancelComparison)
	handle(s, http.MethodPost, "/comparisons/{id}/resume", "resume-comparison", "Go on with a comparison: jobs that failed, were cancelled or are missing begin anew", s.resumeComparison)
	handle(s, http.MethodGet, "/events", "all-events", "What happens to all jobs from now on, as server-sent events", s.allEvents)
	handle(s, http.MethodGet, "/session", "session", "Whether this browser has to sign in", s.session)
	handle(s, http.MethodPost, "/session", "sign-in", "Sign a browser in with the API key: it gets a cookie that its scripts can't read", s.signIn)
	handle(s, http.MethodDelete, "/session", "sign-out", "Sign a browser out", s.signOut)
	handle(s, http.MethodGet, "/gc", "plan-gc", "What the retention policy lets go now, and why", s.gc(s.o.Retention))
	handle(s, http.MethodPost, "/gc", "gc", "Remove what the retention policy lets go. Files take some 20 s: a submission may still save them", s.gc(s.o.Collect))
	handle(s, http.MethodGet, "/blobs", "list-damaged", "The stored data, adapters and checkpoints that are known to be damaged, and when all were read last", s.blobs)
	handle(s, http.MethodPost, "/blobs/verify", "verify-blobs", "Read all stored blobs now, at the server's rate; GET /blobs tells how far that is", s.verifyBlobs)
	handle(s, http.MethodPut, "/blobs/{sha256}", "mend-blob", "Put these bytes in the place of all damaged blobs that should have them", s.putBlob)
	handle(s, http.MethodPost, "/keys", "create-key", "Make an API key; the answer alone has the key itself", s.createKey)
	handle(s, http.MethodGet, "/keys", "list-keys", "List API keys, oldest first", s.listKeys)
	handle(s, http.MethodDelete, "/keys/{id}", "revoke-key", "Revoke an API key: its sessions and what it has open end within a second or so", s.revokeKey)
	handle(s, http.MethodPost, "/queue/pause", "pause-queue", "Hand out no jobs until the queue is resumed; those that run go on", s.haltQueue(true, "The queue is paused"))
	handle(s, http.MethodPost, "/queue/resume", "resume-queue", "Hand out jobs again", s.haltQueue(false, "The queue hands out jobs"))
	handle(s, http.MethodPost, "/trainers/{id}/drain", "drain-trainer", "Let a trainer take no more jobs after the one that it runs", s.drain(true, "Trainer %s takes no more jobs"))
	handle(s, http.MethodPost, "/trainers/{id}/resume", "resume-trainer", "Let a drained trainer take jobs again", s.drain(false, "Trainer %s takes jobs"))
	handle(s, http.MethodGet, "/trainers", "list-trainers", "The live trainers: what each takes, runs and has", s.trainers)
	handle(s, http.MethodGet, "/health", "health", "Whether the service works: the log and the queue, the database, and the projector, each tried", s.health)
	handle(s, http.MethodGet, "/readyz", "ready", "The same as /health, for a load balancer", s.health)
	handle(s, http.MethodGet, "/livez", "live", "Whether the process answers", s.live)
	s.documentStreams()
}
