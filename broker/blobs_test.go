package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/blobtest"
	"github.com/shannon-control/scu/broker/linetest"
)

func TestMain(m *testing.M) {
	blobtest.Child(func(ctx context.Context, url string) (scu.Blobs, error) {
		b, err := Connect(ctx, Options{URL: url, Log: silent})
		if err != nil {
			return nil, err
		}
		return b.Objects(), nil
	})
	os.Exit(m.Run())
}

func TestBlobs(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.World {
		s := startServer(t, t.TempDir(), "127.0.0.1:0")
		b := setUp(t, s)
		// harm takes the last chunk of an object away, and gives what comes of it back.
		harm := func(change func([]byte) []byte) func(*testing.T, scu.BlobKey) {
			return func(t *testing.T, key scu.BlobKey) {
				ctx := testContext(t)
				store, err := b.objs.ObjectStore(ctx, buckets[key.Kind])
				if err != nil {
					t.Fatal(err)
				}
				info, err := store.GetInfo(ctx, key.Name)
				if err != nil {
					t.Fatal(err)
				}
				stream, err := b.js.Stream(ctx, objectStreamPre+buckets[key.Kind])
				if err != nil {
					t.Fatal(err)
				}
				chunk, err := stream.GetLastMsgForSubject(ctx, "$O."+buckets[key.Kind]+".C."+info.NUID)
				if err == nil {
					err = stream.DeleteMsg(ctx, chunk.Sequence)
				}
				if err != nil {
					t.Fatal(err)
				}
				if data := change(chunk.Data); data != nil {
					if _, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: chunk.Subject, Data: data}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		return blobtest.World{
			Blobs: b.Objects(), Address: s.UserURL(OperatorUser),
			Damage: harm(func(data []byte) []byte { data[0]++; return data }),
			Lose:   harm(func([]byte) []byte { return nil }),
		}
	})
}

func randomBytes(n int) []byte {
	var seed [32]byte
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// stored counts the messages of a bucket.
func stored(t testing.TB, b *Broker, bucket string) uint64 {
	t.Helper()
	s, err := b.js.Stream(testContext(t), objectStreamPre+bucket)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// The object store itself keeps nothing of what broke on the way.
func TestBrokenObjectLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	id := scu.NewJobID()
	ctx, cancel := context.WithCancelCause(testContext(t))
	parts := io.MultiReader(bytes.NewReader(randomBytes(1<<20)), readFunc(func([]byte) (int, error) {
		cancel(errors.New("the trainer shuts down"))
		return 0, nil
	}), endless{})
	if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1}, parts); err == nil || !strings.Contains(err.Error(), "shuts down") {
		t.Fatal(err)
	}
	if n := stored(t, b, adaptersBucket); n != 0 {
		t.Fatalf("%d messages are stored", n)
	}
	_, _, err := b.GetAdapter(testContext(t), scu.AdapterKey{Job: id, Attempt: 1})
	wantCode(t, err, scu.CodeNotFound)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestAdapters(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id, zip := scu.NewJobID(), randomBytes(10<<20)
	size, digest, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2}, bytes.NewReader(zip))
	if err != nil || size != int64(len(zip)) || digest != sum(zip) {
		t.Fatal(size, digest, err)
	}
	if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1}, strings.NewReader("of a trainer that was given up")); err != nil {
		t.Fatal(err)
	}
	r, size, err := b.GetAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || size != int64(len(zip)) || !bytes.Equal(got, zip) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.DeleteAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2}); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = b.GetAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2})
	wantCode(t, err, scu.CodeNotFound)
	_, _, err = b.GetAdapter(ctx, scu.AdapterKey{Job: "..", Attempt: 2})
	wantCode(t, err, scu.CodeNotFound)
}

// What a killed process stored in part goes, once it is old; what is whole stays.
func TestHalfStoredObjectsAreSwept(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id, zip := scu.NewJobID(), bytes.Repeat([]byte("adapter "), 10_000)
	if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1}, bytes.NewReader(zip)); err != nil {
		t.Fatal(err)
	}
	whole := chunks(t, b)
	for range 3 {
		if _, err := b.js.Publish(ctx, "$O."+adaptersBucket+".C.half", make([]byte, chunkSize)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		before time.Time
		left   uint64
	}{{time.Now().Add(-time.Minute), whole + 3}, {time.Now().Add(time.Minute), whole}} {
		if err := b.Objects().Sweep(ctx, c.before); err != nil {
			t.Fatal(err)
		}
		if n := chunks(t, b); n != c.left {
			t.Errorf("%d messages are left, want %d", n, c.left)
		}
	}
	r, _, err := b.GetAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, zip) {
		t.Errorf("the whole object has %d bytes, %v", len(got), err)
	}
	if err := b.Objects().Sweep(ctx, time.Now()); err != nil {
		t.Errorf("an empty store: %v", err)
	}
}

