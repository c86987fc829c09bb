//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
)

var (
	chaosTime = flag.Duration("chaos.time", 10*time.Second, "how long TestChaos makes faults")
	chaosSeed = flag.Uint64("chaos.seed", 1, "which faults, and when")
)

// kinds of jobs that are asked for again and again: each has one right adapter.
const kinds = 4

// chaos is a cluster whose processes are killed and stopped while clients use it.
type chaos struct {
	*cluster
	t     *testing.T
	rng   *rand.Rand // of the faults; clients have their own
	began time.Time
	sdk   *client.Client // one for all: an address has a bounded number of connections

	mu sync.Mutex // over what follows
	h  history
}

// Whatever is killed or stopped, whatever was acknowledged holds; see history.
func TestChaos(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "scu")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/scu").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	o := options{file: "../../compose.yaml", dir: filepath.Join(dir, "cluster"), scu: program, env: []string{"SCU_CLAIM_TIME=3s", "SCU_THREADS=1"}}
	c, err := start(t.Context(), o)
	check(t, err)
	t.Cleanup(c.stop)
	x := &chaos{cluster: c, t: t, rng: rand.New(rand.NewPCG(*chaosSeed, 1)), began: time.Now(),
		h: history{accepted: map[string]string{}, cancelled: map[string]bool{}, seen: map[string][]scu.Status{}}}
	x.sdk, err = client.New(x.apiURL, x.key())
	check(t, err)
	t.Logf("seed %d, %v of faults", *chaosSeed, *chaosTime)

	data := x.upload()
	for kind := range kinds { // what an undisturbed run gives
		x.waitFor(x.submit(t.Context(), data, kind, fmt.Sprint("undisturbed-", kind)))
	}
	ctx, stop := context.WithTimeout(t.Context(), *chaosTime)
	defer stop()
	var clients sync.WaitGroup
	for n := range 3 {
		clients.Go(func() { x.use(ctx, data, n) })
	}
	faults := x.disturb(ctx)
	clients.Wait()
	x.mu.Lock()
	all := len(x.h.accepted)
	x.mu.Unlock()
	t.Logf("%d faults, %d jobs accepted", faults, all)

	for id := range x.h.accepted {
		x.waitFor(id)
	}
	x.collect()
	for _, wrong := range x.h.violations() {
		t.Error(wrong)
	}
	if t.Failed() {
		x.keepLogs()
	}
}

func (x *chaos) key() string {
	b, err := os.ReadFile(x.secret("api-key"))
	check(x.t, err)
	return strings.TrimSpace(string(b))
}

func (x *chaos) api() *client.Client { return x.sdk }

// patience is how long anything may take once no more faults are made.
const patience = 2 * time.Minute

// until calls f until it succeeds.
func (x *chaos) until(ctx context.Context, what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
func (x *chaos) submit(ctx context.Context, data string, kind int, key string) (id string) {
	r := client.SubmitRequest{BaseModel: "bookworm-2m", TrainDataPath: data, IdempotencyKey: key,
		ConfigOverrides: map[string]any{"steps": 6 + 4*kind, "block_size": 128, "seed": kind, "checkpoint_every": 2}}
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

// use is one client: it submits, cancels now and then, and looks.
func (x *chaos) use(ctx context.Context, data string, n int) {
	rng := rand.New(rand.NewPCG(*chaosSeed, uint64(n)+100))
	var own []string
	for i := 0; ctx.Err() == nil; i++ {
		if id := x.submit(ctx, data, rng.IntN(kinds), fmt.Sprintf("client-%d-%d", n, i)); id != "" {
			own = append(own, id)
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

// disturb makes faults until ctx ends, and mends them all.
func (x *chaos) disturb(ctx context.Context) (faults int) {
	names := []string{"api", "projector", "trainer-1", "trainer-2", "nats", "postgres"}
	for {
		pause := time.Duration(200+x.rng.IntN(1500)) * time.Millisecond
		victims := []string{names[x.rng.IntN(len(names))]}
		if x.rng.IntN(5) == 0 { // two at a time
			victims = append(victims, names[x.rng.IntN(len(names))])
		}
		kill, length := x.rng.IntN(2) == 0, time.Duration(x.rng.IntN(5000))*time.Millisecond
		select {
		case <-ctx.Done():
			return faults
		case <-time.After(pause):
		}
		slices.Sort(victims)
		var mend []func()
		for _, v := range slices.Compact(victims) {
			faults++
			x.t.Logf("%6.2f s: %s %s for %v", time.Since(x.began).Seconds(), map[bool]string{true: "kill", false: "stop"}[kill], v, length)
			mend = append(mend, x.fault(v, kill))
		}
		select {
		case <-ctx.Done():
		case <-time.After(length):
		}
		for _, m := range mend {
			m()
		}
	}
}

// fault kills or stops a process; the returned function mends that.
func (x *chaos) fault(name string, kill bool) (mend func()) {
	if name == "postgres" {
		x.postgres.Stop()
		return func() { x.postgres.Restart(x.t) }
	}
	i := slices.IndexFunc(x.processes, func(p *process) bool { return p.name == name })
	p := x.processes[i]
	if !kill {
		check(x.t, p.cmd.Process.Signal(syscall.SIGSTOP))
		return func() { check(x.t, p.cmd.Process.Signal(syscall.SIGCONT)) }
	}
	check(x.t, p.cmd.Process.Kill())
	<-p.done
	return func() {
		x.processes = slices.Delete(x.processes, i, i+1)
		check(x.t, x.startProcess(name, &exec.Cmd{Path: p.cmd.Path, Args: p.cmd.Args, Env: p.cmd.Env}))
		last := len(x.processes) - 1
		x.processes = slices.Insert(x.processes[:last:last], i, x.processes[last])
	}
}

// errEnough ends a reading of the log at what its end was.
var errEnough = errors.New("read to the end")

// collect reads what the log and the read model have at the end.
func (x *chaos) collect() {
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	url, err := os.ReadFile(x.secret("nats-operator"))
	check(x.t, err)
	b, err := broker.Connect(ctx, broker.Options{URL: strings.TrimSpace(string(url))})
	check(x.t, err)
	defer b.Close()
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
	x.until(ctx, "health at the end", func(ctx context.Context) error { // the read model has it all then
		h, err := x.api().Health(ctx)
		if err == nil && h.Status != client.Healthy {
			err = fmt.Errorf("%v", h.Problems)
		}
		return err
	})
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
