package broker

import (
	"bytes"
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/linetest"
)

// An upload that takes a slow line longer than a claim lasts doesn't cost the claim, nor
// the trainer's presence: bulk and signs of life go by different connections.
func TestUploadOverASlowLineKeepsTheClaim(t *testing.T) {
	t.Parallel()
	const claimTime = 3 * time.Second
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	api, ctx := setUpClaims(t, s, claimTime), testContext(t)
	serveArbiter(t, api, nil)
	id := submit(t, api, 0)
	server, err := url.Parse(s.UserURL(TrainerUser("t1")))
	if err != nil {
		t.Fatal(err)
	}
	line := linetest.New(t, server.Host)
	server.Host = line.Address()
	b, err := NewAgent(connect(t, Options{URL: server.String(), AckWait: claimTime}), "t1", "t1")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, j := take(t, b, waitFor(t, b))
	held, release := c.Hold(ctx, j.Attempt)
	defer release()
	other := make(chan *claim, 1)
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go claims(waiting, openQueue(t, api, "t2"), other)

	const rate, seconds = 200, 8 // kB/s
	if err := line.Spoil(linetest.Toward("bandwidth", map[string]any{"rate": rate})); err != nil {
		t.Fatal(err)
	}
	stored := make(chan error, 1)
	began := time.Now()
	go func() {
		_, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1}, bytes.NewReader(randomBytes(rate*seconds*1000)))
		stored <- err
	}()
	quickly, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	if err := b.Announce(quickly, scu.Presence{Trainer: "t1"}); err != nil {
		t.Error(err)
	}
	if err := <-stored; err != nil {
		t.Error(err)
	}
	select {
	case <-other:
		t.Error("the job was handed to another trainer")
	case <-held.Done():
		t.Errorf("the claim is lost: %v", context.Cause(held))
	default:
	}
	if took := time.Since(began); took < 2*claimTime {
		t.Errorf("the upload took %v only: the line isn't slow", took)
	}
}
