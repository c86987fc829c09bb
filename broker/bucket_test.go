package broker

import (
	"context"
	"strings"
	"testing"

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
