package broker

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/linetest"
)

// What one API has stored, another finds at once, though the server that it is connected to is
// behind: reads of buckets are answered by a leader, and lists wait for what it has.
func TestReadingAtAServerThatIsBehind(t *testing.T) {
	t.Parallel()
	var line *linetest.Line
	servers := startRouted(t, 3, smallStore, func(from, to int, address string) string {
		switch {
		case from == 2: // found by the others only, over the line
			return ""
		case to == 2 && line == nil:
			line = linetest.New(t, address)
		}
		if to == 2 {
			return line.Address()
		}
		return address
	})
	ctx, near := testContext(t), connect(t, Options{URL: servers[0].ClientURL()})
	setUpSoon(t, near)
	lead(t, near, kvStreamPre+holdersBucket, "a")
	hook := scu.Webhook{ID: scu.NewJobID(), URL: "http://a", Events: scu.WebhookEvents}
	if err := answered(ctx, func() error { return near.AddWebhook(ctx, hook) }); err != nil {
		t.Fatal(err)
	}
	far := connect(t, Options{URL: servers[2].ClientURL(), timeout: 20 * time.Second})
	if err := line.Spoil(linetest.BothWays("latency", map[string]any{"latency": 50})...); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		f := scu.File{ID: fmt.Sprintf("%064x", i), Size: 1}
		if err := answered(ctx, func() error { return near.HoldFile(ctx, "ada", f) }); err != nil {
			t.Fatal(err)
		}
		if err := answered(ctx, func() error { return near.AddDelivery(ctx, scu.Delivery{WebhookID: hook.ID, Try: i}) }); err != nil {
			t.Fatal(err)
		}
		var reads errgroup.Group
		reads.Go(func() error {
			return answered(ctx, func() error {
				all, err := far.Deliveries(ctx, hook.ID, 100)
				if err == nil && len(all) != i+1 {
					err = fmt.Errorf("%d deliveries of %d are listed", len(all), i+1)
				}
				return err
			})
		})
		for range 4 { // each is answered by any of the three, if it may be
			reads.Go(func() error {
				return answered(ctx, func() error {
					_, err := far.HeldFile(ctx, "ada", f.ID)
					return err
				})
			})
			reads.Go(func() error {
				return answered(ctx, func() error {
					all, err := far.HeldFiles(ctx, "ada")
					if err == nil && len(all) != i+1 {
						err = fmt.Errorf("%d files of %d are listed", len(all), i+1)
					}
					return err
				})
			})
		}
		if err := reads.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// lead has a server of a cluster lead a stream.
func lead(t *testing.T, b *Broker, stream, server string) {
	t.Helper()
	for ctx := testContext(t); ; {
		info, err := b.existing(ctx, stream)
		switch {
		case ctx.Err() != nil:
			t.Fatalf("%s doesn't lead %s: %v", server, stream, err)
		case err == nil && info.Cluster.Leader == server:
			return
		case err == nil && led(info):
			to := []byte(`{"placement": {"preferred": "` + server + `"}}`)
			if _, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, to); err != nil {
				t.Fatal(err)
			}
		}
	}
}
