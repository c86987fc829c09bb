package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// half opens connections from a loopback address that send half a request each.
func half(t *testing.T, from, to string, n int) (all []net.Conn) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	for range n {
		c, err := d.Dial("tcp", to)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
		if err != nil && len(all) < maxEach {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// One address that holds more half requests than all connections there are keeps nobody
// else out, and is told to come again; when it leaves, it has its places back.
func TestHalfRequestsOfOneAddressKeepNobodyOut(t *testing.T) {
	r := start(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, l) }()
	defer func() {
		stop()
		must(t, <-served)
	}()
	crowd := half(t, "127.0.0.2", l.Addr().String(), maxConnections+1)
	refused, err := http.ReadResponse(bufio.NewReader(crowd[len(crowd)-1]), nil)
	must(t, err)
	said, err := io.ReadAll(refused.Body)
	if err != nil || refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" || !strings.Contains(string(said), "too many connections") {
		t.Errorf("%v %q, %v", refused.Status, said, err)
	}
	for i := range 3 {
		begin := time.Now()
		resp, err := http.Get(fmt.Sprintf("http://%s/livez", l.Addr()))
		must(t, err)
		resp.Body.Close()
		if took := time.Since(begin); resp.StatusCode != http.StatusOK || took > headerTime/2 {
			t.Errorf("request %d of another address: %s after %v", i, resp.Status, took)
		}
	}
	for _, c := range crowd {
		c.Close()
	}
}

// A place is given back once, however often it is left.
func TestPlaces(t *testing.T) {
	var p places
	first, second := p.take("10.0.0.1:5", 2), p.take("10.0.0.1:6", 2)
	if first == nil || second == nil || p.take("10.0.0.1:7", 2) != nil || p.take("10.0.0.2:7", 2) == nil {
		t.Fatal("a bound of two lets in another number than two")
	}
	first()
	first()
	if p.take("10.0.0.1:8", 2) == nil || p.take("10.0.0.1:9", 2) != nil {
		t.Error("one left, and not one came in")
	}
}

// An upload that only trickles is given up, one at the least rate isn't.
func TestUploadsHaveALeastRate(t *testing.T) {
	for name, c := range map[string]struct {
		each int // bytes every ten seconds
		ends bool
	}{"trickles": {100, true}, "slow": {20 * leastRate, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var deadline time.Time
				r := &untilStalled{ctx: t.Context(), deadline: func(at time.Time) error { deadline = at; return nil }, r: readerFunc(func(p []byte) (int, error) {
					time.Sleep(10 * time.Second)
					return c.each, nil
				})}
				ended := false
				for range 60 {
					r.Read(make([]byte, 1<<20))
					ended = ended || time.Now().After(deadline)
				}
				if ended != c.ends {
					t.Errorf("the deadline ended it: %v", ended)
				}
			})
		})
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
