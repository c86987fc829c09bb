package broker

import (
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// The log takes no new jobs when one more would leave those that are here too little for what
// they will still say, whichever way it comes; those that are here go on to their ends. A higher limit lets new ones in, a lower one is refused, and nothing
// that was stored goes.
func TestAFullLogTakesNoNewJobs(t *testing.T) {
	t.Parallel()
	const limit = 512 << 10
	s, ctx := startServer(t, t.TempDir(), ""), testContext(t)
	open := func(bytes int64) *Broker {
		t.Helper()
		return connect(t, Options{Server: s, LogBytes: bytes})
	}
	b := open(limit)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	var jobs []string
	var refused error
	var space int64 // of one job, with what is kept for it
	for refused == nil {
		e := newJob(0)
		data, err := b.encodeSubmission(e)
		if err != nil {
			t.Fatal(err)
		}
		space = spaceOf(data)
		if _, refused = b.Submit(ctx, e); refused == nil {
			jobs = append(jobs, e.Job.ID)
		}
	}
	wantCode(t, refused, scu.CodeStorage)
	wantCode(t, b.SubmitAll(ctx, []scu.Event{newJob(0), newJob(1)}), scu.CodeStorage)
	all, err := b.Streams(ctx)
	if u := all[0]; err != nil || u.MaxBytes != limit || u.Bytes+u.Reserved > limit || u.Bytes+u.Reserved+space <= limit || u.Reserved < int64(len(jobs))*10<<10 {
		t.Fatalf("%+v with %d jobs: %v", all, len(jobs), err)
	}
	q := openQueue(t, b, "t1")
	for range 5 {
		c := next(t, q)
		if err := complete(b, c.id, "t1", start(t, b, c.id, "t1")); err != nil {
			t.Fatal(err)
		}
		if err := c.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	info := stateInfo(t, b)
	if u, err := b.room.look(ctx, 0); err != nil || u.Reserved == 0 {
		t.Fatal(u, err)
	} else {
		wantCode(t, open(u.Bytes+u.Reserved-1).Setup(ctx), scu.CodeInvalid) // though it is all stored
	}
	b = open(2 * limit)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	if now := stateInfo(t, b); now.State.FirstSeq != info.State.FirstSeq || now.State.Msgs < info.State.Msgs {
		t.Fatalf("%+v after %+v", now.State, info.State)
	}
	submit(t, b, 0)
	if _, _, err := b.Job(ctx, jobs[0]); err != nil {
		t.Fatal(err)
	}
	// Unset, the limit stays.
	if err := open(0).Setup(ctx); err != nil {
		t.Fatal(err)
	}
	if now := stateInfo(t, b); now.Config.MaxBytes != 2*limit {
		t.Fatal(now.Config.MaxBytes)
	}
}

// Nothing is stored beyond the limit itself, and whoever tries is told so.
func TestNothingGoesBeyondTheLogsLimit(t *testing.T) {
	t.Parallel()
	b, ctx := connect(t, Options{Server: startServer(t, t.TempDir(), ""), LogBytes: 64 << 10}), testContext(t)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	blind(b)
	var err error
	for err == nil {
		_, err = b.Submit(ctx, newJob(0))
	}
	wantCode(t, err, scu.CodeStorage)
	if info := stateInfo(t, b); info.State.Bytes > 64<<10 || info.State.FirstSeq != 1 || info.State.NumDeleted > 0 {
		t.Fatalf("%+v", info.State)
	}
	wantCode(t, b.SubmitAll(ctx, []scu.Event{newJob(0), newJob(1)}), scu.CodeStorage)
}

// Of the metrics the oldest go, by size and by age.
func TestOldMetricsGo(t *testing.T) {
	t.Parallel()
	b, ctx := connect(t, Options{Server: startServer(t, t.TempDir(), ""), MetricsBytes: 64 << 10, MetricsAge: 48 * time.Hour}), testContext(t)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	publishSteps(t, b, scu.NewJobID(), 1, 0, 500)
	info, err := b.existing(ctx, metricsStream)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.State; s.Bytes > 64<<10 || s.LastSeq != 500 || s.FirstSeq < 2 || info.Config.MaxAge != 48*time.Hour {
		t.Fatalf("%+v of %+v", s, info.Config)
	}
}

// smallStore is less than the streams' default limits.
const smallStore = 7 << 29

// NATS that has less room than the defaults gets limits that fit, alone and as a cluster; a
// setting that doesn't fit is refused.
func TestDefaultLimitsFitTheServer(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for _, n := range []int{1, 3} {
		var urls string
		if n == 1 {
			urls = startPlain(t, &server.Options{JetStreamMaxStore: smallStore}).ClientURL()
		} else {
			_, urls = startCluster(t, n, smallStore)
		}
		b := connect(t, Options{URL: urls})
		for err := b.Setup(ctx); err != nil; err = b.Setup(ctx) {
			if ctx.Err() != nil || scu.CodeOf(err) != scu.CodeUnavailable {
				t.Fatal(err)
			}
		}
		all, err := b.Streams(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if log, metrics := all[0].MaxBytes, all[1].MaxBytes; min(log, metrics) < LeastBytes || log+metrics >= smallStore {
			t.Fatalf("%d servers: %+v", n, all)
		}
		if err := answered(ctx, func() error { return b.Setup(ctx) }); err != nil { // again
			t.Fatal(err)
		}
		if err := connect(t, Options{URL: urls, LogBytes: 100 << 30}).Setup(ctx); err == nil {
			t.Fatalf("%d servers keep a limit that they have no room for", n)
		}
	}
}

// NATS that may take little memory keeps presence there with a limit that fits, or with none.
func TestPresenceFitsTheServersMemory(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for _, memory := range []int64{8 << 20, 1 << 20} {
		b := connect(t, Options{URL: startPlain(t, &server.Options{JetStreamMaxMemory: memory}).ClientURL(), timeout: time.Second})
		for range 2 { // a new one, and one that is there
			if err := b.Setup(ctx); err != nil {
				t.Fatalf("%d bytes of memory: %v", memory, err)
			}
		}
		info, err := b.existing(ctx, kvStreamPre+presenceBucket)
		if err != nil || info.Config.MaxBytes > memory {
			t.Errorf("%d bytes of memory: %+v, %v", memory, info, err)
		}
	}
}

// A server that starts again with less room than the limits keep free refuses all changes. What
// was set up goes on as it is.
func TestLessRoomThanLimits(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	o := server.Options{JetStreamMaxStore: smallStore, StoreDir: t.TempDir()}
	first := o
	s := startPlain(t, &first)
	b := connect(t, Options{URL: s.ClientURL()})
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	job := submit(t, b, 0)
	b.Close()
	s.Shutdown()
	s.WaitForShutdown()

	less := o
	less.JetStreamMaxStore = smallStore / 4
	url := startPlain(t, &less).ClientURL()
	b = connect(t, Options{URL: url})
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Job(ctx, job); err != nil {
		t.Fatal(err)
	}
	submit(t, b, 0)
	// One with other settings changes what it can, here nothing.
	if err := connect(t, Options{URL: url, MetricsAge: 48 * time.Hour}).Setup(ctx); err != nil {
		t.Fatal(err)
	}
	wantCode(t, connect(t, Options{URL: url, LogBytes: 1 << 30}).Setup(ctx), scu.CodeStorage)
}

// blind lets b submit though the log is full.
func blind(b *Broker) { b.room.asked = time.Now().Add(time.Hour) } // of no limit

// Without a setting limits stay what they were at every start, however full the streams are.
func TestUnsetLimitsStay(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	ctx := testContext(t)
	s := startServer(t, t.TempDir(), "")
	b := connect(t, Options{Server: s, LogBytes: limit, MetricsBytes: limit})
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	blind(b)
	for stateInfo(t, b).State.Bytes < limit*3/4 {
		submit(t, b, 0)
	}
	publishSteps(t, b, scu.NewJobID(), 1, 0, 500) // more than fit
	for range 3 {
		b := connect(t, Options{Server: s})
		if err := b.Setup(ctx); err != nil {
			t.Fatal(err)
		}
		all, err := b.Streams(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range all[:2] {
			if u.MaxBytes != limit {
				t.Errorf("%+v", u)
			}
		}
	}
}

func stateInfo(t *testing.T, b *Broker) *jetstream.StreamInfo {
	t.Helper()
	info, err := b.existing(testContext(t), stateStream)
	if err != nil || info == nil {
		t.Fatal(info, err)
	}
	return info
}

// More than the thousand readers that a server allows by default may read at once, of streams
// that an older version made too.
func TestManyReaders(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	for _, name := range []string{stateStream, metricsStream, jobsStream} {
		info, err := b.existing(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		old := info.Config
		old.MaxConsumers = -1
		if _, err := b.js.UpdateStream(ctx, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 1001 {
		if _, err := b.reader(ctx, stateStream, readerConfig(stateGuard(scu.NewJobID()), 1)); err != nil {
			t.Fatalf("reader %d: %v", i, err)
		}
	}
	if err := b.ensureLevel(ctx, level{class: "cpu"}); err != nil {
		t.Fatal(err)
	}
}

// Every stream of a server of ours has a limit, a new one and one that an older version made
// without; a second start changes none.
func TestEveryStreamHasALimit(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := startServer(t, t.TempDir(), "")
	b := connect(t, Options{Server: s, StoreBytes: LeastBytes})
	limits := func() map[string]int64 {
		t.Helper()
		if err := b.Setup(ctx); err != nil {
			t.Fatal(err)
		}
		all := map[string]int64{}
		for _, name := range b.streamNames() {
			info, err := b.existing(ctx, name)
			if err != nil || info == nil {
				t.Fatal(name, err)
			}
			if info.Config.MaxBytes <= 0 {
				t.Errorf("stream %s has no limit", name)
			}
			if old := info.Config.Discard == jetstream.DiscardOld; old != (name == metricsStream || name == deliveriesStream) {
				t.Errorf("stream %s discards %s", name, info.Config.Discard)
			}
			all[name] = info.Config.MaxBytes
		}
		return all
	}
	first := limits()
	if first[objectStreamPre+adaptersBucket] != LeastBytes {
		t.Error(first)
	}
	if second := limits(); !maps.Equal(first, second) {
		t.Errorf("%v after %v", second, first)
	}
	for _, name := range []string{jobsStream, kvStreamPre + comparisonsBucket, objectStreamPre + filesBucket} {
		info, err := b.existing(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		old := info.Config
		old.MaxBytes = -1
		if _, err := b.js.UpdateStream(ctx, old); err != nil {
			t.Fatal(err)
		}
	}
	if third := limits(); !maps.Equal(first, third) {
		t.Errorf("%v after %v", third, first)
	}
	// An administrator raised one by hand.
	raised := infoOf(t, b, kvStreamPre+holdersBucket).Config
	raised.MaxBytes *= 16
	if _, err := b.js.UpdateStream(ctx, raised); err != nil {
		t.Fatal(err)
	}
	first[raised.Name] = raised.MaxBytes
	if fourth := limits(); !maps.Equal(first, fourth) {
		t.Errorf("%v after %v", fourth, first)
	}
}

// What a store has no room for is refused whole, and what it has stays.
func TestAFullStoreTakesNothing(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	b := connect(t, Options{Server: startServer(t, t.TempDir(), ""), StoreBytes: 1 << 20})
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	put := func(n int) error {
		_, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: scu.NewJobID(), Attempt: 1}, io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(n)))
		return err
	}
	if err := put(700 << 10); err != nil {
		t.Fatal(err)
	}
	wantCode(t, put(700<<10), scu.CodeStorage)
	if err := put(200 << 10); err != nil {
		t.Errorf("what was refused takes room: %v", err)
	}
	all, err := b.Streams(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(all, func(u scu.StreamUse) bool { return u.Name == "adapters" }); i < 0 || all[i].MaxBytes != 1<<20 || all[i].Full() < scu.NearlyFull {
		t.Errorf("%+v", all)
	}
}
