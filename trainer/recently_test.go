package trainer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shannon-control/scu"
)

// The trainers are asked for once in a while, even if the first who asked has left.
func TestRecently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		trainers := Recently(time.Second, func(ctx context.Context) []scu.Presence {
			asked++
			return make([]scu.Presence, asked)
		})
		gone, leave := context.WithCancel(t.Context())
		leave()
		trainers(gone)
		if n := len(trainers(t.Context())); n != 1 || asked != 1 {
			t.Errorf("%d trainers after %d questions", n, asked)
		}
		time.Sleep(2 * time.Second)
		if n := len(trainers(t.Context())); n != 2 {
			t.Errorf("%d trainers: an old answer", n)
		}
	})
}
