package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// keepFree has streams of others keep free what servers have left but for so much each, and returns
// what ends that.
func keepFree(t *testing.T, b *Broker, servers []*server.Server, store, left int64) (empty func()) {
	t.Helper()
	ctx := testContext(t)
	kept := func(s *server.Server) int64 {
		_, kept, err := s.JetStreamReservedResources()
		if err != nil {
			t.Fatal(err)
		}
		return kept
	}
	var made []string
	for try := 0; ; try++ {
		most, all := left, int64(0)
		for _, s := range servers {
			most, all = max(most, store-kept(s)), all+kept(s)
		}
		if most <= left {
			break
		}
		// A cluster puts it where there is room, once it knows what each server keeps free.
		name := fmt.Sprint("OTHERS", try) // one that was refused may still be on its way out
		_, err := b.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{strings.ToLower(name)}, MaxBytes: most - left})
		if lacksStorage(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, name)
		for now := int64(0); now < all+most-left; { // until it is kept free
			now = 0
			if _, err := b.existing(ctx, name); ctx.Err() != nil { // a question a round
				t.Fatal("nothing is kept free: ", err)
			}
			for _, s := range servers {
				now += kept(s)
			}
		}
	}
	return func() {
		t.Helper()
		for _, name := range made {
			if err := b.js.DeleteStream(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// lacking lists the streams that the shortages name.
func lacking(b *Broker) (names []string) {
	for _, err := range b.Shortages() {
		names = append(names, strings.Fields(err.Message)[1])
	}
	return names
}

// untilWhole waits until no stream lacks anything.
func untilWhole(t *testing.T, b *Broker) {
	t.Helper()
	ctx := testContext(t)
	for b.short.any() {
		if ctx.Err() != nil {
			t.Fatal(b.Shortages())
		}
		_, _ = b.Copies(ctx) // one question a round
	}
}

// A cluster whose servers have no room for more copies goes on with those that it has, says of
// which streams, and has the others once there is room, without a new start.
func TestReplicasWithoutRoom(t *testing.T) {
	t.Parallel()
	const store = 2 << 30
	ctx := testContext(t)
	servers, urls := startCluster(t, 3, store)
	o := Options{URL: urls, Replicas: 1, LogBytes: 256 << 20, MetricsBytes: 256 << 20}
	b := connect(t, o)
	setUpSoon(t, b)
	job := submit(t, b, 0)
	empty := keepFree(t, b, servers, store, 8<<20)

	o.Replicas = 3
	b = connect(t, o)
	if err := answered(ctx, func() error { return b.Setup(ctx) }); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range b.streamNames() {
		info, err := b.streamInfo(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Config.Replicas != 3 {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	if got := lacking(b); !slices.Equal(got, want) || !slices.Contains(want, stateStream) || !slices.Contains(want, metricsStream) || len(want) == len(b.streamNames()) {
		t.Fatalf("%v are told, %v have no three copies", got, want)
	}
	for _, err := range b.Shortages() {
		if text := err.Error(); !strings.Contains(text, "has 1 of 3 replicas") || !strings.Contains(text, "max_file_store") {
			t.Error(text)
		}
	}
	if log := stateInfo(t, b); log.Config.MaxBytes != 256<<20 {
		t.Errorf("the log's limit is %d", log.Config.MaxBytes)
	}
	if _, _, err := b.Job(ctx, job); err != nil {
		t.Error(err)
	}
	submit(t, b, 0)

	supervise(t, b)
	empty()
	untilWhole(t, b)
	for _, name := range b.streamNames() {
		if info, err := b.streamInfo(ctx, name); err != nil || info.Config.Replicas != 3 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	// A log with copies is read in another way, which the first who asks finds out.
	if err := answered(ctx, func() error { _, _, err := b.Job(ctx, job); return err }); err != nil {
		t.Error(err)
	}
}

// A new bucket that NATS has no room for, since the limits of others keep all of it free, is left
// out, and who needs it is told why and what would make it fit; it is there once there is room.
func TestNewStreamWithoutRoom(t *testing.T) {
	t.Parallel()
	const store = 2 << 30
	ctx := testContext(t)
	s := startPlain(t, &server.Options{JetStreamMaxStore: store})
	o := Options{URL: s.ClientURL(), LogBytes: 64 << 20, MetricsBytes: 64 << 20, timeout: time.Second}
	b := connect(t, o)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	ended := submit(t, b, 0)
	if err := complete(b, ended, "t1", start(t, b, ended, "t1")); err != nil {
		t.Fatal(err)
	}
	hook := scu.Webhook{ID: scu.NewJobID(), URL: "https://example.org", Events: scu.WebhookEvents, CreatedAt: time.Now()}
	err := errors.Join(b.AddWebhook(ctx, hook), b.objs.DeleteObjectStore(ctx, checkpointsBucket), b.js.DeleteStream(ctx, deliveriesStream))
	for _, bucket := range []string{apiKeysBucket, damageBucket} { // as an older version had none of them
		err = errors.Join(err, b.js.DeleteKeyValue(ctx, bucket))
	}
	if err != nil {
		t.Fatal(err)
	}
	empty := keepFree(t, b, []*server.Server{s}, store, 0)

	b = connect(t, o)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	if got := lacking(b); !slices.Equal(got, []string{kvStreamPre + apiKeysBucket, kvStreamPre + damageBucket, objectStreamPre + checkpointsBucket, deliveriesStream}) {
		t.Fatal(b.Shortages())
	}
	key, _, err := scu.NewKey(scu.Key{Name: "a", Scope: scu.ScopeAdmin}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for who, b := range map[string]*Broker{"an API": b, "scu keys create": connect(t, o)} {
		err := b.AddKey(ctx, key)
		wantCode(t, err, scu.CodeStorage)
		if text := fmt.Sprint(err); !strings.Contains(text, "KV_SCU_API_KEYS can't be made") || !strings.Contains(text, fmt.Sprint("max_file_store of each nats-server to more than ", int64(store))) {
			t.Errorf("%s: %s", who, text)
		}
	}
	_, err = b.Deliveries(ctx, hook.ID, 1)
	wantCode(t, err, scu.CodeStorage)
	submit(t, b, 0) // what it doesn't need works
	if err := b.Delete(ctx, ended); err != nil {
		t.Error(err)
	}
	// The supervisor has nothing to sweep there: what it found wrong would be told as no health.
	err = errors.Join(b.sweepDeleted(ctx), b.sweepObjects(ctx, map[string]*scu.ClockStep{}), b.sweepAdapters(ctx, time.Now()), b.sweepMarks(ctx, 0))
	if err != nil {
		t.Error(err)
	}

	supervise(t, b)
	empty()
	untilWhole(t, b)
	if err := errors.Join(b.AddKey(ctx, key), b.AddDelivery(ctx, scu.Delivery{WebhookID: hook.ID})); err != nil {
		t.Error(err)
	}
}

// Without the log nothing works: who starts is told so, and to try again.
func TestNoRoomForTheLog(t *testing.T) {
	t.Parallel()
	const store = 2 << 30
	ctx := testContext(t)
	s := startPlain(t, &server.Options{JetStreamMaxStore: store})
	b := connect(t, Options{URL: s.ClientURL(), timeout: time.Second})
	empty := keepFree(t, b, []*server.Server{s}, store, 0)
	err := b.Setup(ctx)
	wantCode(t, err, scu.CodeUnavailable)
	if text := fmt.Sprint(err); !strings.Contains(text, "SCU_STATE can't be made") || !strings.Contains(text, "max_file_store") {
		t.Error(text)
	}
	empty()
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
}

// A stream that lacks room and is lost is made anew like any other: who made levels of the queue
// doesn't take them for known.
func TestLostStreamThatLackedRoom(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	submit(t, b, 0)
	b.lacks(jobsStream, "has 1 of 3 replicas", scu.Errorf(scu.CodeStorage, "no room"))
	if err := b.js.DeleteStream(ctx, jobsStream); err != nil {
		t.Fatal(err)
	}
	if err := b.mendStreams(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := b.existing(ctx, jobsStream); info == nil || err != nil || b.short.any() || len(b.levels.known) != 0 {
		t.Errorf("%v, %v, short: %v, %d levels count as known", info, err, b.Shortages(), len(b.levels.known))
	}
}
