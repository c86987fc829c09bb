package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// places bounds how much of something one address may have at a time, so that there is
// some left for others. Its zero value has none taken. It is safe for concurrent use.
type places struct {
	mu    sync.Mutex
	taken map[string]int
}

// take takes a place of at most so many for an address, and returns what gives it back;
// nil if all are taken.
func (p *places) take(address string, most int) (leave func()) {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[address] >= most {
		return nil
	}
	if p.taken == nil {
		p.taken = map[string]int{}
	}
	p.taken[address]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.taken[address]--; p.taken[address] == 0 {
			delete(p.taken, address)
		}
	})
}

// halves bounds how much of something is open at a time, of which no owner has more than half.
// It is safe for concurrent use.
type halves struct {
	what string // it is, for a refusal
	most int
	open atomic.Int64
	own  places
}

// take counts one more, of the caller's owner too, and returns what ends its count. hint is what
// to do if too many are open.
func (h *halves) take(ctx context.Context, hint string) (leave func(), err error) {
	own := func() {}
	if owner := callerOf(ctx).owner; owner != "" {
		if own = h.own.take(owner, h.most/2); own == nil {
			return nil, scu.Errorf(scu.CodeTooMany, "%s has %d %s open, which is the limit", owner, h.most/2, h.what).WithHint("%s", hint)
		}
	}
	leave = func() { h.open.Add(-1); own() }
	if h.open.Add(1) > int64(h.most) {
		leave()
		return nil, scu.Errorf(scu.CodeUnavailable, "%d %s are open, which is the limit", h.most, h.what).WithHint("%s", hint)
	}
	return leave, nil
}

// fairListener accepts so many connections of an address at a time, and tells the rest to
// come again.
type fairListener struct {
	net.Listener
	most   int
	free   func(address string) bool // proxies, whose clients are counted one by one
	places places
}

// crowded answers a connection too many, in the form of every refusal; nothing of its
// request was read.
var crowded = func() string {
	body, err := json.Marshal(client.ErrorBody{Error: scu.Errorf(scu.CodeUnavailable, "too many connections from your address are open").
		WithHint("close some, or use one for several requests; a proxy before the server counts as one address unless the server trusts it (--trusted-proxies)")})
	if err != nil {
		panic(err) // it is plain data
	}
	return fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}()

// Accept implements net.Listener.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.free(c.RemoteAddr().String()) {
			return c, nil
		}
		if leave := l.places.take(c.RemoteAddr().String(), l.most); leave != nil {
			return &placedConn{c, leave}, nil
		}
		c.SetWriteDeadline(time.Now().Add(time.Second)) // it fits into any buffer
		io.WriteString(c, crowded)
		c.Close()
	}
}

// placedConn gives its place back when it is closed.
type placedConn struct {
	net.Conn
	leave func()
}

func (c *placedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
