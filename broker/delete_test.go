package broker

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A deleted job leaves nothing in NATS: no steps, no zips and nothing to go on from, those that
// the log doesn't know of among them, whether it ended just now or long ago. Another's stay.
func TestDeletedJobsLeaveNothing(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	later := time.Duration(0)
	b := connect(t, Options{Server: startServer(t, t.TempDir(), ""), Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(later) }})
	ctx := testContext(t)
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
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
	clock := func(ahead time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		later = ahead
	}
	old, older, kept := ended(), ended(), ended()
	clock(time.Hour)
	for _, id := range []string{old, older} { // by one list
		if err := b.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	clock(0)
	fresh := ended()
	if err := b.Delete(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{old, older, fresh} {
		if n := left(id); n != 0 {
			t.Errorf("%d things are left of a deleted job", n)
		}
	}
	if n := left(kept); n != 4 {
		t.Errorf("%d of 4 things are left of a job that was not deleted", n)
	}
}
