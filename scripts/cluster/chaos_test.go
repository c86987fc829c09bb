//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
)

var (
	chaosTime    = flag.Duration("chaos.time", 10*time.Second, "how long TestChaos makes faults")
	chaosSeed    = flag.Uint64("chaos.seed", 1, "which faults, and when")
	chaosOnly    = flag.String("chaos.only", "", "faults whose name matches this regular expression")
	chaosCluster = flag.Bool("chaos.cluster", false, "of compose.cluster.yaml: three NATS servers, two APIs and projectors, three trainers, on small disks")
	chaosClock   = flag.Bool("chaos.clock", false, "with clocks that can be stepped: builds a standard library for that")
)

// kinds of jobs that are asked for again and again: each has one right adapter.
const kinds = 4

// chaos is a cluster to which things are done while clients use it.
type chaos struct {
	*cluster
	t        *testing.T
	rng      *rand.Rand // of the faults; clients have their own
	began    time.Time
	sdks     []*client.Client // of each API one for all: an address has a bounded number of connections
	data     string           // id of the training data
	operator *broker.Broker   // reaches NATS past all lines
	js       jetstream.JetStream
	disks    disks
	clocks   func(service string) (file string) // nil: they can't be stepped
	calm     func()                             // is called after each fault, when the service is healthy again

	busy    map[string]bool // processes that something is done to
	cutWays map[way]bool

	mu      sync.Mutex // over what follows
	h       history
	poisons int
}

// Whatever goes wrong, whatever was acknowledged holds; see history.
func TestChaos(t *testing.T) {
	x := newChaos(t, nil, nil)
	t.Logf("seed %d, %v of faults", *chaosSeed, *chaosTime)
	for kind := range kinds { // what an undisturbed run gives
		x.waitFor(x.submit(t.Context(), x.data, kind, 0, fmt.Sprint("undisturbed-", kind)))
	}
	ctx, stop := context.WithTimeout(t.Context(), *chaosTime)
	defer stop()
	var clients sync.WaitGroup
	for n := range 3 {
		clients.Go(func() { x.use(ctx, n) })
	}
	x.disturb(ctx, faults)
	clients.Wait()
	x.end()
}

