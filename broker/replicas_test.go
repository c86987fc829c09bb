package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/linetest"
	"github.com/shannon-control/scu/porttest"
)

// startCluster runs n NATS servers that are one cluster, each with so much storage, and returns them
// and their URLs.
func startCluster(t *testing.T, n int, store int64) (servers []*server.Server, list string) {
	t.Helper()
	servers = startRouted(t, n, store, func(_, _ int, address string) string { return address })
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	return servers, strings.Join(urls, ",")
}

// startRouted is startCluster with routes of the test's: route returns where one server finds
// another, given its address; "" if it waits for the other.
func startRouted(t *testing.T, n int, store int64, route func(from, to int, address string) string) (servers []*server.Server) {
	t.Helper()
	var addresses []*net.TCPAddr
	var held []net.Listener // so that no other test gets the port
	for range n {
		l := listenLow(t)
		addresses = append(addresses, l.Addr().(*net.TCPAddr))
		held = append(held, l)
	}
	for i, a := range addresses {
		held[i].Close()
		var routes []string
		for k, other := range addresses {
			if to := route(i, k, other.String()); to != "" {
				routes = append(routes, "nats-route://"+to)
			}
		}
		servers = append(servers, startPlain(t, &server.Options{ServerName: string(rune('a' + i)), JetStreamMaxStore: store, Routes: server.RoutesFromStr(strings.Join(routes, ",")),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: a.Port, NoAdvertise: true}}))
	}
	return servers
}

