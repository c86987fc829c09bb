//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/linetest"
)

// claimTime is how long a trainer of the cluster may give no sign of life.
const claimTime = 3 * time.Second

// fault is something that goes wrong. begin makes it so, says of whom, and returns how it
// is mended; it returns nil where it can't be now.
type fault struct {
	name  string
	begin func(x *chaos) (whom string, mend func())
	lasts time.Duration // 0: up to five seconds, by the seed
}

// stream whose leader is killed.
const log = "SCU_STATE"

var faults = []fault{
	{name: "kill API", begin: killOne("api")},
	{name: "kill projector", begin: killOne("projector")},
	{name: "kill trainer", begin: killOne("trainer")},
	{name: "kill NATS server", begin: killOne("nats")},
	{name: "kill leader of the log", begin: func(x *chaos) (string, func()) { return x.kill(x.leader()) }},
	{name: "kill follower of the log", begin: func(x *chaos) (string, func()) {
		leader := x.leader()
		return x.kill(x.pick(func(s string) bool { return kindOf(s) == "nats" && s != leader && leader != "" }))
	}},
	{name: "kill two of three NATS servers", begin: func(x *chaos) (string, func()) {
		if len(x.named("nats")) < 3 {
			return "", nil
		}
		a, again := x.kill(x.pick(ofKind("nats")))
		b, too := x.kill(x.pick(ofKind("nats")))
		return a + " and " + b, both(again, too)
	}},
	{name: "kill all APIs", begin: func(x *chaos) (string, func()) {
		mend := func() {}
		for range x.named("api") {
			_, again := x.kill(x.pick(ofKind("api")))
			mend = both(mend, again)
		}
		return "api", mend
	}, lasts: 2 * claimTime},
	{name: "kill PostgreSQL", begin: func(x *chaos) (string, func()) {
		x.postgres.Kill()
		return "postgres", func() { x.postgres.Restart(x.t) }
	}},
	{name: "stop API", begin: stopOne("api")},
	{name: "stop projector", begin: stopOne("projector")},
	{name: "stop trainer", begin: stopOne("trainer")},
	{name: "stop NATS server", begin: stopOne("nats")},
	{name: "stop PostgreSQL", begin: func(x *chaos) (string, func()) {
		x.postgres.Pause()
		return "postgres", x.postgres.Continue
	}},
	{name: "trainer wakes after its job was given away", begin: stopOne("trainer"), lasts: 3 * claimTime},

	{name: "cut trainer and NATS", begin: cut("trainer", "nats")},
	{name: "cut API and NATS", begin: cut("api", "nats")},
	{name: "cut projector and NATS", begin: cut("projector", "nats")},
	{name: "cut API and PostgreSQL", begin: cut("api", "postgres")},
	{name: "cut projector and PostgreSQL", begin: cut("projector", "postgres")},
	{name: "cut one NATS server from the others", begin: func(x *chaos) (string, func()) {
		one := x.pick(ofKind("nats"))
		return one, x.spoil(func(w way) bool {
			return kindOf(w.from) == "nats" && kindOf(w.to) == "nats" && (w.from == one || w.to == one)
		}, sever)
	}},
	{name: "cut all NATS servers from each other", begin: func(x *chaos) (string, func()) {
		return "nats", x.spoil(func(w way) bool { return kindOf(w.from) == "nats" }, sever)
	}},
	{name: "half-open trainer and NATS", begin: spoilOne("trainer", "nats", linetest.BothWays("timeout", nil)...), lasts: 2 * claimTime},
	{name: "half-open API and NATS", begin: spoilOne("api", "nats", linetest.BothWays("timeout", nil)...)},
	{name: "half-open projector and NATS", begin: spoilOne("projector", "nats", linetest.Back("timeout", nil))},
	{name: "half-open API and PostgreSQL", begin: spoilOne("api", "postgres", linetest.BothWays("timeout", nil)...)},
	{name: "half-open projector and PostgreSQL", begin: spoilOne("projector", "postgres", linetest.Back("timeout", nil))},
	{name: "half-open NATS servers", begin: spoilOne("nats", "nats", linetest.BothWays("timeout", nil)...)},
	{name: "300 +- 200 ms to NATS", begin: spoilOne("", "nats", linetest.BothWays("latency", map[string]any{"latency": 300, "jitter": 200})...)},
	{name: "300 +- 200 ms to PostgreSQL", begin: spoilOne("api", "postgres", linetest.BothWays("latency", map[string]any{"latency": 300, "jitter": 200})...)},
	{name: "50 kB/s to NATS", begin: spoilOne("trainer", "nats", linetest.BothWays("bandwidth", map[string]any{"rate": 50})...)},
	{name: "slow close", begin: spoilOne("", "nats", linetest.BothWays("slow_close", map[string]any{"delay": 3000})...)},
	{name: "connections reset", begin: spoilOne("", "nats", linetest.BothWays("reset_peer", map[string]any{"timeout": 200})...)},
	{name: "bytes in small pieces", begin: spoilOne("", "nats", linetest.BothWays("slicer", map[string]any{"average_size": 60, "size_variation": 50, "delay": 100})...)},

	{name: "disk full: NATS", begin: func(x *chaos) (string, func()) {
		whom, empty := x.fill("nats")
		if empty == nil {
			return "", nil
		}
		return whom, func() { // it stores again once it is started anew
			empty()
			if _, again := x.kill(whom); again != nil {
				again()
			}
		}
	}},
	{name: "disk full: PostgreSQL", begin: func(x *chaos) (string, func()) { return x.fill("postgres") }},
	{name: "disk full: API", begin: func(x *chaos) (string, func()) { return x.fill("api") }},
	{name: "disk full: trainer", begin: func(x *chaos) (string, func()) { return x.fill("trainer") }},

	{name: "clock steps: API", begin: stepOne("api")},
	{name: "clock steps: projector", begin: stepOne("projector")},
	{name: "clock steps: trainer", begin: stepOne("trainer")},
	{name: "clock steps: NATS", begin: stepOne("nats")},
	{name: "clock steps: PostgreSQL", begin: (*chaos).stepPostgres, lasts: 4 * time.Second},

	{name: "jobs delivered again while they run", begin: func(x *chaos) (string, func()) {
		ctx, cancel := context.WithTimeout(x.t.Context(), 10*time.Second)
		defer cancel()
		taken, _ := x.operator.TakeBack(ctx, func(scu.Job) bool { return true })
		return fmt.Sprint(len(taken), " jobs"), func() {}
	}},
	{name: "metrics delivered again in another order", begin: (*chaos).repeatMetrics},
	{name: "slow consumers", begin: (*chaos).slowConsumers},
	{name: "poison job", begin: (*chaos).poison, lasts: time.Millisecond},
}

