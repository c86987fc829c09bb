package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// What a bucket answers, be it that there is nothing, is no reason to ask for the bucket
// itself again.
func TestABucketIsAskedForOnce(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	asked, err := b.nc.SubscribeSync("$JS.API.STREAM.INFO.*")
	if err != nil {
		t.Fatal(err)
	}
	c := scu.Comparison{ID: scu.NewJobID()}
	for range 3 {
		_, err := b.Comparison(ctx, scu.NewJobID())
		wantCode(t, err, scu.CodeNotFound)
	}
	if err := b.CreateComparison(ctx, c); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.CreateComparison(ctx, c), scu.CodeConflict)
	for range 3 {
		_, err := b.Reserved(ctx, "a new key")
		wantCode(t, err, scu.CodeNotFound)
	}
	if _, err := b.Reserve(ctx, "a key", scu.KeyedSubmission{JobID: scu.NewJobID()}); err != nil {
		t.Fatal(err)
	}
	if n, _, err := asked.Pending(); err != nil || n != 2 {
		t.Errorf("two buckets were asked for %d times, %v", n, err)
	}
}

// What deletions leave goes, so that no bucket fills with what isn't there; what is there stays,
// and what was deleted only just, of which not every server may know.
func TestMarksOfDeletionsGo(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	file := func(i int) scu.File { return scu.File{ID: fmt.Sprintf("%064x", i)} }
	hold := func(i int) {
		t.Helper()
		if err := b.HoldFile(ctx, "ada", file(i)); err != nil {
			t.Fatal(err)
		}
	}
	release := func(i int) {
		t.Helper()
		if err := b.ReleaseFile(ctx, "ada", file(i).ID); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		hold(i)
	}
	for i := range 4 {
		release(i)
	}
	hold(0) // again
	before := infoOf(t, b, kvStreamPre+holdersBucket).State.LastTime
	release(4)
	if err := b.sweepMarksOf(ctx, holdersBucket, before); err != nil {
		t.Fatal(err)
	}
	held, err := b.HeldFiles(ctx, "ada")
	if err != nil || len(held) != 2 || held[0].ID != file(0).ID || held[1].ID != file(5).ID {
		t.Errorf("%v, %v", held, err)
	}
	if state := infoOf(t, b, kvStreamPre+holdersBucket).State; state.Msgs != 3 { // with the mark of 4
		t.Errorf("%+v", state)
	}
	release(0)
	release(5)
	if err := b.sweepMarks(ctx, -time.Hour); err != nil {
		t.Fatal(err)
	}
	if held, err := b.HeldFiles(ctx, "ada"); err != nil || len(held) != 0 || infoOf(t, b, kvStreamPre+holdersBucket).State.Msgs != 0 {
		t.Errorf("%v, %v", held, err)
	}
	hold(0)
	if _, err := b.HeldFile(ctx, "ada", file(0).ID); err != nil {
		t.Error(err)
	}
}

// Marks of revoked keys go too, and whoever follows the keys from then on knows the whole table,
// though the newest entry there was is gone.
func TestMarksOfRevokedKeysGo(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	var keys []scu.Key
	for range 3 {
		k, _, err := scu.NewKey(scu.Key{Name: "test", Scope: scu.ScopeAdmin}, time.Now())
		if err == nil {
			err = b.AddKey(ctx, k)
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	follow := func(left int) (stop func()) {
		t.Helper()
		following, cancel := context.WithCancel(ctx)
		tables := make(chan scu.KeyTable)
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.WatchKeys(following, func(table scu.KeyTable) {
				select {
				case tables <- table:
				case <-following.Done():
				}
			})
		}()
		at := infoOf(t, b, kvStreamPre+apiKeysBucket).State.LastSeq
		for range 2 { // at once, and once it was checked that nothing was missed
			for table := range tables {
				if len(table.Keys) == left && table.Revision >= at {
					break
				}
			}
		}
		return func() { cancel(); <-done }
	}
	defer follow(3)()
	for _, k := range keys[1:] {
		if err := b.RemoveKey(ctx, k.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.sweepMarks(ctx, -time.Hour); err != nil {
		t.Fatal(err)
	}
	if state := infoOf(t, b, kvStreamPre+apiKeysBucket).State; state.Msgs != 1 {
		t.Errorf("%+v", state)
	}
	follow(1)()
	if all, err := b.Keys(ctx); err != nil || len(all) != 1 || all[0].ID != keys[0].ID {
		t.Errorf("%v, %v", all, err)
	}
}

// infoOf describes a stream.
func infoOf(t *testing.T, b *Broker, name string) *jetstream.StreamInfo {
	t.Helper()
	info, err := b.streamInfo(testContext(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// cutList is a bucket whose lists end with the connection, before all has come.
type cutList struct {
	jetstream.KeyValue
	jetstream.KeyWatcher
}

func (l cutList) Watch(context.Context, string, ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	return l, nil
}

func (cutList) Updates() <-chan jetstream.KeyValueEntry {
	updates := make(chan jetstream.KeyValueEntry)
	close(updates)
	return updates
}

func (cutList) Stop() error { return nil }

// A list that was broken off isn't taken for a whole one: a file whose holders are not all
// known isn't nobody's.
func TestAListThatWasCut(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	if err := b.HoldFile(ctx, "ada", scu.File{ID: strings.Repeat("a", 64)}); err != nil {
		t.Fatal(err)
	}
	kv, err := b.keyValue(ctx, holdersBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.entries(ctx, cutList{KeyValue: kv}, func(jetstream.KeyValueEntry) error { return nil }); err == nil {
		t.Error("a list that was cut counts as whole")
	}
}
