package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

func newKey(t *testing.T, name, owner string) (scu.Key, string) {
	t.Helper()
	k, text, err := scu.NewKey(scu.Key{Name: name, Owner: owner, Scope: scu.ScopeSubmit, Limits: scu.Limits{Queued: 3}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

// Keys are kept until they are removed, and everyone who follows them sees both.
func TestKeys(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	tables := make(chan []scu.Key)
	ended := make(chan error, 1)
	go func() {
		ended <- b.WatchKeys(ctx, func(t scu.KeyTable) {
			select {
			case tables <- t.Keys:
			case <-ctx.Done():
			}
		})
	}()
	until := func(what string, ok func([]scu.Key) bool) {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case all := <-tables:
				if ok(all) {
					return
				}
			case <-timeout:
				t.Fatal("never", what)
			}
		}
	}
	until("none", func(all []scu.Key) bool { return len(all) == 0 })

	ada, text := newKey(t, "ci", "ada")
	bob, _ := newKey(t, "laptop", "bob")
	for _, k := range []scu.Key{ada, bob} {
		if err := b.AddKey(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	until("both", func(all []scu.Key) bool { return len(all) == 2 && all[0].Matches(text) && all[1].Owner == "bob" })
	if k, err := b.Key(ctx, ada.ID); err != nil || !k.Matches(text) || k.Limits != ada.Limits {
		t.Errorf("%+v, %v", k, err)
	}
	used := time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC)
	if err := b.NoteKeyUse(ctx, ada.ID, used); err != nil {
		t.Fatal(err)
	}
	until("used", func(all []scu.Key) bool { return all[0].LastUsed != nil && all[0].LastUsed.Equal(used) })

	if err := b.RemoveKey(ctx, ada.ID); err != nil {
		t.Fatal(err)
	}
	until("one", func(all []scu.Key) bool { return len(all) == 1 && all[0].ID == bob.ID })
	wantCode(t, b.RemoveKey(ctx, ada.ID), scu.CodeNotFound)
	_, err := b.Key(ctx, ada.ID)
	wantCode(t, err, scu.CodeNotFound)
	_, err = b.Key(ctx, "*")
	wantCode(t, err, scu.CodeNotFound)
	if all, err := b.Keys(ctx); err != nil || len(all) != 1 || all[0].LastUsed != nil {
		t.Errorf("%+v, %v", all, err)
	}
	// A second that says "still those" comes by itself.
	for range 2 {
		until("still one", func(all []scu.Key) bool { return len(all) == 1 })
	}
	stop()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

// That keys were made outlives their bucket, and all streams while the process lives; it is
// noted of keys that an older version made.
func TestThatKeysWereMadeOutlivesThem(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	b, ctx := setUp(t, s), testContext(t)
	made := func(b *Broker, want bool) {
		t.Helper()
		if made, err := b.KeysMade(ctx); err != nil || made != want {
			t.Errorf("made: %v, %v", made, err)
		}
	}
	made(b, false)
	if err := b.Setup(ctx); err != nil { // which forgets nothing, and makes nothing up
		t.Fatal(err)
	}
	made(b, false)
	k, _ := newKey(t, "ci", "ada")
	if err := b.AddKey(ctx, k); err != nil {
		t.Fatal(err)
	}
	made(b, true)
	if err := b.js.DeleteKeyValue(ctx, apiKeysBucket); err != nil {
		t.Fatal(err)
	}
	other := connect(t, Options{Server: s})
	if err := other.mendStreams(ctx); err != nil {
		t.Fatal(err)
	}
	if all, err := other.Keys(ctx); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	made(other, true)
	for _, name := range b.streamNames() {
		if err := b.js.DeleteStream(ctx, name); err != nil {
			t.Fatal(name, err)
		}
	}
	if err := b.mendStreams(ctx); err != nil {
		t.Fatal(err)
	}
	made(connect(t, Options{Server: s}), true)

	// An older version sets the log up without the note.
	if err := b.AddKey(ctx, k); err != nil {
		t.Fatal(err)
	}
	info, err := b.existing(ctx, stateStream)
	if err != nil {
		t.Fatal(err)
	}
	delete(info.Config.Metadata, keysMadeKey)
	if _, err := b.js.UpdateStream(ctx, info.Config); err != nil {
		t.Fatal(err)
	}
	made(connect(t, Options{Server: s}), false)
	following, enough := context.WithCancel(ctx)
	err = connect(t, Options{Server: s}).WatchKeys(following, func(table scu.KeyTable) {
		if len(table.Keys) != 1 || !table.Made {
			t.Errorf("%+v", table)
		}
		enough()
	})
	if err != context.Canceled {
		t.Error(err)
	}
	made(connect(t, Options{Server: s}), true)
}

// An entry under another's name, or that can't be read, is no key.
func TestForgedKeys(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx := testContext(t)
	k, _ := newKey(t, "ci", "ada")
	data, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := b.js.KeyValue(ctx, apiKeysBucket)
	if err != nil {
		t.Fatal(err)
	}
	for i, entry := range [][]byte{data, []byte("{"), []byte(fmt.Sprintf(`{"key_id":%q}`, scu.NewJobID()))} {
		if _, err := kv.Put(ctx, keyEntry+fmt.Sprintf("%016x", i), entry); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := b.Keys(ctx); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	_, err = b.Key(ctx, fmt.Sprintf("%016x", 0))
	wantCode(t, err, scu.CodeInternal)
}

// No login but the API's reaches the keys, or whose files are.
func TestKeysAreTheAPIsAlone(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	operator, ctx := setUp(t, s), testContext(t)
	k, _ := newKey(t, "ci", "ada")
	if err := operator.AddKey(ctx, k); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{TrainerUser("t1"), ReaderUser, ProjectorUser} {
		publish, subscribe, _ := Rights(user)
		for _, subject := range append(publish, subscribe...) {
			for _, bucket := range []string{apiKeysBucket, holdersBucket} {
				if strings.Contains(subject, bucket) || strings.HasPrefix(subject, "$KV.*") || strings.HasPrefix(subject, "$KV.>") || subject == ">" || subject == "$JS.>" || subject == "$JS.API.>" {
					t.Errorf("%s may use %s", user, subject)
				}
			}
		}
	}
	for _, user := range []string{TrainerUser("t1"), ProjectorUser} {
		stolen := connect(t, Options{Server: s, User: user})
		stolen.opts.timeout = 300 * time.Millisecond
		if _, err := stolen.Keys(ctx); err == nil {
			t.Errorf("%s reads the keys", user)
		}
		if err := stolen.AddKey(ctx, k); err == nil {
			t.Errorf("%s makes a key", user)
		}
		if err := stolen.nc.Publish("$KV."+apiKeysBucket+"."+keyEntry+scu.NewJobID(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if err := stolen.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := operator.Keys(ctx); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// A projector's login follows the log and the metrics, and writes nothing but the probe.
func TestProjectorsLogin(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	operator, ctx := setUp(t, s), testContext(t)
	id := submit(t, operator, 0)
	b := connect(t, Options{Server: s, User: ProjectorUser})
	if err := b.Ping(ctx); err != nil {
		t.Error(err)
	}
	end, err := b.End(ctx)
	if err != nil {
		t.Fatal(err)
	}
	following, stop := context.WithCancel(ctx)
	seen := ""
	err = b.Follow(following, scu.Position{}, func(batch scu.Batch) error {
		for _, e := range batch.State {
			seen = e.Event.Job.ID
		}
		if batch.To.State >= end.State {
			stop()
		}
		return nil
	})
	if seen != id || err != context.Canceled {
		t.Errorf("it saw job %q, %v", seen, err)
	}
	thief := connect(t, Options{Server: s, User: ProjectorUser}) // the other one is still closing
	thief.opts.timeout = 300 * time.Millisecond
	if _, _, err := thief.Cancel(ctx, id); err == nil {
		t.Error("it cancels a job")
	}
	if err := thief.HaltQueue(ctx, true); err == nil {
		t.Error("it halts the queue")
	}
}
