package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api"
	"github.com/shannon-control/scu/atomicfile"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/retention"
	"github.com/shannon-control/scu/scrub"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/postgres"
	"github.com/shannon-control/scu/store/sqlite"
	"github.com/shannon-control/scu/telemetry"
	"github.com/shannon-control/scu/trainer"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/estimate"
	"github.com/shannon-control/scu/trainer/generate"
	"github.com/shannon-control/scu/trainer/gguf"
	"github.com/shannon-control/scu/trainer/trial"
)

// process is what the roles of one process share. Its methods open one part each;
// close closes what was opened, the last part first.
type process struct {
	role    string
	set     Settings
	log     *slog.Logger
	nats    *embedded.Server // nil where NATS is elsewhere
	broker  *broker.Broker
	gc      *retention.Collector // nil without a policy
	scrub   *scrub.Scrubber
	blobs   scu.Blobs       // nil where NATS keeps them
	arbiter *broker.Arbiter // what trainers ask
	store   store.Store
	watch   *prometheus.Registry // what Prometheus is told, of all roles
	counts  *broker.Monitor      // of all connections
	trials  *trial.Program       // tries models of others
	closers []func()

	beside bool                                          // a serve, whose data folder is this one's
	disk   func(dir string) (free, size uint64, ok bool) // diskRoom; tests replace it
}

func (p *process) onClose(f func()) { p.closers = append(p.closers, f) }

func (p *process) close() {
	for _, f := range slices.Backward(p.closers) {
		f()
	}
}

// newProcess makes the data folder, the log, and what the process is watched by.
func newProcess(ctx context.Context, role string, s Settings) (*process, error) {
	p := &process{role: role, set: s, disk: diskRoom}
	var err error
	if p.set.Data, err = filepath.Abs(s.Data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.set.Data, 0o700); err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "the data folder: %w", err).WithHint("choose another with --data")
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return nil, err
	}
	o := &slog.HandlerOptions{Level: level}
	handlers := []slog.Handler{slog.NewTextHandler(os.Stderr, o)}
	if s.LogsDir != "" {
		f, err := openLog(s.LogsDir)
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "the log folder: %w", err).WithHint("choose another with --logs-dir")
		}
		p.onClose(func() { f.Close() })
		handlers = append(handlers, slog.NewJSONHandler(f, o))
	}
	p.log = slog.New(slog.NewMultiHandler(handlers...))
	warnOfHandles(p.log)
	if p.trials, err = newTrials(); err != nil {
		return nil, err
	}
	p.watch = telemetry.NewRegistry(version())
	p.counts = broker.NewMonitor(p.watch)
	untrace, err := telemetry.Trace(ctx, role, version())
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "OpenTelemetry: %w", err).WithHint("check the OTEL_EXPORTER_OTLP_ variables")
	}
	p.onClose(untrace)
	p.openScratch()
	return p, nil
}

