package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// shortages are the streams that aren't as they should be, since NATS has no room for that. The
// supervisor tries again until it has.
type shortages struct {
	mu sync.Mutex
	of map[string]shortage // by stream
}

// shortage is what a stream lacks.
type shortage struct {
	what string
	why  *scu.Error
}

// leftOut reports whether a stream isn't there, since it can't be made: it has nothing to sweep.
func (s *shortages) leftOut(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[stream].what == cantBeMade
}

// any reports whether any stream lacks anything.
func (s *shortages) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of) > 0
}

// Shortages tells which streams aren't as they should be since NATS has no room, and what would
// make it.
func (b *Broker) Shortages() (all []*scu.Error) {
	b.short.mu.Lock()
	defer b.short.mu.Unlock()
	for _, stream := range slices.Sorted(maps.Keys(b.short.of)) {
		all = append(all, b.short.of[stream].why)
	}
	return all
}

// lacks notes what a stream lacks: what, told by why.
func (b *Broker) lacks(stream, what string, why *scu.Error) {
	b.short.mu.Lock()
	if b.short.of == nil {
		b.short.of = map[string]shortage{}
	}
	before := b.short.of[stream]
	b.short.of[stream] = shortage{what, why}
	b.short.mu.Unlock()
	if before.what != what {
		b.log.Warn("NATS has no room for a stream as it should be; it is tried again until it has", "stream", stream, "error", why)
	}
}

// lacksNothing notes that a stream is as it should be.
func (b *Broker) lacksNothing(stream string) {
	b.short.mu.Lock()
	before := b.short.of[stream]
	delete(b.short.of, stream)
	b.short.mu.Unlock()
	if before.what != "" {
		b.log.Info("a stream is as it should be: NATS has room again", "stream", stream, "before", before.what)
	}
}

// noRoom is the error of a stream whose limit is to be so many bytes, 0 or less if it is to have
// none: what came of it, why, and what would make it fit.
func (b *Broker) noRoom(ctx context.Context, stream, what string, limit int64, why error) *scu.Error {
	asked := ""
	if limit > 0 {
		asked = fmt.Sprintf(" with a limit of %d bytes", limit)
	}
	beside, more := "", "more than the sum of all limits"
	if kept, stored, err := b.keptFree(ctx, stream); err == nil { // else NATS's own words have to do
		beside = fmt.Sprintf(" beside the %d bytes that the limits of other streams keep free, where %d are stored", kept, stored)
		more = fmt.Sprintf("more than %d bytes", max(kept, stored)+max(limit, 0))
	}
	reason := why.Error()
	var api *jetstream.APIError
	if errors.As(why, &api) {
		reason = fmt.Sprintf("%s, %d", api.Description, api.ErrorCode)
	}
	e := scu.Errorf(scu.CodeStorage, "stream %s %s: NATS has no room for it%s%s (%s)", stream, what, asked, beside, reason).
		WithHint("set max_file_store of each nats-server to %s, or free its disk and start it again if it sets none; or lower log-max-bytes (SCU_LOG_MAX_BYTES), metrics-max-bytes or store-max-bytes", more)
	e.Err = why
	return e
}

// missing is the error of a stream or bucket that isn't there: why NATS can't make it, if that is known.
func (b *Broker) missing(stream string, err error) error {
	if !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	b.short.mu.Lock()
	defer b.short.mu.Unlock()
	if s, lacks := b.short.of[stream]; lacks {
		return s.why
	}
	return err
}

// cantBeMade is what a new stream lacks.
const cantBeMade = "can't be made"

// keptFree is what NATS keeps free in files for the limits of all streams but one, and what is stored of that.
func (b *Broker) keptFree(ctx context.Context, besides string) (kept, stored int64, err error) {
	err = b.try(ctx, func(ctx context.Context) error {
		all := b.js.ListStreams(ctx)
		for s := range all.Info() {
			if s.Config.Storage == jetstream.FileStorage && s.Config.Name != besides {
				kept += max(s.Config.MaxBytes, 0)
				stored += int64(s.State.Bytes)
			}
		}
		return all.Err()
	})
	return kept, stored, err
}

// lacksStorage reports whether NATS refused a stream since it can't keep its limit free.
func lacksStorage(err error) bool {
	switch codeOf(err) {
	case codeNoResources, codeNoMemory, codeNoStorage:
		return true
	case codeNoPeers:
		return strings.Contains(err.Error(), "storage")
	}
	return false
}
