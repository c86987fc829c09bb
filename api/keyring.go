package api

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/shannon-control/scu"
)

const (
	// keysAge is how old the table may be; older, keys are asked for one by one.
	keysAge = 5 * time.Second
	// usedEvery is how often it is noted that a key is used.
	usedEvery = time.Hour
	// newKeysRate is how many keys that the table doesn't have are asked for in a second: they
	// may be new, or anybody's guesses.
	newKeysRate = 50
)

// keyring is the table of API keys as this API knows it: it follows the one that all APIs
// share. A key that is revoked there takes what it has open here with it.
type keyring struct {
	keys  scu.Keys
	log   *slog.Logger
	asked *rate.Limiter // for keys that the table doesn't have

	mu   sync.RWMutex
	held map[string]*heldKey // by id
	at   time.Time           // when the table was known to be this; zero: never
	made bool                // there was a key at some time

	owners bool                  // there is, or was, one with an owner
	of     map[string]scu.Limits // an owner's, of all its keys
}

// heldKey is a key and what hangs on it.
type heldKey struct {
	scu.Key
	valid  context.Context // ends when the key does
	end    context.CancelCauseFunc
	expiry *time.Timer // nil: it doesn't expire
	noted  time.Time   // when its use was noted last
	looked time.Time   // when it was looked up; zero: it came with the table
}

var (
	errRevoked = scu.Errorf(scu.CodeUnauthorized, "the API key was revoked").WithHint("ask the administrator for another")
	errExpired = scu.Errorf(scu.CodeUnauthorized, "the API key has expired").WithHint("ask the administrator for another")
)

func newKeyring(keys scu.Keys, log *slog.Logger) *keyring {
	return &keyring{keys: keys, log: log, held: map[string]*heldKey{}, asked: rate.NewLimiter(newKeysRate, newKeysRate)}
}

// set takes in the table. A key that was looked up just now may be newer than it, and stays.
func (r *keyring) set(t scu.KeyTable) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.held
	r.made = t.Made
	r.held, r.of, r.at = make(map[string]*heldKey, len(t.Keys)), map[string]scu.Limits{}, time.Now()
	for _, k := range t.Keys {
		h := old[k.ID]
		if h == nil || h.Hash != k.Hash {
			h = hold(k)
		}
		if k.LastUsed != nil && k.LastUsed.After(h.noted) {
			h.noted = *k.LastUsed
		}
		r.held[k.ID] = h
		if k.Owner != "" {
			r.owners, r.of[k.Owner] = true, r.of[k.Owner].Most(k.Limits)
		}
	}
	for id, h := range old {
		switch {
		case r.held[id] == h:
		case r.held[id] == nil && h.Revision > t.Revision && time.Since(h.looked) < keysAge:
			r.held[id] = h
		default:
			h.drop(errRevoked)
		}
	}
}

func hold(k scu.Key) *heldKey {
	h := &heldKey{Key: k}
	h.valid, h.end = context.WithCancelCause(context.Background())
	if k.ExpiresAt != nil {
		h.expiry = time.AfterFunc(time.Until(*k.ExpiresAt), func() { h.end(errExpired) })
	}
	return h
}

// drop ends what hangs on the key.
func (h *heldKey) drop(why error) {
	if h.expiry != nil {
		h.expiry.Stop()
	}
	h.end(why)
}

// close forgets the table: what it held is for one run of the server.
func (r *keyring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.held {
		h.drop(context.Canceled)
	}
	r.held, r.at = map[string]*heldKey{}, time.Time{}
}

// known returns a key as the table has it, and whether the table is known to be right now.
func (r *keyring) known(id string) (h *heldKey, now bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.held[id], time.Since(r.at) < keysAge
}

// shown waits, at most patience, until the table has a key, or has it no more: what was changed
// through this API holds here once it is answered.
func (r *keyring) shown(ctx context.Context, id string, there bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if h, now := r.known(id); !now || (h != nil) == there { // a table that isn't followed isn't used
			return
		}
		if scu.Sleep(ctx, glance) != nil {
			return
		}
	}
}

