package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// slowRate is one request in a while that no test takes, however slow the machine.
const slowRate = 0.001

// Each key has its own bucket, and is told what is left and when to come again.
func TestKeyRate(t *testing.T) {
	r := start(t, func(o *Options) { o.Key, o.KeyRate = "s3cret", slowRate })
	ada, _ := r.key("ada", scu.ScopeRead)
	bob, _ := r.key("bob", scu.ScopeRead)
	ok, late := 0, 0
	for range 30 {
		status, h, body := r.ask("GET", "/trainers", "", "Authorization", "Bearer "+ada)
		left, err := strconv.Atoi(h.Get("RateLimit-Remaining"))
		if h.Get("RateLimit-Limit") != "1" || err != nil || left > 0 || h.Get("RateLimit-Reset") == "" {
			t.Errorf("the headers: %v", h)
		}
		switch status {
		case 200:
			ok++
		default:
			late++
			e := r.refused(t, status, body, 429, scu.CodeTooMany, "")
			if after, err := strconv.Atoi(h.Get("Retry-After")); err != nil || after < 1 || !e.Retry {
				t.Errorf("Retry-After: %q, %+v", h.Get("Retry-After"), e)
			}
		}
	}
	if ok != 1 || late != 29 {
		t.Errorf("%d of 30 were answered", ok)
	}
	for _, key := range []string{bob, "s3cret"} {
		if status, _, _ := r.ask("GET", "/trainers", "", "Authorization", "Bearer "+key); status != 200 {
			t.Errorf("another key: %d", status)
		}
	}
	if status, _, _ := r.ask("GET", "/v1/models", "", "Authorization", "Bearer "+ada); status != 429 {
		t.Errorf("/v1: %d", status)
	}
}

// Who shows no key, or wrong ones, is bounded by address, and can't go on guessing the
// server's own key; who has a key of the table at the same address can go on.
func TestAddressRate(t *testing.T) {
	r := start(t, func(o *Options) { o.Key, o.AddressRate = "s3cret", slowRate })
	ada, _ := r.key("ada", scu.ScopeRead)
	counts := map[int]int{}
	for i := range 30 {
		status, _, _ := r.ask("GET", "/jobs", "", "Authorization", "Bearer guess"+strconv.Itoa(i))
		counts[status]++
	}
	if counts[401] != 1 || counts[429] != 29 {
		t.Errorf("guesses were answered %v", counts)
	}
	if status, h, _ := r.ask("GET", "/jobs", "", "Authorization", "Bearer s3cret"); status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("the right guess, too late: %d", status)
	}
	if status, _, _ := r.ask("GET", "/jobs", "", "Authorization", "Bearer "+ada); status != 200 {
		t.Errorf("a key of the table: %d", status)
	}
	if status, _, _ := r.ask("GET", "/health", ""); status != 429 {
		t.Errorf("what needs no key: %d", status)
	}
}

// A key of the server that can't be guessed isn't kept out by what others at its address do.
func TestLongKeyIsNotKeptOut(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	r := start(t, func(o *Options) { o.Key, o.AddressRate = key, 5 })
	for range 30 {
		r.ask("GET", "/jobs", "", "Authorization", "Bearer wrong")
	}
	if status, _, _ := r.ask("GET", "/jobs", "", "Authorization", "Bearer "+key); status != 200 {
		t.Errorf("the key, after many wrong ones: %d", status)
	}
}

// Signing in is slow for an address, whatever it shows.
func TestSignInRate(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	begin := time.Now()
	for i := range signInBurst {
		if status, _, _ := r.ask("POST", "/session", fmt.Sprintf(`{"key": "guess%d"}`, i)); status != 401 {
			t.Errorf("guess %d: %d", i, status)
		}
	}
	status, h, body := r.ask("POST", "/session", `{"key": "s3cret"}`)
	for more := time.Since(begin) / signInEvery; status == 200 && more > 0; more-- { // it was slow itself
		status, h, body = r.ask("POST", "/session", `{"key": "s3cret"}`)
	}
	r.refused(t, status, body, 429, scu.CodeTooMany, "")
	if after, err := strconv.Atoi(h.Get("Retry-After")); err != nil || after < 1 || after > 6 {
		t.Errorf("Retry-After: %q", h.Get("Retry-After"))
	}
	if status, _, _ := r.ask("GET", "/session", ""); status != 200 {
		t.Errorf("asking is free: %d", status)
	}
}

