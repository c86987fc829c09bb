package broker

import (
	"bytes"
	"io"
	"testing"

	"github.com/shannon-control/scu"
)

// A trainer that may only ask arbiters keeps its job's checkpoints through them, and the next
// one that runs the job has them, also if an arbiter goes while it reads.
func TestCheckpointsThroughArbiters(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	api, ctx := setUp(t, s), testContext(t)
	stop := serveArbiter(t, api, nil)
	id := submit(t, api, 0)
	first := newAgent(t, s, "t1")
	c, _ := take(t, first, waitFor(t, first))
	data := randomBytes(5<<20 + 3) // more parts than are under way at once
	name := func(n string) scu.BlobKey { return scu.BlobKey{Kind: scu.CheckpointBlob, Name: id + "." + n} }
	store := first.Checkpoints()
	for _, n := range []string{"run.1", "run.2", "other.1"} {
		b, err := store.Put(ctx, name(n), bytes.NewReader(data), scu.PutOptions{})
		if err != nil || b.Size != int64(len(data)) || b.SHA256 != sum(data) {
			t.Fatal(b, err)
		}
	}
	list := func(store scu.Blobs, prefix string) (names []string) {
		t.Helper()
		err := scu.EachBlob(ctx, store, scu.CheckpointBlob, prefix, func(b scu.Blob) error {
			names = append(names, b.Key.Name)
			if b.SHA256 != sum(data) {
				t.Errorf("%+v", b)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if all := list(store, id+"."); len(all) != 3 {
		t.Error(all)
	}
	if all := list(store, id+".run."); len(all) != 2 {
		t.Error(all)
	}
	if page, more, err := store.List(ctx, scu.CheckpointBlob, id+".", "", 1); err != nil || !more || len(page) != 1 || page[0].Key != name("other.1") {
		t.Error(page, more, err)
	}
	if err := store.Delete(ctx, name("run.1")); err != nil {
		t.Error(err)
	}
	wantCode(t, store.Delete(ctx, name("run.1")), scu.CodeNotFound)
	_, _, err := store.Get(ctx, name("run.1"), 0, -1)
	wantCode(t, err, scu.CodeNotFound)
	_, err = store.Put(ctx, scu.BlobKey{Kind: scu.AdapterBlob, Name: id + ".1"}, bytes.NewReader(data), scu.PutOptions{})
	wantCode(t, err, scu.CodeForbidden)

	if _, err := first.Say(ctx, id, "t1", scu.Word{Type: scu.EventHandedBack, Attempt: 1}); err != nil {
		t.Fatal(err)
	}
	if err := c.Nak(0); err != nil {
		t.Fatal(err)
	}
	second := newAgent(t, s, "t2")
	c, j := take(t, second, waitFor(t, second))
	store = second.Checkpoints()
	r, b, err := store.Get(ctx, name("run.2"), 0, -1)
	if err != nil || b.Size != int64(len(data)) {
		t.Fatal(b, err)
	}
	defer r.Close()
	got := make([]byte, 1<<20)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	stop() // and with it what it was sending
	serveArbiter(t, api, nil)
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(got, rest...), data) {
		t.Fatalf("%d bytes: %v", len(got)+len(rest), err)
	}
	_, err = first.Checkpoints().Put(ctx, name("run.2"), bytes.NewReader(nil), scu.PutOptions{})
	wantCode(t, err, scu.CodeConflict) // the job is another's by now

	// A sending of whole parts has ended with the last one, and is in no other's way.
	even := randomBytes(2 * partSize)
	if _, err := store.Put(ctx, name("even.1"), bytes.NewReader(even), scu.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for range maxUploads + 1 {
		r, _, err := store.Get(ctx, name("even.1"), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if r.Close(); err != nil || !bytes.Equal(got, even) {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
	}
	if err := store.Delete(ctx, name("even.1")); err != nil {
		t.Fatal(err)
	}

	if _, err := second.Say(ctx, id, "t2", scu.Word{Type: scu.EventFailed, Attempt: j.Attempt, Error: scu.Errorf(scu.CodeInternal, "no")}); err != nil {
		t.Fatal(err)
	}
	if err := c.Ack(); err != nil {
		t.Fatal(err)
	}
	store = first.Checkpoints()
	for _, n := range list(store, id+".") { // who ran it once cleans up
		if err := store.Delete(ctx, scu.BlobKey{Kind: scu.CheckpointBlob, Name: n}); err != nil {
			t.Error(err)
		}
	}
	if all := list(api.Objects(), ""); len(all) != 0 {
		t.Error(all)
	}
	stranger := newAgent(t, s, "t3")
	_, _, err = stranger.Checkpoints().List(ctx, scu.CheckpointBlob, id+".", "", 10)
	wantCode(t, err, scu.CodeForbidden)
}