// What is stored now isn't old, whatever the clock of the API says that sweeps.
func TestSweepOfAnAPIWhoseClockIsWrong(t *testing.T) {
	t.Parallel()
	s, ctx := startServer(t, t.TempDir(), ""), testContext(t)
	for _, ahead := range []time.Duration{15 * time.Minute, 25 * time.Hour, -25 * time.Hour} {
		b := connect(t, Options{Server: s, Now: func() time.Time { return time.Now().Add(ahead) }})
		if err := b.Setup(ctx); err != nil {
			t.Fatal(err)
		}
		before := chunks(t, b)
		for range 3 { // a transfer that goes on
			if _, err := b.js.Publish(ctx, "$O."+adaptersBucket+".C.under-way", make([]byte, chunkSize)); err != nil {
				t.Fatal(err)
			}
		}
		clocks := map[string]*scu.ClockStep{}
		for range 2 {
			if err := b.sweepObjects(ctx, clocks); err != nil {
				t.Fatal(err)
			}
		}
		if n := chunks(t, b); n != before+3 {
			t.Errorf("%s ahead: of %d chunks %d are left", ahead, before+3, n)
		}
	}
}

// NATS keeps the mark of each deletion for ever.
func TestMarksOfDeletedObjectsAreSwept(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	key := scu.AdapterKey{Job: scu.NewJobID(), Attempt: 1}
	for range 2 {
		if _, _, err := b.PutAdapter(ctx, key, strings.NewReader("zip")); err != nil {
			t.Fatal(err)
		}
		if err := b.DeleteAdapter(ctx, key); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			before time.Time
			left   uint64
		}{{time.Now().Add(-time.Minute), 1}, {time.Now().Add(time.Minute), 0}} {
			if err := b.Objects().Sweep(ctx, c.before); err != nil {
				t.Fatal(err)
			}
			if n := stored(t, b, adaptersBucket); n != c.left {
				t.Errorf("%d messages are left, want %d", n, c.left)
			}
		}
	}
}

