package broker

import (
	"bytes"
	"io"
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
