package api

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/shannon-control/scu"
)

// Damage of the read model is told by health, and forgotten once it is mended; one look
// serves all who ask meanwhile.
func TestDamageOfTheReadModelIsTold(t *testing.T) {
	var looks atomic.Int64
	var found atomic.Pointer[scu.Error]
	c := checked{look: func(context.Context) error {
		looks.Add(1)
		if e := found.Load(); e != nil {
			return e
		}
		return nil
	}}
	for range 5 {
		if err := c.ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := looks.Load(); n != 1 {
		t.Errorf("%d looks for five questions", n)
	}
	c.at, c.took = c.at.Add(-2*checkAge), checkAge // of a large model, not soon again
	if c.ask(t.Context()); looks.Load() != 1 {
		t.Error("a look that took long is begun again at once")
	}
	c.took = 0
	found.Store(scu.Errorf(scu.CodeDamaged, "rows are missing"))
	c.ask(t.Context()) // begins a look
	for told := false; !told && t.Context().Err() == nil; {
		c.mu.Lock()
		told = c.err != nil
		looking := c.looking
		c.mu.Unlock()
		if looking != nil {
			<-looking
		}
	}
	if err := c.ask(t.Context()); scu.CodeOf(err) != scu.CodeDamaged {
		t.Errorf("got %v", err)
	}
	found.Store(scu.Errorf(scu.CodeUnavailable, "it takes too long"))
	if err := c.ask(t.Context()); err != nil {
		t.Errorf("mended: %v", err)
	}
}
