package broker

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

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
		if err := b.sweepObjects(ctx, adaptersBucket, c.before); err != nil {
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
	if err := b.sweepObjects(ctx, filesBucket, time.Now()); err != nil {
		t.Errorf("an empty store: %v", err)
	}
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