// kindOf is a service's name without its number.
func kindOf(service string) string {
	kind, _, _ := strings.Cut(service, "-")
	return kind
}

func ofKind(kind string) func(string) bool {
	return func(s string) bool { return kind == "" && kindOf(s) != "nats" || kindOf(s) == kind }
}

func both(a, b func()) func() {
	return func() {
		for _, f := range []func(){a, b} {
			if f != nil {
				f()
			}
		}
	}
}

// pick is one of the processes that nothing was done to yet, "" if there is none.
func (x *chaos) pick(which func(string) bool) string {
	var free []string
	for _, p := range x.processes {
		if which(p.name) && !x.busy[p.name] {
			free = append(free, p.name)
		}
	}
	if len(free) == 0 {
		return ""
	}
	slices.Sort(free)
	name := free[x.rng.IntN(len(free))]
	x.busy[name] = true
	return name
}

// leader is the NATS server that leads the log, "" where there is but one or it isn't known.
func (x *chaos) leader() string {
	ctx, cancel := context.WithTimeout(x.t.Context(), 3*time.Second)
	defer cancel()
	s, err := x.js.Stream(ctx, log)
	if err != nil || s.CachedInfo().Cluster == nil || len(x.named("nats")) < 3 {
		return ""
	}
	return s.CachedInfo().Cluster.Leader
}

// kill ends a process without a word; again starts it.
func (x *chaos) kill(name string) (whom string, again func()) {
	if name == "" {
		return "", nil
	}
	p := x.process(name)
	p.cmd.Process.Kill() // it may have ended
	<-p.done
	return name, func() { x.startAgain(name) }
}

func killOne(kind string) func(*chaos) (string, func()) {
	return func(x *chaos) (string, func()) { return x.kill(x.pick(ofKind(kind))) }
}