// A bucket fills with the time, and names don't take memory without end.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRates(10)
		taken := 0
		for {
			if _, ok := r.take("a"); !ok {
				break
			}
			taken++
		}
		s, ok := r.has("a")
		if taken != 20 || ok || s.next <= 0 || s.next > 100*time.Millisecond || s.full != 2*time.Second {
			t.Errorf("%d taken, then %+v, %v", taken, s, ok)
		}
		time.Sleep(500 * time.Millisecond)
		for range 5 {
			if _, ok := r.take("a"); !ok {
				t.Error("it doesn't fill")
			}
		}
		for i := range 3 * maxBuckets {
			r.take(strconv.Itoa(i))
		}
		if n := len(r.buckets); n > maxBuckets {
			t.Errorf("%d buckets", n)
		}
	})
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64", "::ffff:192.0.2.7": "::ffff:192.0.2.7", "fe80::1%eth0": "fe80::/64", "": "",
	} {
		if got := neighbourhood(address); got != want {
			t.Errorf("%s is counted with %s", address, got)
		}
	}
}

// Only a trusted proxy says for whom it asks, and only the last address that it didn't get
// from another one counts.
func TestTrustedProxies(t *testing.T) {
	trusted, err := ParseProxies([]string{"10.0.0.0/8", "fd00::/8", "192.0.2.7"})
	must(t, err)
	r := start(t, func(o *Options) { o.TrustedProxies = trusted })
	e := r.server.handler.(*echo.Echo)
	for _, c := range []struct{ peer, forwarded, want string }{
		{"203.0.113.9:5", "198.51.100.1", "203.0.113.9"},
		{"10.1.2.3:5", "198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:5", "1.1.1.1, 198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:5", "198.51.100.1, 10.9.9.9", "198.51.100.1"},
		{"10.1.2.3:5", "", "10.1.2.3"},
		{"10.1.2.3:5", "nonsense", "10.1.2.3"},
		{"192.0.2.7:5", "198.51.100.1", "198.51.100.1"},
		{"192.0.2.8:5", "198.51.100.1", "192.0.2.8"},
		{"[fd00::1]:5", "2001:db8::1", "2001:db8::1"},
		{"127.0.0.1:5", "198.51.100.1", "127.0.0.1"},
	} {
		req := httptest.NewRequest("GET", "/", nil)
		req.RemoteAddr = c.peer
		req.Header.Set("X-Forwarded-For", c.forwarded)
		if got := e.IPExtractor(req); got != c.want {
			t.Errorf("%s for %q is %s, not %s", c.peer, c.forwarded, got, c.want)
		}
		if got := r.server.proxies.has(c.peer); got != (c.peer[:3] == "10." || c.peer == "192.0.2.7:5" || c.peer == "[fd00::1]:5") {
			t.Errorf("%s is a proxy: %v", c.peer, got)
		}
	}
	for _, bad := range []string{"", "10.0.0.0/33", "proxy.example", "10.0.0.0/8,fd00::/8"} {
		if _, err := ParseProxies([]string{bad}); scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Behind a proxy that is trusted each client has its own places: a crowd of one keeps no
// other out, and many clients have more connections than one address may.
func TestClientsBehindAProxy(t *testing.T) {
	r := start(t, func(o *Options) {
		o.Key = "s3cret"
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, l) }()
	ask := func(client string) (net.Conn, *http.Response) {
		c, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nX-Forwarded-For: %s\r\n\r\n", client)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		return c, resp
	}
	for range maxEach {
		if _, resp := ask("198.51.100.1"); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	_, crowd := ask("198.51.100.1")
	body, err := io.ReadAll(crowd.Body)
	must(t, err)
	if crowd.StatusCode != 503 || crowd.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "from your address") {
		t.Errorf("one too many: %s %s", crowd.Status, body)
	}
	if _, resp := ask("198.51.100.2"); resp.StatusCode != 200 {
		t.Errorf("another client: %s", resp.Status)
	}
	stop()
	must(t, <-served)
}

// An owner's streams leave some for others.
func TestStreamsOfAnOwner(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	ada, _ := r.key("ada", scu.ScopeRead)
	bob, _ := r.key("bob", scu.ScopeRead)
	for range maxStreams / 2 {
		if resp := r.open(t.Context(), "GET", "/events", nil, ada); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	status, _, body := r.ask("GET", "/events", "", "Authorization", "Bearer "+ada)
	r.refused(t, status, body, 429, scu.CodeTooMany, "")
	writing, _ := r.key("ada", scu.ScopeSubmit)
	job, err := r.with(writing).Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"})
	must(t, err)
	r.v1Refused(t, "GET", "fine_tuning/jobs/"+job.JobID+"/events", "", 429, "rate_limit_exceeded", "", "Authorization", "Bearer "+ada)
	if resp := r.open(t.Context(), "GET", "/events", nil, bob); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}
