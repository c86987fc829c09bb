package broker

import (
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A webhook whose removal broke off is still there to be removed, with its place in the log.
func TestWebhookRemovedInPart(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	w := scu.Webhook{ID: scu.NewJobID(), URL: "https://example.org", Events: scu.WebhookEvents, CreatedAt: time.Now()}
	if err := b.AddWebhook(ctx, w); err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(ctx, deliveriesStream); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveWebhook(ctx, w.ID); err == nil {
		t.Fatal("it was removed whole")
	}
	if _, err := b.Webhook(ctx, w.ID); err != nil {
		t.Error(err)
	}
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveWebhook(ctx, w.ID); err != nil {
		t.Error(err)
	}
	_, err := b.Webhook(ctx, w.ID)
	wantCode(t, err, scu.CodeNotFound)
}