// newChaos starts the cluster, with more settings and arguments of its processes, and connects to it.
func newChaos(t *testing.T, more, args func(service string) []string) *chaos {
	dir := t.TempDir()
	o := options{files: []string{"../../compose.yaml"}, dir: filepath.Join(dir, "cluster"), scu: filepath.Join(dir, "scu"), lines: true, args: args}
	if *chaosCluster {
		o.files = append(o.files, "../../compose.cluster.yaml")
	}
	x := &chaos{t: t, rng: rand.New(rand.NewPCG(*chaosSeed, 1)), began: time.Now(), busy: map[string]bool{}, cutWays: map[way]bool{},
		h: history{accepted: map[string]string{}, poisoned: map[string]bool{}, cancelled: map[string]bool{}, seen: map[string][]scu.Status{}}}
	if *chaosClock {
		o.nats = filepath.Join(dir, "nats-server")
		buildStepped(t, dir, map[string]string{o.scu: "../../cmd/scu", o.nats: "github.com/nats-io/nats-server/v2"})
		x.clocks = func(service string) string { return filepath.Join(dir, "clock-"+service) }
	} else {
		buildSCU(t, o.scu)
	}
	o.env = func(service string) []string {
		if service == "postgres" {
			if x.clocks == nil {
				return nil
			}
			setFaked(t, x.clocks(service), 0)
			return fakedClock(t, x.clocks(service))
		}
		env := []string{"SCU_CLAIM_TIME=" + claimTime.String(), "SCU_THREADS=1"}
		if more != nil {
			env = append(env, more(service)...)
		}
		if x.clocks != nil {
			setClock(t, x.clocks(service), 0)
			env = append(env, clockVariable+"="+x.clocks(service))
		}
		return env
	}
	if *chaosCluster {
		var ok bool
		if x.disks, ok = newDisks(t); ok {
			o.disk = x.disks.mount
		} else {
			t.Log("this user can't mount: no disk gets full")
		}
	}
	var err error
	x.cluster, err = start(t.Context(), o)
	check(t, err)
	t.Cleanup(x.stop)
	x.sdks = x.clients()
	url, err := os.ReadFile(x.secret("nats-operator"))
	check(t, err)
	x.operator, err = broker.Connect(t.Context(), broker.Options{URL: strings.TrimSpace(string(url))})
	check(t, err)
	t.Cleanup(x.operator.Close)
	nc, err := nats.Connect(strings.TrimSpace(string(url)), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	check(t, err)
	t.Cleanup(nc.Close)
	x.js, err = jetstream.New(nc)
	check(t, err)
	x.data = x.upload()
	return x
}

// end waits for every job and checks the history.
func (x *chaos) end() {
	x.mu.Lock()
	ids := slices.Sorted(maps.Keys(x.h.accepted))
	x.mu.Unlock()
	x.t.Logf("%d jobs accepted", len(ids))
	for _, id := range ids {
		x.waitFor(id)
	}
	x.collect()
	for _, wrong := range x.h.violations() {
		x.t.Error(wrong)
	}
	if x.t.Failed() {
		x.keepLogs()
	}
}

func (x *chaos) key() string {
	b, err := os.ReadFile(x.secret("api-key"))
	check(x.t, err)
	return strings.TrimSpace(string(b))
}

// clients are one of each API.
func (x *chaos) clients() (sdks []*client.Client) {
	for _, api := range x.named("api") {
		sdk, err := client.New(x.apiURL(api), x.key())
		check(x.t, err)
		sdks = append(sdks, sdk)
	}
	return sdks
}

// api is any of them.
func (x *chaos) api() *client.Client { return x.sdks[rand.IntN(len(x.sdks))] }

// patience is how long anything may take; in the soak while there are faults, too.
const (
	patience     = 2 * time.Minute
	soakPatience = 10 * time.Minute
)

// until calls f until it succeeds.
func (x *chaos) until(ctx context.Context, what string, f func(context.Context) error) {
	most := patience
	if *soakTime > 0 {
		most = soakPatience
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		try, done := context.WithTimeout(ctx, 10*time.Second)
		err := f(try)
		done()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			x.t.Errorf("%s: %v", what, err)
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (x *chaos) upload() (id string) {
	path := filepath.Join(x.t.TempDir(), "tale.txt")
	var text strings.Builder
	for n := range 80 {
		fmt.Fprintf(&text, "On day %d the ferry left at %d, and the river kept the time of %d bells.\n", n, n%24, n*7%12)
	}
	check(x.t, os.WriteFile(path, []byte(text.String()), 0o600))
	x.until(x.t.Context(), "upload", func(ctx context.Context) error {
		f, err := x.api().UploadFile(ctx, path, nil)
		id = f.ID
		return err
	})
	return id
}

// submit sends a submission, the same one until it is answered.
func (x *chaos) submit(ctx context.Context, data string, kind, priority int, key string) (id string) {
	r := client.SubmitRequest{BaseModel: "bookworm-2m", TrainDataPath: data, IdempotencyKey: key, Priority: priority,
		ConfigOverrides: map[string]any{"steps": 6 + 4*kind, "block_size": 128, "seed": kind, "checkpoint_every": 2,
			"lora": map[string]any{"r": 2, "alpha": 4}}} // small adapters: what jobs leave mustn't fill the small disks by itself
	x.until(context.WithoutCancel(ctx), "submit", func(ctx context.Context) error {
		got, err := x.api().Submit(ctx, r)
		id = got.JobID
		return err
	})
	x.mu.Lock()
	defer x.mu.Unlock()
	if id != "" {
		x.h.accepted[id] = fmt.Sprint("kind ", kind)
	}
	return id
}

// mostOpen is how many jobs of a client may wait or run: with a slow machine the queue would
// grow else, and its end be far.
const mostOpen = 5

// use is one client: it submits, cancels now and then, and looks.
func (x *chaos) use(ctx context.Context, n int) {
	rng := rand.New(rand.NewPCG(*chaosSeed, uint64(n)+100))
	var own, open []string // all, and those that aren't known to have ended
	for i := 0; ctx.Err() == nil; {
		open = slices.DeleteFunc(open, func(id string) bool { return x.look(ctx, id).Ended() })
		if len(open) < mostOpen {
			if id := x.submit(ctx, x.data, rng.IntN(kinds), 0, fmt.Sprintf("client-%d-%d", n, i)); id != "" {
				own, open = append(own, id), append(open, id)
			}
			i++
		}
		if len(own) == 0 {
			continue
		}
		if rng.IntN(8) == 0 {
			id := own[rng.IntN(len(own))]
			if _, err := x.api().Cancel(ctx, id); err == nil {
				x.mu.Lock()
				x.h.cancelled[id] = true
				x.mu.Unlock()
			}
		}
		for range 20 {
			x.look(ctx, own[rng.IntN(len(own))])
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rng.IntN(150)) * time.Millisecond):
			}
		}
	}
}

