package api

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/shannon-control/scu"
)

const (
	// maxBuckets bounds how many keys or addresses are counted at a time.
	maxBuckets = 10_000
	// Sign-ins of an address: whoever tries keys is slow.
	signInBurst = 10
	signInEvery = 6 * time.Second
)

// rates bounds how often something is done under each of many names: a bucket of tokens for
// each. It is safe for concurrent use.
type rates struct {
	each  rate.Limit // tokens a second
	burst int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

// newRates allows so many a second, and twice as many at once; 0 is no bound.
func newRates(each float64) *rates {
	if each <= 0 {
		return nil
	}
	return &rates{each: rate.Limit(each), burst: max(1, int(2*each)), buckets: map[string]*rate.Limiter{}}
}

func (r *rates) bucket(name string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[name]
	if b == nil {
		if len(r.buckets) >= maxBuckets {
			r.sweep(time.Now())
		}
		b = rate.NewLimiter(r.each, r.burst)
		r.buckets[name] = b
	}
	return b
}

// sweep forgets buckets that are full, which say nothing; if that isn't enough, all: then
// there are more names than one can be kept apart.
func (r *rates) sweep(now time.Time) {
	for name, b := range r.buckets {
		if b.TokensAt(now) >= float64(r.burst) {
			delete(r.buckets, name)
		}
	}
	if len(r.buckets) >= maxBuckets {
		clear(r.buckets)
	}
}

// standing is what a name may still do.
type standing struct {
	burst, left int
	full        time.Duration // until the bucket is full
	next        time.Duration // until there is a token
}

// take takes a token, and reports whether there was one.
func (r *rates) take(name string) (standing, bool) {
	b, now := r.bucket(name), time.Now()
	ok := b.AllowN(now, 1)
	return r.standing(b, now), ok
}

// has reports whether there is a token, and takes none.
func (r *rates) has(name string) (standing, bool) {
	b, now := r.bucket(name), time.Now()
	return r.standing(b, now), b.TokensAt(now) >= 1
}

func (r *rates) standing(b *rate.Limiter, now time.Time) standing {
	tokens := b.TokensAt(now)
	wait := func(n float64) time.Duration {
		return time.Duration(max(0, n-tokens) / float64(r.each) * float64(time.Second))
	}
	return standing{r.burst, max(0, int(tokens)), wait(float64(r.burst)), wait(1)}
}

// tell sets the headers RateLimit of an answer: how many requests there may be at once, how
// many are left, and in how many seconds all of them are again.
func (s standing) tell(h http.Header) {
	h.Set("RateLimit-Limit", strconv.Itoa(s.burst))
	h.Set("RateLimit-Remaining", strconv.Itoa(s.left))
	h.Set("RateLimit-Reset", seconds(s.full))
}

// refuse is the refusal of a request too many, and sets its headers.
func (s standing) refuse(h http.Header, what string) error {
	s.tell(h)
	h.Set("Retry-After", seconds(max(s.next, time.Second)))
	return scu.Errorf(scu.CodeTooMany, "too many %s", what).WithHint("wait for as many seconds as Retry-After says: %s", seconds(max(s.next, time.Second)))
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// neighbourhood is whom an address is counted with: one of IPv6 with its /64, of which each
// customer has as many as there are.
func neighbourhood(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Unmap().Is4() {
		return address
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}
