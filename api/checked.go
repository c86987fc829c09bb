package api

import (
	"context"
	"sync"
	"time"

	"github.com/shannon-control/scu"
)

// checkAge is how long it counts that the read model was looked over, and checkShare the least
// times as long as the look took: of a large model a look takes long, and shouldn't take all
// of the database's time.
const (
	checkAge   = 30 * time.Second
	checkShare = 20
)

// checked looks the read model over for damage: beside the requests that ask, since it
// reads much, and not oftener than every checkAge or checkShare.
type checked struct {
	look func(context.Context) error

	mu      sync.Mutex
	at      time.Time // when the last look ended
	took    time.Duration
	err     error // what it found
	looking chan struct{}
}

// ask returns what the last look found, and begins another if that is old. It waits for the
// first one, or one after damage, as long as ctx.
func (c *checked) ask(ctx context.Context) error {
	c.mu.Lock()
	if c.looking == nil && time.Since(c.at) > max(checkAge, checkShare*c.took) || c.err != nil && c.looking == nil {
		c.looking = make(chan struct{})
		go c.run(context.WithoutCancel(ctx), c.looking)
	}
	looking, known := c.looking, !c.at.IsZero() && c.err == nil
	c.mu.Unlock()
	if looking != nil && !known {
		select {
		case <-looking:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *checked) run(ctx context.Context, done chan struct{}) {
	begin := time.Now()
	err := c.look(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at, c.took = time.Now(), time.Since(begin); scu.CodeOf(err) != scu.CodeDamaged {
		err = nil // others ask whether the database answers
	}
	c.err, c.looking = err, nil
	close(done)
}