// listenLow holds a port of the broker's tests.
func listenLow(t *testing.T) net.Listener {
	t.Helper()
	l, err := porttest.Broker.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answered calls request until a cluster answers, which may elect a leader first.
func answered(ctx context.Context, request func() error) error {
	err := request()
	for scu.CodeOf(err) == scu.CodeUnavailable && ctx.Err() == nil {
		err = request()
	}
	return err
}

// setUpSoon makes the streams of a cluster.
func setUpSoon(t *testing.T, b *Broker) {
	t.Helper()
	ctx := testContext(t)
	for err := b.Setup(ctx); err != nil || b.short.any(); err = b.Setup(ctx) { // it may elect leaders, or count what it just moves twice
		if ctx.Err() != nil || scu.CodeOf(err) == scu.CodeInvalid {
			t.Fatal(err)
		}
	}
}

// A cluster keeps three copies if nothing is set; a later start with less takes none away.
func TestReplicas(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	wantCode(t, connect(t, Options{Server: startServer(t, t.TempDir(), ""), Replicas: 3}).Setup(ctx), scu.CodeInvalid)

	servers, urls := startCluster(t, 3, 1<<40)
	for _, n := range []int{1, 0, 1} {
		setUpSoon(t, connect(t, Options{URL: urls, Replicas: n}))
	}
	b := connect(t, Options{URL: urls})
	streams := b.js.ListStreams(ctx)
	count := 0
	for info := range streams.Info() {
		count++
		if info.Config.Replicas != 3 || info.Config.AllowDirect {
			t.Errorf("%s: %d replicas, direct reading %v", info.Config.Name, info.Config.Replicas, info.Config.AllowDirect)
		}
	}
	err := streams.Err()
	if err != nil || count != len(b.streamNames()) {
		t.Fatalf("%d streams, %v", count, err)
	}
	e := newJob(0)
	for { // the new replicas still come up
		if _, err = b.Submit(ctx, e); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	supervise(t, b) // a queue that was given replicas may have lost its place in the log
	if c := next(t, openQueue(t, b, "t1")); c.id != e.Job.ID {
		t.Fatalf("got %s, want %s", c.id, e.Job.ID)
	}

	// One server of three may be away, for a start too, once all have everything.
	for current := false; !current; {
		current = true
		streams := b.js.ListStreams(ctx)
		for info := range streams.Info() {
			for _, r := range info.Cluster.Replicas {
				current = current && r.Current
			}
		}
		if err := streams.Err(); err != nil {
			t.Fatal(err)
		}
	}
	awaitCopies(t, b, 3) // on a busy machine one may be behind for a moment again
	servers[2].Shutdown()
	awaitCopies(t, b, 2)
	for again := connect(t, Options{URL: urls}); ; {
		err := again.Setup(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// awaitCopies waits until of three copies so many are current.
func awaitCopies(t *testing.T, b *Broker, current int) {
	t.Helper()
	for ctx := testContext(t); ; {
		c, err := b.Copies(ctx)
		if err == nil && c == (scu.Copies{Kept: 3, Current: current}) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%+v, %v", c, err)
		}
	}
}

// Two APIs that start at once on an empty cluster set it up together, and don't wait at
// each stream for an answer that the cluster doesn't give.
func TestTwoSetUpAtOnce(t *testing.T) {
	t.Parallel()
	_, urls := startCluster(t, 3, smallStore)
	ctx := testContext(t)
	first, second := connect(t, Options{URL: urls}), connect(t, Options{URL: urls})
	for { // the cluster elects its leader first
		asking, cancel := context.WithTimeout(ctx, time.Second)
		_, err := first.js.AccountInfo(asking)
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 2)
	for _, b := range []*Broker{first, second} {
		go func() {
			done <- answered(ctx, func() error { return b.Setup(ctx) })
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Of rivals that write at once one wins on a cluster too, and the others see that.
func TestRivalsInACluster(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	_, urls := startCluster(t, 3, smallStore)
	b := connect(t, Options{URL: urls})
	for b.Setup(ctx) != nil && ctx.Err() == nil { // the cluster still comes up
	}
	atOnce := func(what string, f func(n int) error) {
		t.Helper()
		var group errgroup.Group
		for n := range 8 {
			group.Go(func() error { return f(n) })
		}
		if err := group.Wait(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	id := submit(t, b, 0)
	var won atomic.Int32
	atOnce("cancel", func(int) error {
		_, already, err := b.Cancel(ctx, id)
		if err == nil && !already {
			won.Add(1)
		}
		return err
	})
	if won.Load() != 1 {
		t.Errorf("%d of the cancels won", won.Load())
	}

	atOnce("drain", func(n int) error { return b.Drain(ctx, fmt.Sprint("t", n), true) })
	if h, err := b.Halted(ctx); err != nil || len(h.Trainers) != 8 {
		t.Errorf("%v are drained, %v", h.Trainers, err)
	}

	c := scu.Comparison{ID: scu.NewJobID()}
	if err := b.CreateComparison(ctx, c); err != nil {
		t.Fatal(err)
	}
	atOnce("change a comparison", func(int) error {
		_, err := b.ChangeComparison(ctx, c.ID, func(c *scu.Comparison) error { c.Name += "x"; return nil })
		return err
	})
	if c, err := b.Comparison(ctx, c.ID); err != nil || c.Name != "xxxxxxxx" {
		t.Errorf("after eight changes it is called %q, %v", c.Name, err)
	}
}

// In a cluster, too, who follows a job while others are followed gets each step once and in order.
func TestFollowersInACluster(t *testing.T) {
	t.Parallel()
	_, urls := startCluster(t, 3, 1<<40)
	b, ctx := connect(t, Options{URL: urls}), testContext(t)
	setUpSoon(t, b)
	var jobs []string
	var steps []<-chan scu.Metrics
	for n := range 5 {
		jobs = append(jobs, scu.NewJobID())
		publishSteps(t, b, jobs[n], 1, 0, 10)
		var got <-chan scu.Metrics
		if err := answered(ctx, func() (err error) { got, err = newSteps(ctx, b, jobs[n]); return err }); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, got)
		for i, got := range steps {
			publishSteps(t, b, jobs[i], 1, (n-i+1)*10, (n-i+2)*10)
			wantSteps(t, got, 1, (n-i)*10, (n-i+1)*10)
		}
	}
}

// The same submissions sent twice, as by one whose answer was lost, are known to be in the log to
// whoever is told that they were there already, while a cluster of slow lines still stores them too.
func TestSubmittedTwiceInACluster(t *testing.T) {
	t.Parallel()
	var lines [3]*linetest.Line
	servers := startRouted(t, 3, smallStore, func(from, to int, address string) string {
		if from >= to { // is found by the other, over the line
			return ""
		}
		if lines[to] == nil {
			lines[to] = linetest.New(t, address)
		}
		return lines[to].Address()
	})
	ctx := testContext(t)
	b := connect(t, Options{URL: servers[0].ClientURL(), timeout: 20 * time.Second})
	setUpSoon(t, b)
	submit(t, b, 0)              // makes the queue's level
	lead(t, b, stateStream, "a") // so that answers are faster than copies
	for _, line := range lines[1:] {
		if err := line.Spoil(linetest.BothWays("latency", map[string]any{"latency": 50})...); err != nil {
			t.Fatal(err)
		}
	}
	one, all := newJob(0), []scu.Event{newJob(0), newJob(0), newJob(0)}
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			return answered(ctx, func() error {
				_, err := b.Submit(ctx, one)
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					return errors.New("an entry that was refused as another's is looked for in vain")
				}
				return err
			})
		})
		group.Go(func() error {
			err := answered(ctx, func() error { return b.SubmitAll(ctx, all) })
			if scu.CodeOf(err) != scu.CodeConflict {
				return err
			}
			return answered(ctx, func() error {
				_, err := b.First(ctx, all[2].Job.ID)
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