func stopOne(kind string) func(*chaos) (string, func()) {
	return func(x *chaos) (string, func()) {
		name := x.pick(ofKind(kind))
		if name == "" {
			return "", nil
		}
		p := x.process(name)
		p.cmd.Process.Signal(syscall.SIGSTOP)
		return name, func() { p.cmd.Process.Signal(syscall.SIGCONT) }
	}
}

func (x *chaos) process(name string) *process { return x.processes[x.place(name)] }

// place is where a process is among all of them.
func (x *chaos) place(name string) int {
	return slices.IndexFunc(x.processes, func(p *process) bool { return p.name == name })
}

// startAgain starts a process that ended, in its old place.
func (x *chaos) startAgain(name string) {
	i := x.place(name)
	p := x.processes[i]
	x.processes = slices.Delete(x.processes, i, i+1)
	env := slices.DeleteFunc(slices.Clone(p.cmd.Env), func(v string) bool { return strings.HasPrefix(v, clockVariable+"=") }) // it is given anew
	check(x.t, x.startProcess(name, &exec.Cmd{Path: p.cmd.Path, Args: p.cmd.Args, Env: env}))
	last := len(x.processes) - 1
	x.processes = slices.Insert(x.processes[:last:last], i, x.processes[last])
}

// spoil does something to lines; the returned function mends them.
func (x *chaos) spoil(which func(way) bool, how func(*linetest.Line) error) (mend func()) {
	var spoiled []*linetest.Line
	for w, l := range x.ways {
		if which(w) && !x.cutWays[w] {
			check(x.t, how(l))
			x.cutWays[w] = true
			spoiled = append(spoiled, l)
		}
	}
	return func() {
		for _, l := range spoiled {
			check(x.t, l.Mend())
		}
	}
}

func sever(l *linetest.Line) error {
	l.Cut()
	return nil
}

// between are all lines of one service to the others of a kind.
func (x *chaos) between(from, to string) (name string, which func(way) bool) {
	name = x.pick(ofKind(from))
	if name == "" || len(x.ways) == 0 {
		return "", nil
	}
	return name, func(w way) bool { return w.from == name && kindOf(w.to) == to }
}

func cut(from, to string) func(*chaos) (string, func()) {
	return func(x *chaos) (string, func()) {
		name, which := x.between(from, to)
		if which == nil {
			return "", nil
		}
		return name, x.spoil(which, sever)
	}
}

func spoilOne(from, to string, toxics ...linetest.Toxic) func(*chaos) (string, func()) {
	return func(x *chaos) (string, func()) {
		name, which := x.between(from, to)
		if which == nil {
			return "", nil
		}
		return name, x.spoil(which, func(l *linetest.Line) error { return l.Spoil(toxics...) })
	}
}

func (x *chaos) fill(kind string) (whom string, mend func()) {
	whom = kind
	if kind != "postgres" {
		whom = x.pick(ofKind(kind))
	}
	if x.disks.at[whom] == "" {
		return "", nil
	}
	empty, err := x.disks.fill(whom)
	check(x.t, err)
	return whom, empty
}

// stepOne sets a clock up to an hour ahead or behind, and back.
func stepOne(kind string) func(*chaos) (string, func()) {
	return func(x *chaos) (string, func()) {
		if x.clocks == nil {
			return "", nil
		}
		name := x.pick(ofKind(kind))
		if name == "" {
			return "", nil
		}
		by := x.step()
		setClock(x.t, x.clocks(name), by)
		return fmt.Sprint(name, " by ", by), func() { setClock(x.t, x.clocks(name), 0) }
	}
}

// step is by how much a clock is set.
func (x *chaos) step() time.Duration {
	return []time.Duration{-time.Hour, -20 * time.Second, 20 * time.Second, time.Hour}[x.rng.IntN(4)]
}

// stepPostgres sets PostgreSQL's, which looks each second.
func (x *chaos) stepPostgres() (whom string, mend func()) {
	if x.clocks == nil || x.postgres.Env == nil {
		return "", nil
	}
	by := x.step()
	setFaked(x.t, x.clocks("postgres"), by)
	return fmt.Sprint("postgres by ", by), func() {
		setFaked(x.t, x.clocks("postgres"), 0)
	}
}