// A deletion that was broken off after its mark is ended by the next try.
func TestADeletionIsEnded(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	o := b.Objects().(objects)
	key := scu.AdapterKey{Job: scu.NewJobID(), Attempt: 1}.Blob()
	info := putObject(t, o, key, "zip")
	s, err := b.stream(ctx, objectStreamPre+adaptersBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.mark(ctx, s, metaSubject(key.Kind, key.Name), info.NUID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantCode(t, o.Delete(ctx, key), scu.CodeNotFound)
		if n := stored(t, b, adaptersBucket); n != 1 { // the mark
			t.Errorf("%d messages stay", n)
		}
	}
}

// putObject stores a blob, and returns it as NATS has it.
func putObject(t *testing.T, o objects, key scu.BlobKey, data string) *jetstream.ObjectInfo {
	t.Helper()
	ctx := testContext(t)
	if _, err := o.Put(ctx, key, strings.NewReader(data), scu.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	store, err := o.open(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	info, err := o.info(ctx, store, key)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// chunks counts the messages of the adapters' store.
func chunks(t *testing.T, b *Broker) uint64 {
	t.Helper()
	s, err := b.stream(testContext(t), objectStreamPre+adaptersBucket)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// A zip that was stored whole by an attempt that was broken off belongs to no job.
func TestZipsOfNoJobAreSwept(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	put := func(key scu.AdapterKey) scu.AdapterKey {
		t.Helper()
		if _, _, err := b.PutAdapter(ctx, key, bytes.NewReader([]byte("zip"))); err != nil {
			t.Fatal(err)
		}
		return key
	}
	var kept, orphans []scu.AdapterKey
	id := submit(t, b, 0)
	for range 3 {
		start(t, b, id, "t1")
	}
	_, _, err := b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) {
		return j.Store(3, scu.Checkpoint{Step: 7, Attempt: 1}, 3, time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	orphans = append(orphans, put(scu.AdapterKey{Job: id, Attempt: 1}), put(scu.AdapterKey{Job: id, Attempt: 2}), put(scu.AdapterKey{Job: id, Attempt: 2, Step: 7}))
	kept = append(kept, put(scu.AdapterKey{Job: id, Attempt: 3}), put(scu.AdapterKey{Job: id, Attempt: 1, Step: 7}),
		put(scu.AdapterKey{Job: id, Attempt: 3, Step: 9}), put(scu.AdapterKey{Job: scu.NewJobID(), Attempt: 1}))
	sweep := func(before time.Time, orphaned scu.Code) {
		t.Helper()
		if err := b.sweepAdapters(ctx, before); err != nil {
			t.Fatal(err)
		}
		for keys, code := range map[*[]scu.AdapterKey]scu.Code{&kept: "", &orphans: orphaned} {
			for _, k := range *keys {
				r, _, err := b.GetAdapter(ctx, k)
				if err == nil {
					r.Close()
				}
				if scu.CodeOf(err) != code {
					t.Errorf("%+v: %v, want %q", k, err, code)
				}
			}
		}
	}
	sweep(time.Now().Add(-time.Minute), "") // too young
	sweep(time.Now().Add(time.Minute), scu.CodeNotFound)
	if err := complete(b, id, "t1", 3); err != nil {
		t.Fatal(err)
	}
	orphans = append(orphans, kept[2])
	kept = slices.Delete(kept, 2, 3)
	sweep(time.Now().Add(time.Minute), scu.CodeNotFound)
}

// Whoever reads a blob and leaves isn't kept waiting for bytes that nobody sends any more, and
// isn't told that the blob is damaged.
func TestAReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s, ctx := startServer(t, t.TempDir(), "127.0.0.1:0"), testContext(t)
	key := scu.BlobKey{Kind: scu.CheckpointBlob, Name: newJob(0).Job.ID + ".1"}
	if _, err := setUp(t, s).Objects().Put(ctx, key, bytes.NewReader(randomBytes(16<<20)), scu.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(s.UserURL(OperatorUser))
	if err != nil {
		t.Fatal(err)
	}
	line := linetest.New(t, server.Host)
	server.Host = line.Address()
	far := connect(t, Options{URL: server.String()})
	const rate = 1000 // kB/s, so that it doesn't all come before the line is silent
	if err := line.Spoil(linetest.Back("bandwidth", map[string]any{"rate": rate})); err != nil {
		t.Fatal(err)
	}
	reading, leave := context.WithCancel(context.WithoutCancel(ctx)) // it has no other end
	defer leave()
	r, _, err := far.Objects().Get(reading, key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := line.Spoil(linetest.Back("timeout", map[string]any{"timeout": 0})); err != nil { // for good
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { _, err := io.Copy(io.Discard, r); ended <- err }()
	time.Sleep(100 * time.Millisecond) // it waits for more by then
	leave()
	select {
	case err := <-ended:
		if err == nil || scu.CodeOf(err) == scu.CodeDamaged {
			t.Error(err)
		}
		r.Close() // waits for a reading
	case <-ctx.Done():
		t.Error("the reading goes on")
	}
	line.Cut() // else far waits to say goodbye
}

// Who removes what it stored wrongly leaves what another stored in its place meanwhile.
func TestRemoveLeavesOthers(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	o := b.Objects().(objects)
	key := scu.BlobKey{Kind: scu.AdapterBlob, Name: newJob(0).Job.ID + ".1"}
	put := func(data string) *jetstream.ObjectInfo { return putObject(t, o, key, data) }
	mine := put("mine")
	others := put("another's")
	if err := o.remove(ctx, key, mine); err != nil {
		t.Error(err)
	}
	if b, err := scu.VerifyBlob(ctx, o, key); err != nil || b.Size != 9 {
		t.Errorf("what another stored: %+v, %v", b, err)
	}
	if err := o.remove(ctx, key, others); err != nil {
		t.Error(err)
	}
	for range 2 { // once more is no error
		if _, err := o.Stat(ctx, key); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("it stays: %v", err)
		}
		if err := o.remove(ctx, key, others); err != nil {
			t.Error(err)
		}
	}
	if n := stored(t, b, adaptersBucket); n != 1 { // the mark
		t.Errorf("%d messages stay", n)
	}
	put("again")
}

// Attempts that broke off after they had stored their adapters leave none once their job ends,
// whichever way, or the next attempt has its own.
func TestBrokenAttemptsLeaveNoAdapters(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	for name, end := range map[string]func(id string) error{
		"completed": func(id string) error { return complete(b, id, "t1", 3) },
		"cancelled": func(id string) error { _, _, err := b.Cancel(ctx, id); return err },
		"failed": func(id string) error {
			_, _, err := b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) {
				return j.Fail(3, scu.Errorf(scu.CodeInternal, "x"), time.Now())
			})
			return err
		},
	} {
		id := submit(t, b, 0)
		for n := 1; n <= 3; n++ {
			start(t, b, id, "t1")
			if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: n}, strings.NewReader("zip")); err != nil {
				t.Fatal(err)
			}
		}
		if err := end(id); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 3; n++ {
			_, err := b.Objects().Stat(ctx, scu.AdapterKey{Job: id, Attempt: n}.Blob())
			if stays := err == nil; stays != (name == "completed" && n == 3) {
				t.Errorf("%s: the adapter of attempt %d: %v", name, n, err)
			}
		}
	}
}

// The adapter of a broken-off attempt goes as soon as its successor has sent its own.
func TestASuccessorsAdapterTakesThePlace(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	api, _ := arbitrated(t, s, 30*time.Second)
	ctx := testContext(t)
	id := submit(t, api, 0)
	start(t, api, id, "dead")
	dead := scu.AdapterKey{Job: id, Attempt: 1}
	if _, _, err := api.PutAdapter(ctx, dead, strings.NewReader("zip")); err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, s, "t1")
	_, j := take(t, a, waitFor(t, a))
	key := scu.AdapterKey{Job: id, Attempt: j.Attempt, Step: 7}
	if _, _, err := a.PutAdapter(ctx, key, strings.NewReader("zip")); err != nil || j.Attempt != 2 {
		t.Fatal(j.Attempt, err)
	}
	if _, err := api.Objects().Stat(ctx, dead.Blob()); err != nil {
		t.Errorf("a checkpoint took its place: %v", err)
	}
	key.Step = 0
	if _, _, err := a.PutAdapter(ctx, key, strings.NewReader("zip")); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Objects().Stat(ctx, dead.Blob()); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("the adapter of the attempt that broke off: %v", err)
	}
}
