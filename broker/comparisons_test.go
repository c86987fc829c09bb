package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A rival that is faster again and again for a while is outlasted: in a cluster one write
// that is slow to be stored is lost to for as long.
func TestABusyRivalIsOutlasted(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	c := scu.Comparison{ID: scu.NewJobID()}
	if err := b.CreateComparison(ctx, c); err != nil {
		t.Fatal(err)
	}
	rival := 0
	busy := time.Now().Add(300 * time.Millisecond)
	c, err := b.ChangeComparison(ctx, c.ID, func(c *scu.Comparison) error {
		if time.Now().Before(busy) {
			rival++
			if _, err := b.ChangeComparison(ctx, c.ID, func(c *scu.Comparison) error { c.Name += "r"; return nil }); err != nil {
				t.Error(err)
			}
		}
		c.Name += "x"
		return nil
	})
	if want := strings.Repeat("r", rival) + "x"; err != nil || c.Name != want {
		t.Errorf("after %d changes of a rival it is called %q, %v", rival, c.Name, err)
	}
}
