package api

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/models"
)

// What one API has answered is so at another of the same service, which has a connection of its
// own, and at once.
func TestWhatWasAnsweredIsSoAtAnotherAPI(t *testing.T) {
	r := start(t, func(o *Options) { o.WebhookKey, o.AllowPrivateURLs = []byte("k"), true })
	ctx := t.Context()
	b, err := broker.Connect(ctx, broker.Options{Server: r.nats, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(b.Close)
	o := r.server.o.elsewhere()
	o.Broker = b
	server, err := New(o)
	must(t, err)
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	there, err := client.New(web.URL, "")
	must(t, err)
	for range 5 {
		f, err := r.sdk.Upload(ctx, "a.txt", strings.NewReader("some text "+scu.NewJobID()), -1, nil)
		must(t, err)
		all, err := there.Files(ctx, "", 100)
		if must(t, err); !slices.ContainsFunc(all.Files, func(x scu.File) bool { return x.ID == f.ID }) {
			t.Errorf("an upload isn't listed: %v", all.Files)
		}
		made, err := there.Submit(ctx, client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: f.ID})
		must(t, err)
		id := made.JobID
		is := func(want scu.Status) {
			t.Helper()
			st, err := there.Status(ctx, id)
			if must(t, err); st.Status != want {
				t.Errorf("its status is %s, want %s", st.Status, want)
			}
			list, err := there.Jobs(ctx, client.JobsFilter{Status: want})
			if must(t, err); !slices.ContainsFunc(list.Jobs, func(j client.JobSummary) bool { return j.JobID == id }) {
				t.Errorf("it isn't listed as %s", want)
			}
			h, err := there.History(ctx, id)
			if must(t, err); h.Entries[h.Count-1].Status != want {
				t.Errorf("its history ends as %s, want %s", h.Entries[h.Count-1].Status, want)
			}
		}
		is(scu.Queued)
		_, err = r.sdk.Pause(ctx, id)
		must(t, err)
		is(scu.Paused)
		_, err = r.sdk.Resume(ctx, id)
		must(t, err)
		is(scu.Queued)
		_, err = r.sdk.Cancel(ctx, id)
		must(t, err)
		is(scu.Cancelled)
		_, err = r.sdk.DeleteJob(ctx, id)
		must(t, err)
		if _, err := there.Job(ctx, id); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("a deleted job: %v", err)
		}
		if list, err := there.Jobs(ctx, client.JobsFilter{}); err != nil || list.Count != 0 {
			t.Errorf("after it was deleted %d jobs are listed, %v", list.Count, err)
		}
		_, err = r.sdk.DeleteFile(ctx, f.ID)
		must(t, err)
		if all, err := there.Files(ctx, "", 100); err != nil || len(all.Files) != 0 {
			t.Errorf("after it was deleted: %v, %v", all.Files, err)
		}
		hook, err := r.sdk.AddWebhook(ctx, client.WebhookRequest{URL: "http://127.0.0.1:1/"})
		must(t, err)
		_, err = there.TestWebhook(ctx, hook.ID)
		must(t, err)
		if told, err := r.sdk.Deliveries(ctx, hook.ID); err != nil || told.Count != 1 {
			t.Errorf("%d deliveries, %v", told.Count, err)
		}
		_, err = r.sdk.RemoveWebhook(ctx, hook.ID)
		must(t, err)
		if hooks, err := there.Webhooks(ctx); err != nil || hooks.Count != 0 {
			t.Errorf("after it was removed: %v, %v", hooks.Webhooks, err)
		}
	}
}

// lateKeys has the table of keys follow a while after it changed.
type lateKeys struct{ *broker.Broker }

func (b lateKeys) WatchKeys(ctx context.Context, changed func(scu.KeyTable)) error {
	return b.Broker.WatchKeys(ctx, func(t scu.KeyTable) {
		if scu.Sleep(ctx, 100*time.Millisecond) == nil {
			changed(t)
		}
	})
}

// A server is closed once its first key is made, and a key is over once its revoking is
// answered, though the table follows later.
func TestKeysHoldOnceTheyAreAnswered(t *testing.T) {
	r := start(t, func(o *Options) { o.Broker = lateKeys{o.Broker.(*broker.Broker)} })
	if r.closed() {
		t.Fatal("it is closed without a key")
	}
	r.until("the table is followed", func() bool { _, now := r.server.keys.known(""); return now })
	first, err := r.sdk.CreateKey(t.Context(), client.KeyRequest{Name: "a", Scope: scu.ScopeAdmin})
	must(t, err)
	if !r.closed() {
		t.Error("it is open though there is a key")
	}
	admin := r.with(first.Key)
	for range 3 {
		k, err := admin.CreateKey(t.Context(), client.KeyRequest{Name: "b", Scope: scu.ScopeRead, Owner: "ada"})
		must(t, err)
		if _, err := r.with(k.Key).Trainers(t.Context()); err != nil {
			t.Error(err)
		}
		_, err = admin.RevokeKey(t.Context(), k.ID)
		must(t, err)
		if _, err := r.with(k.Key).Trainers(t.Context()); scu.CodeOf(err) != scu.CodeUnauthorized {
			t.Errorf("a key that was revoked: %v", err)
		}
	}
}
