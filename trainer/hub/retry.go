package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxRetries    = 5 // failures in a row, without a byte of progress, before giving up
	firstBackoff  = 1 * time.Second
	maxBackoff    = 8 * time.Second
	maxRetryAfter = 10 * time.Minute // a server that asks for more gets an error instead
)

// permanent marks an error as not worth another try.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry calls try until it succeeds, fails for good, or fails again after retries tries that
// brought nothing. try reports whether it made progress before it failed.
func (c *Client) retry(ctx context.Context, retries int, try func() (progress bool, err error)) error {
	failures, backoff := 0, firstBackoff
	for {
		progress, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if progress {
			failures, backoff = 0, firstBackoff
		}
		failures++
		if failures > retries || !transient(err) {
			return err
		}
		delay := backoff
		var status *StatusError
		if errors.As(err, &status) && status.retryAfter > 0 {
			if status.retryAfter > maxRetryAfter {
				return fmt.Errorf("the server asks to wait for %v: %w", status.retryAfter, err)
			}
			delay = status.retryAfter
		}
		if err := c.wait(ctx, delay); err != nil {
			return err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (c *Client) wait(ctx context.Context, d time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// transient reports whether another try may help: the network, a busy or broken server, a file
// that did not come whole.
func transient(err error) bool {
	var status *StatusError
	switch {
	case errors.As(err, new(permanent)), noSuchHost(err):
		return false
	case errors.As(err, &status):
		switch status.Status {
		case 408, 429, 500, 502, 503, 504:
			return true
		}
		return false
	default:
		return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrCorrupt)
	}
}

// retryAfter is how long a server asks to wait: Retry-After in seconds or as a date, or the
// reset time of an exhausted rate limit (the Hub sends `"api";r=0;t=55`).
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	left, reset := -1, 0
	for part := range strings.SplitSeq(h.Get("RateLimit"), ";") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
		switch {
		case err != nil:
		case name == "r":
			left = int(n)
		case name == "t":
			reset = int(n)
		}
	}
	if left == 0 {
		return time.Duration(reset) * time.Second
	}
	return 0
}

// noSuchHost says that there is no network, or a wrong endpoint: waiting mends neither.
func noSuchHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
