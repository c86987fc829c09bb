// Package porttest chooses ports for the servers of tests. They are below those that systems choose
// themselves: between the choice and the server's start, which may take a minute, and while a
// server is away, no other program gets one.
package porttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Range is where a package's tests have their ports. Each has its own, since tests of several
// packages run at once.
type Range struct{ first, n int }

// The ranges.
var (
	S3      = Range{10_000, 5_000} // blobs/s3
	Cluster = Range{15_000, 5_000} // scripts/cluster
	Broker  = Range{20_000, 10_000}
	Web     = Range{30_000, 2_500} // api/web
)

// Listen holds a free loopback port, until it is closed for the server.
func (r Range) Listen() (net.Listener, error) {
	for {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", r.first+rand.IntN(r.n)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
}