// look asks for a job's status and notes what was answered.
func (x *chaos) look(ctx context.Context, id string) scu.Status {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// The note is taken in the order of the questions: one at a time.
	x.mu.Lock()
	defer x.mu.Unlock()
	s, err := x.api().Status(ctx, id)
	if err != nil {
		return ""
	}
	if seen := x.h.seen[id]; len(seen) == 0 || seen[len(seen)-1] != s.Status {
		x.h.seen[id] = append(seen, s.Status)
	}
	return s.Status
}

func (x *chaos) waitFor(id string) {
	x.until(x.t.Context(), "the end of job "+id, func(ctx context.Context) error {
		if s := x.look(ctx, id); !s.Ended() {
			return fmt.Errorf("it is %q", s)
		}
		return nil
	})
}

// tally is what became of one kind of fault.
type tally struct {
	runs    int
	slowest time.Duration // until every API was healthy again
	ended   int           // processes that ended by themselves and were started again
}

// disturb makes every fault in an order that the seed gives, again and again until ctx
// ends, now and then two at a time, and mends them. It prints what became of each.
func (x *chaos) disturb(ctx context.Context, faults []fault) {
	only := regexp.MustCompile(*chaosOnly)
	table := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !only.MatchString(f.name) })
	done := map[string]*tally{}
	for _, f := range table {
		done[f.name] = &tally{}
	}
	var deck []fault
	for ctx.Err() == nil {
		if len(deck) == 0 {
			deck = slices.Clone(table)
			x.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		n := 1
		if len(deck) > 1 && x.rng.IntN(5) == 0 {
			n = 2
		}
		x.round(ctx, deck[:n], done)
		deck = deck[n:]
	}
	var report strings.Builder
	fmt.Fprintf(&report, "seed %d\n%-45s %4s  %s\n", *chaosSeed, "fault", "runs", "healthy again after, at most")
	for _, f := range table {
		d := done[f.name]
		outcome := "not tried"
		if d.runs > 0 {
			outcome = fmt.Sprintf("%5.1f s", d.slowest.Seconds())
		}
		if d.ended > 0 {
			outcome += fmt.Sprintf("; %d processes ended and were started again", d.ended)
		}
		fmt.Fprintf(&report, "%-45s %4d  %s\n", f.name, d.runs, outcome)
	}
	x.t.Log(report.String())
}

// round makes faults, mends them after a while, and waits until the service is healthy.
func (x *chaos) round(ctx context.Context, faults []fault, done map[string]*tally) {
	pause, lasts := time.Duration(x.rng.IntN(1000))*time.Millisecond, time.Duration(x.rng.IntN(5000))*time.Millisecond
	select {
	case <-ctx.Done():
		return
	case <-time.After(pause):
	}
	clear(x.busy)
	clear(x.cutWays)
	var mend []func()
	for _, f := range faults {
		whom, m := f.begin(x)
		if m == nil {
			continue
		}
		x.t.Logf("%6.2f s: %s: %s", time.Since(x.began).Seconds(), f.name, whom)
		done[f.name].runs++
		mend = append(mend, m)
		if f.lasts > 0 {
			lasts = f.lasts
		}
	}
	if mend == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(lasts):
	}
	for _, m := range slices.Backward(mend) {
		m()
	}
	mended := time.Now()
	ended := x.recover()
	for _, f := range faults {
		d := done[f.name]
		d.slowest, d.ended = max(d.slowest, time.Since(mended)), d.ended+ended
	}
	if x.calm != nil {
		x.calm()
	}
}