// find returns the key of a text; nil if it isn't one, was revoked or has expired. An
// error means that it can't be told now.
func (r *keyring) find(ctx context.Context, text string) (*heldKey, error) {
	id, ok := scu.KeyID(text)
	if !ok {
		return nil, nil
	}
	h, err := r.byID(ctx, id)
	if err != nil || h == nil || !h.Matches(text) {
		return nil, err
	}
	return h, nil
}

// byID returns the key of an id; nil if there is none, or it has expired.
func (r *keyring) byID(ctx context.Context, id string) (*heldKey, error) {
	h, now := r.known(id)
	if !now || h == nil && r.asked.Allow() { // a key that was made just now isn't in the table yet
		k, err := r.keys.Key(ctx, id)
		switch {
		case scu.CodeOf(err) == scu.CodeNotFound:
			return nil, nil
		case err != nil:
			return nil, scu.Errorf(scu.CodeUnavailable, "API keys can't be looked up now: %w", err).WithHint("try again")
		}
		h = r.holdToo(k)
	}
	if h == nil || h.Expired(time.Now()) {
		return nil, nil
	}
	return h, nil
}

// limits are those that an owner's keys give it.
func (r *keyring) limits(owner string) scu.Limits {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.of[owner]
}

// running is how many jobs of each owner may run at once, most being what holds for those
// whose keys don't say.
func (r *keyring) running(most int) map[string]int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all map[string]int
	put := func(owner string, n int) {
		if n > 0 {
			if all == nil {
				all = map[string]int{}
			}
			all[owner] = n
		}
	}
	put(scu.EachOwner, most)
	for owner, l := range r.of {
		put(owner, l.Running)
	}
	return all
}

// owned reports whether a key may have an owner.
func (r *keyring) owned() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.owners || r.at.IsZero()
}

// holdToo holds a key that was looked up, so that what it opens ends with it once the table
// is followed.
func (r *keyring) holdToo(k scu.Key) *heldKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[k.ID]
	if h == nil || h.Hash != k.Hash {
		h = hold(k)
		h.looked = time.Now()
		r.held[k.ID] = h
	}
	return h
}

// any reports whether there is any key, or was: a table that lost its keys lets nobody in.
func (r *keyring) any(ctx context.Context) (bool, error) {
	r.mu.RLock()
	some, ever := len(r.held) > 0 || r.made, !r.at.IsZero()
	r.mu.RUnlock()
	if ever {
		return some, nil
	}
	all, err := r.keys.Keys(ctx)
	if err != nil || len(all) > 0 {
		return len(all) > 0, err
	}
	return r.keys.KeysMade(ctx)
}

// gone reports whether there were keys and are none.
func (r *keyring) gone() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.made && !r.at.IsZero() && len(r.held) == 0
}

// note notes that a key is used, once in a while. What is noted ends with the key.
func (r *keyring) note(id string) {
	r.mu.Lock()
	h := r.held[id]
	due := h != nil && time.Since(h.noted) > usedEvery
	if due {
		h.noted = time.Now()
	}
	r.mu.Unlock()
	if !due {
		return
	}
	go func() {
		if err := r.keys.NoteKeyUse(h.valid, id, time.Now()); err != nil && h.valid.Err() == nil {
			r.log.Warn("that a key is used can't be noted", "key", id, "err", err)
		}
	}()
}

// followKeys keeps the table up to date until ctx ends, and tells those who hand out jobs
// how many of an owner may run.
func (s *Server) followKeys(ctx context.Context) {
	defer s.keys.close()
	told, said := false, map[string]int(nil)
	s.o.Broker.WatchKeys(ctx, func(t scu.KeyTable) {
		s.keys.set(t)
		running := s.keys.running(s.o.Limits.Running)
		if told && maps.Equal(running, said) {
			return
		}
		if err := s.o.Broker.LimitRunning(ctx, running); err != nil {
			s.log.Warn("how many jobs of an owner may run can't be told; trying again", "err", err)
			return
		}
		told, said = true, running
	})
}
