package broker

import (
	"testing"

	"github.com/shannon-control/scu"
)

// Steps that nobody takes are lost when the agent is closed: who waits for them is told,
// and not kept waiting.
func TestFlushOfAClosedAgent(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "")
	setUp(t, s)
	a, ctx := newAgent(t, s, "t1"), testContext(t)
	if err := a.FlushMetrics(ctx); err != nil { // of nothing
		t.Fatal(err)
	}
	if err := a.PublishMetrics(ctx, "t1", step(scu.NewJobID(), 1, 1)); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- a.FlushMetrics(ctx) }()
	a.Close()
	wantCode(t, <-flushed, scu.CodeUnavailable)
	if ctx.Err() != nil {
		t.Error("it waited for its context to end")
	}
	wantCode(t, a.FlushMetrics(ctx), scu.CodeUnavailable)
}
