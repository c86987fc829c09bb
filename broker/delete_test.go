package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A deleted job leaves nothing in NATS: no steps, no zips and nothing to go on from. What the log
// doesn't know of goes with the supervisor's next list, or an hour later if the API died that deleted
// it. Another's stay.
func TestDeletedJobsLeaveNothing(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	ended := func() string {
		t.Helper()
		id := submit(t, b, 0)
		publishSteps(t, b, id, 1, 0, 3)
		for _, key := range []scu.BlobKey{
			scu.AdapterKey{Job: id, Attempt: 1}.Blob(), scu.AdapterKey{Job: id, Attempt: 1, Step: 7}.Blob(),
			{Kind: scu.CheckpointBlob, Name: id + ".run.step-7"},
		} {
			if _, err := b.Objects().Put(ctx, key, strings.NewReader("bytes"), scu.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := complete(b, id, "t1", start(t, b, id, "t1")); err != nil {
			t.Fatal(err)
		}
		return id
	}
	left := func(id string) (n int) {
		t.Helper()
		for _, kind := range []scu.BlobKind{scu.AdapterBlob, scu.CheckpointBlob} {
			page, _, err := b.Objects().List(ctx, kind, id+".", "", 10)
			if err != nil {
				t.Fatal(err)
			}
			n += len(page)
		}
		if _, err := b.LastMetrics(ctx, id); err == nil {
			n++
		}
		return n
	}
	gone, goes, lost, kept := ended(), ended(), ended(), ended()
	for _, id := range []string{gone, goes} {
		if err := b.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
		if n := left(id); n != 2 {
			t.Errorf("%d things are left of a job just deleted, want the 2 that the log doesn't know of", n)
		}
	}
	// One list does for both.
	if err := b.sweepDeleted(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Append(ctx, lost, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Delete(time.Now()) }); err != nil { // and no more
		t.Fatal(err)
	}
	if n := left(gone) + left(goes); n != 0 || left(kept) != 4 || left(lost) != 4 {
		t.Errorf("%d things are left of deleted jobs, %d and %d of 4 of others", n, left(kept), left(lost))
	}
	if err := b.sweepAdapters(ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left(lost) != 0 || left(kept) != 3 { // without the zip that the log doesn't know of
		t.Errorf("swept, %d things are left of a job whose deletion was broken off, and %d of 3 of another", left(lost), left(kept))
	}
}