func openLog(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "scu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// natsLogin is the file in the data folder that tells trainers beside a serve how
// to log in to its NATS. Whoever can read the folder can do all that serve can.
const natsLogin = "nats-url"

// startNATS starts the embedded NATS server, which also locks the data folder, and
// connects to it.
func (p *process) startNATS(ctx context.Context) (err error) {
	p.nats, err = embedded.Start(embedded.Config{Rights: broker.Rights, Dir: filepath.Join(p.set.Data, "nats"), Listen: p.set.NATSListen, Log: p.log})
	if scu.CodeOf(err) == scu.CodeConflict && p.set.NATSListen == "" {
		return scu.Errorf(scu.CodeConflict, "another scu uses the data folder %s", p.set.Data).
			WithHint("stop it, or give this one a folder of its own with --data")
	}
	if err != nil {
		return err
	}
	p.onClose(p.nats.Close)
	path := filepath.Join(p.set.Data, natsLogin)
	os.Remove(path) // of a server that was killed
	if p.set.NATSListen != "" {
		if err := atomicfile.WriteBytes(path, 0o600, []byte(p.nats.UserURL(broker.OperatorUser)+"\n")); err != nil {
			return fmt.Errorf("tell trainers of the NATS address: %w", err)
		}
		p.onClose(func() { os.Remove(path) })
	}
	if p.broker, err = p.connect(ctx, broker.OperatorUser); err != nil {
		return err
	}
	return p.broker.Setup(ctx)
}

// dialNATS connects to the NATS server of the settings, or to that of a serve on
// the same data folder, and waits for it where it isn't up yet.
func (p *process) dialNATS(ctx context.Context) error {
	if p.set.NATSURL == "" {
		b, err := os.ReadFile(filepath.Join(p.set.Data, natsLogin))
		if err != nil {
			return scu.Errorf(scu.CodeInvalid, "no NATS server to connect to").
				WithHint("set SCU_NATS_URL; or start scu serve with --nats-listen, and this on the same data folder")
		}
		p.set.NATSURL, p.beside = strings.TrimSpace(string(b)), true
		if p.set.FilesDir == "" && p.set.Blobs == "" {
			p.set.FilesDir = p.set.within("", "files")
		}
	}
	return p.patiently(ctx, func() (err error) {
		p.broker, err = p.connect(ctx, "")
		return err
	})
}

// connect makes one connection to NATS, closed with the process. user is for the
// embedded server; elsewhere it is part of the URL.
func (p *process) connect(ctx context.Context, user string) (*broker.Broker, error) {
	return p.connectTo(ctx, p.set.NATSURL, user)
}

func (p *process) connectTo(ctx context.Context, url, user string) (*broker.Broker, error) {
	o := broker.Options{URL: url, User: user, AckWait: p.set.ClaimTime, Rescan: min(10*time.Second, p.set.ClaimTime/2), Ageing: p.set.Ageing, Replicas: p.set.Replicas, Log: p.log, Monitor: p.counts}
	o.Blobs = p.blobs
	o.LogBytes, o.MetricsBytes, o.MetricsAge, o.StoreBytes = p.set.LogMaxBytes, p.set.MetricsMaxBytes, p.set.MetricsMaxAge, p.set.StoreMaxBytes
	if p.nats != nil {
		o.Server, o.Replicas = p.nats, 1
	}
	b, err := broker.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	p.onClose(b.Close)
	return b, nil
}

// patiently calls f until it succeeds, where what fails may be that another role
// isn't up yet.
func (p *process) patiently(ctx context.Context, f func() error) error {
	for {
		err := f()
		if scu.CodeOf(err) != scu.CodeUnavailable {
			return err
		}
		p.log.Warn("waiting for the other roles", "error", err)
		if err := scu.Sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
}

// openStore opens the read model.
func (p *process) openStore(ctx context.Context) (err error) {
	if p.set.DBURL != "" {
		p.store, err = postgres.Open(ctx, p.set.DBURL)
	} else {
		p.store, err = p.openSQLite(ctx, p.set.within(p.set.DBPath, "scu.db"))
	}
	if err == nil {
		p.onClose(func() { p.store.Close() })
	}
	return err
}

// openSQLite opens the file. A damaged one is moved aside by who keeps it, and waited for
// by others: it holds nothing that the log hasn't.
func (p *process) openSQLite(ctx context.Context, path string) (store.Store, error) {
	s, err := sqlite.Open(ctx, path)
	if scu.CodeOf(err) == scu.CodeDamaged {
		if p.role == "api" {
			return nil, scu.Errorf(scu.CodeUnavailable, "the read model is damaged, and the projector makes it anew: %w", err)
		}
		p.log.Error("the read model is damaged: it is moved aside and made anew from the log", "file", path, "error", err)
		if err := sqlite.SetAside(path); err != nil {
			return nil, err
		}
		s, err = sqlite.Open(ctx, path)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// readModel names the read model for people, without what logs in to it.
func (p *process) readModel() string {
	if p.set.DBURL != "" {
		return "PostgreSQL"
	}
	return p.set.within(p.set.DBPath, "scu.db")
}

// bases finds base models.
func (p *process) bases() *base.Finder {
	folders := p.set.ModelDirs
	if folders == nil {
		folders = p.set.DataDirs
	}
	return &base.Finder{Dir: p.set.within("", "models"), Hub: newHub(p.set), Folders: folders, Try: p.trials.Try, Contained: true}
}

// presenceAge is how old what is known of the trainers may be when a job is placed or told
// of: each question makes a consumer in NATS. They say every 5 s that they are there.
const presenceAge = 500 * time.Millisecond

// heapFloor is an API's alone: serve has trainers beside it, whose memory is planned. Whoever
// sets the collector has their way.
func (p *process) heapFloor() int64 {
	if p.role != "api" || os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	return api.HeapFloor
}

// newAPI makes the API's server.
func (p *process) newAPI() (*api.Server, error) {
	f, err := p.openFiles()
	if err != nil {
		return nil, err
	}
	threads := p.threadsEach()
	trainers := scu.Recently(presenceAge, p.broker.Trainers)
	preflight := &trainer.Preflight{
		Bases: p.bases(), Files: f, CacheDir: p.set.within("", "cache"), CacheBytes: p.set.CacheBytes,
		Trainers:    p.livingTrainers(trainers),
		Calibration: &estimate.Calibration{Device: devices.Default(threads)},
	}
	if err := os.MkdirAll(preflight.CacheDir, 0o700); err != nil {
		return nil, err
	}
	// The API's machine may have no GPU, and one that it has is the trainer's.
	engine := generate.NewEngine(preflight.Bases, p.broker, devices.CPU(threads), p.log)
	p.onClose(engine.Close)
	private := append(secretFiles(), p.set.Data)
	stored, _ := p.set.blobsDir()
	for _, path := range []string{stored, p.set.FilesDir, p.set.AdaptersDir, p.set.CheckpointsDir, p.set.LogsDir, p.set.DBPath, p.set.file} {
		if path != "" {
			private = append(private, path)
		}
	}
	hooks, err := p.webhookKey()
	if err != nil {
		return nil, err
	}
	trusted, err := api.ParseProxies(p.set.TrustedProxies)
	if err != nil {
		return nil, scu.AsError(err).At("trusted-proxies")
	}
	p.gc, p.scrub = p.collector(f), p.scrubber(f)
	var plan, collect func(context.Context) ([]scu.Collected, error)
	if asked := p.collector(f); asked != nil { // of its own: a step of the clock that it was told of is news to the hourly one
		plan, collect = asked.Plan, asked.Collect
	}
	if p.arbiter, err = broker.NewArbiter(p.broker, f); err != nil {
		return nil, err
	}
	s, err := api.New(api.Options{
		Retention: plan, Collect: collect,
		Blobs: p.scrub.Blobs, Verify: p.scrub.Ask,
		Broker: p.broker, Store: p.store, Files: f, HeapFloor: p.heapFloor(),
		Preflight: preflight.Validate, CheckData: preflight.CheckData, Estimate: preflight.Estimate, Recommend: preflight.Recommend,
		Generate:    engine.Generate,
		AdapterGGUF: gguf.Exporter{Bases: preflight.Bases, Adapters: p.broker}.Write,
		HubData:     preflight.Bases.DataFile,
		HubAdapter:  preflight.Bases.AdapterZip,
		DataDirs:    p.set.DataDirs, ModelDirs: p.set.ModelDirs, PrivateDirs: private,
		AllowPrivateURLs: p.set.AllowPrivateURLs, WebhookKey: hooks, MaxFileBytes: p.set.MaxFileBytes, Room: func() error { return p.roomBeside(p.set.Data, 1, 0) },
		Limits:  scu.Limits{Queued: p.set.OwnerMaxQueued, Running: p.set.OwnerMaxRunning, Files: p.set.OwnerMaxFiles, Bytes: p.set.OwnerMaxBytes},
		KeyRate: p.set.KeyRate, AddressRate: p.set.AddressRate, TrustedProxies: trusted,
		Key: p.set.APIKey, Ageing: p.set.Ageing, Trainers: trainers, Registry: p.watch, Version: version(), Log: p.log,
	})
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "%w", err).WithHint("check --data-dirs and --model-dirs")
	}
	return s, nil
}

// livingTrainers lists the trainers that are there; none if that can't be asked.
func (p *process) livingTrainers(ask func(context.Context) ([]scu.Presence, error)) func(context.Context) []scu.Presence {
	return func(ctx context.Context) []scu.Presence {
		trainers, err := ask(ctx)
		if err != nil {
			p.log.Warn("what trainers are there isn't known", "error", err)
		}
		return trainers
	}
}

// listen opens the API's address.
func (p *process) listen() (net.Listener, error) {
	if err := api.CheckListen(p.set.Listen, p.set.APIKey); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", p.set.Listen)
	if err != nil {
		return nil, scu.Errorf(scu.CodeConflict, "the API's address can't be used: %w", err).
			WithHint("stop the program that listens there, or choose another address with --listen")
	}
	return l, nil
}

// threadsEach shares the threads among the trainers.
func (p *process) threadsEach() int {
	n := p.set.Threads
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return max(1, n/p.set.MaxConcurrentJobs)
}

// mostOf is how much of a device's memory a trainer may take; 0: all. The CPU's is the host's.
func (s *Settings) mostOf(kind devices.Kind) int64 {
	if kind.Scratch == nil {
		return 0
	}
	return s.GPUMemory << 20
}

// devices are what the process's trainers compute on: each GPU, or the CPU as many times as jobs may run side by
// side.
func (p *process) devices() ([]devices.Kind, error) {
	kinds, err := devices.All(p.threadsEach(), p.set.GPUs...)
	if err != nil {
		return nil, scu.Errorf(scu.CodeUnavailable, "%w", err).WithHint("scu doctor says what was found; " + devices.Variable + "=cpu trains on the CPU")
	}
	for i := range kinds {
		kinds[i].Most = p.set.mostOf(kinds[i])
	}
	if kinds[0].Class == "cpu" {
		for len(kinds) < p.set.MaxConcurrentJobs {
			kinds = append(kinds, kinds[0])
		}
	}
	return kinds, nil
}

// newTrainer makes one trainer.
func (p *process) newTrainer(l link, name string, kind devices.Kind, monitor *trainer.Monitor) (*trainer.Trainer, error) {
	checkpoints := p.set.within(p.set.CheckpointsDir, "checkpoints")
	return trainer.New(trainer.Config{
		Name: name, Broker: l.broker, Files: l.files, Bases: p.bases(),
		Device:        kind,
		CacheDir:      p.set.within("", "cache"),
		CacheBytes:    p.set.CacheBytes,
		TuneGPU:       p.set.TuneGPU,
		CheckpointDir: checkpoints,
		Checkpoints:   l.checkpoints,
		Room:          p.storeRoom(), CheckpointRoom: p.roomForJobs(checkpoints),
		Log: p.log, Monitor: monitor, Version: version(),
	})
}

// serveTrainer begins the names of a serve's trainers; a number follows.
const serveTrainer = "serve-"

// takeBack queues the jobs that a serve on this data folder left when it was killed:
// the folder is locked, so its trainers are dead. Others' may live on, which come over
// the network.
func (p *process) takeBack(ctx context.Context) {
	taken, err := p.broker.TakeBack(ctx, func(j scu.Job) bool {
		n, own := strings.CutPrefix(j.Trainer, serveTrainer)
		if own {
			_, err := strconv.Atoi(n)
			own = err == nil
		}
		return p.set.NATSListen == "" || own && j.Status == scu.Running
	})
	if len(taken) > 0 {
		p.log.Info("jobs that were interrupted go on first", "jobs", taken)
	}
	if err != nil {
		p.log.Warn("jobs that were interrupted go on when their claims end", "error", err)
	}
}

// trainers makes the trainers of a serve, each with the rights of a trainer only.
func (p *process) trainers(ctx context.Context) ([]*trainer.Trainer, error) {
	kinds, err := p.devices()
	if err != nil {
		return nil, err
	}
	monitor := trainer.NewMonitor(p.watch)
	var all []*trainer.Trainer
	for i, kind := range kinds {
		name := serveTrainer + strconv.Itoa(i+1)
		b, err := p.connect(ctx, broker.TrainerUser(name))
		if err != nil {
			return nil, err
		}
		l, err := p.asking(b, name, name)
		if err != nil {
			return nil, err
		}
		t, err := p.newTrainer(l, name, kind, monitor)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// remoteTrainers makes the trainers of a trainer's process; ping asks whether what they
// need of the service works.
func (p *process) remoteTrainers(ctx context.Context) (all []*trainer.Trainer, ping func(context.Context) error, err error) {
	name, monitor := p.trainerName(), trainer.NewMonitor(p.watch)
	kinds, err := p.devices()
	if err != nil {
		return nil, nil, err
	}
	for i, kind := range kinds {
		n := name
		if i > 0 {
			n = fmt.Sprintf("%s-%d", name, i+1)
		}
		l, err := p.linkTrainer(ctx, name, n)
		if err != nil {
			return nil, nil, err
		}
		t, err := p.newTrainer(l, n, kind, monitor)
		if err != nil {
			return nil, nil, err
		}
		all, ping = append(all, t), l.ping
	}
	return all, ping, nil
}

// trainerName is the set name, else the one that the NATS user is allowed to use,
// else the host's with the process id.
func (p *process) trainerName() string {
	if p.set.TrainerName != "" {
		return p.set.TrainerName
	}
	if name := broker.URLTrainer(p.set.NATSURL); name != "" {
		return name
	}
	host, err := os.Hostname()
	if err != nil {
		host = "trainer"
	}
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, host)
	return fmt.Sprintf("%.40s-%d", host, os.Getpid())
}