// repeatMetrics stores the newest steps again, in another order.
func (x *chaos) repeatMetrics() (whom string, mend func()) {
	ctx, cancel := context.WithTimeout(x.t.Context(), 10*time.Second)
	defer cancel()
	s, err := x.js.Stream(ctx, "SCU_METRICS")
	if err != nil {
		return "", nil
	}
	var newest []*jetstream.RawStreamMsg
	last := s.CachedInfo().State.LastSeq
	for seq := last; seq > 0 && last-seq < 50; seq-- {
		if m, err := s.GetMsg(ctx, seq); err == nil {
			newest = append(newest, m)
		}
	}
	x.rng.Shuffle(len(newest), func(i, j int) { newest[i], newest[j] = newest[j], newest[i] })
	for _, m := range newest {
		x.js.Publish(ctx, m.Subject, m.Data)
	}
	return fmt.Sprint(len(newest), " steps"), func() {}
}

// slowConsumers ask for what happens and read none of it.
func (x *chaos) slowConsumers() (whom string, mend func()) {
	var open []net.Conn
	x.mu.Lock()
	defer x.mu.Unlock()
	for id := range x.h.accepted {
		for _, api := range x.named("api") {
			c, err := net.DialTimeout("tcp", x.addrs[api+apiPort], time.Second)
			if err != nil {
				continue
			}
			c.(*net.TCPConn).SetReadBuffer(1 << 10)
			fmt.Fprintf(c, "GET /jobs/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", id, x.key())
			open = append(open, c)
		}
		if len(open) >= 40 {
			break
		}
	}
	url, err := os.ReadFile(x.secret("nats-reader"))
	check(x.t, err)
	gate := &gatedDialer{}
	reader, err := nats.Connect(strings.TrimSpace(string(url)), nats.SetCustomDialer(gate), nats.NoReconnect())
	if err == nil {
		reader.Subscribe("scu.metrics.>", func(*nats.Msg) {})
		reader.Flush()
		gate.mu.Lock()
	}
	return fmt.Sprint(len(open), " event streams and a subscriber"), func() {
		if err == nil {
			gate.mu.Unlock()
			reader.Close()
		}
		for _, c := range open {
			c.Close()
		}
	}
}

// poison submits a job and kills each trainer that starts it. It is given up; others'
// jobs aren't.
func (x *chaos) poison() (whom string, mend func()) {
	x.mu.Lock()
	x.poisons++
	key := fmt.Sprint("poison-", x.poisons)
	x.mu.Unlock()
	id := x.submit(x.t.Context(), x.data, kinds-1, scu.MaxPriority, key)
	if id == "" {
		return "", nil
	}
	x.mu.Lock()
	x.h.poisoned[id] = true
	x.mu.Unlock()
	return "job " + id, func() {
		killed := map[int]bool{}
		x.until(x.t.Context(), "the end of poison job "+id, func(ctx context.Context) error { return x.killStarters(ctx, id, killed) })
	}
}

// killStarters kills each trainer that starts a job, until the job has ended, and notes which
// attempts it killed. A job that an attempt completed before anyone could kill its trainer, as
// while NATS didn't answer, is no poison.
func (x *chaos) killStarters(ctx context.Context, id string, killed map[int]bool) error {
	entries, err := x.operator.FollowJob(ctx, id, 0)
	if err != nil {
		return err
	}
	for e := range entries {
		attempt := e.Event.Job.Attempt
		if e.Event.Job.Status.Ended() {
			if e.Event.Job.Status == scu.Completed && !killed[attempt] {
				x.mu.Lock()
				delete(x.h.poisoned, id)
				x.mu.Unlock()
			}
			return nil
		}
		if e.Event.Type != scu.EventStarted {
			continue
		}
		job, _, err := x.operator.Job(ctx, id)
		if err != nil {
			return err
		}
		if job.Attempt != attempt || job.Status.Ended() {
			continue // that trainer is dead already, or has done it
		}
		_, again := x.kill("trainer-" + e.Event.Job.Trainer)
		again()
		killed[attempt] = true
	}
	return fmt.Errorf("the job's entries end before it does")
}

// gatedDialer connects; what it connected reads nothing while mu is held.
type gatedDialer struct{ mu sync.RWMutex }

type gatedConn struct {
	net.Conn
	d *gatedDialer
}

func (d *gatedDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, time.Second)
	return gatedConn{c, d}, err
}

// wait returns when mu isn't held.
func (d *gatedDialer) wait() {
	d.mu.RLock()
	defer d.mu.RUnlock()
}

func (c gatedConn) Read(b []byte) (int, error) {
	c.d.wait()
	return c.Conn.Read(b)
}