// recover waits until every API says that the service is healthy. Processes that ended by
// themselves are started again, as compose.yaml has it.
func (x *chaos) recover() (ended int) {
	x.until(x.t.Context(), "health after the fault", func(ctx context.Context) error {
		for _, p := range slices.Clone(x.processes) {
			select {
			case <-p.done:
				x.t.Logf("%6.2f s: %s ended: %v", time.Since(x.began).Seconds(), p.name, p.cmd.ProcessState)
				x.startAgain(p.name)
				ended++
			default:
			}
		}
		if !x.postgres.Running() { // a full disk ends it, when it finds out
			x.t.Logf("%6.2f s: PostgreSQL ended", time.Since(x.began).Seconds())
			x.postgres.Stop()
			x.postgres.Restart(x.t)
			ended++
		}
		for _, sdk := range x.sdks {
			h, err := sdk.Health(ctx)
			if err == nil && h.Status != client.Healthy {
				err = fmt.Errorf("%v", h.Problems)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ended
}

// errEnough ends a reading of the log at what its end was.
var errEnough = errors.New("read to the end")

// collect reads what the log and the read model have at the end.
func (x *chaos) collect() {
	most := patience + time.Duration(len(x.h.accepted))*time.Second // each job's steps and adapter are read
	ctx, cancel := context.WithTimeout(x.t.Context(), most)
	defer cancel()
	b := x.operator
	end, err := b.End(ctx)
	check(x.t, err)
	err = b.Follow(ctx, scu.Position{}, func(batch scu.Batch) error {
		x.h.log = append(x.h.log, batch.State...)
		x.h.metrics = append(x.h.metrics, batch.Metrics...)
		if batch.Unreadable > 0 {
			x.t.Errorf("%d entries of the log can't be read", batch.Unreadable)
		}
		if batch.To.Reached(end) {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		x.t.Fatal(err)
	}
	x.recover() // the read model has it all then
	x.compareWithReplay(ctx)
	x.h.listed, x.h.rows, x.h.adapters = map[string]scu.Status{}, map[string][]scu.Metrics{}, map[string]string{}
	for f := (client.JobsFilter{Limit: 100}); ; {
		page, err := x.api().Jobs(ctx, f)
		check(x.t, err)
		for _, j := range page.Jobs {
			x.h.listed[j.JobID] = j.Status
			f.After = j.JobID
		}
		if len(page.Jobs) < f.Limit {
			break
		}
	}
	for id := range x.h.accepted {
		page, err := x.api().Metrics(ctx, id, 0, 1000)
		check(x.t, err)
		x.h.rows[id] = page.Metrics
		if x.h.listed[id] != scu.Completed {
			continue
		}
		dir := x.t.TempDir()
		zip, err := x.api().DownloadAdapter(ctx, id, dir, nil)
		if err != nil {
			x.t.Errorf("the adapter of job %s: %v", id, err)
			continue
		}
		folder := filepath.Join(dir, "adapter")
		check(x.t, client.Unzip(zip, folder))
		weights, err := os.ReadFile(filepath.Join(folder, "adapter_model.safetensors"))
		check(x.t, err)
		sum := sha256.Sum256(weights)
		x.h.adapters[id] = hex.EncodeToString(sum[:])
	}
}

// keepLogs shows the end of each process's log.
func (x *chaos) keepLogs() {
	for _, p := range x.processes {
		b, _ := os.ReadFile(filepath.Join(x.dir, p.name, "log"))
		x.t.Logf("the end of %s's log:\n%s", p.name, b[max(0, len(b)-4000):])
	}
}
