package main

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// unanswered sends a request that makes the first API key, and reads no answer: once the server
// is closed, the key is stored.
func unanswered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unanswered PATH BODY")
	}
	c, err := net.Dial("tcp", ts.Getenv("ADDRESS"))
	ts.Check(err)
	ts.Defer(func() { c.Close() })
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", args[0], len(args[1]), args[1])
	ts.Check(err)
	for {
		r, err := http.Get("http://" + ts.Getenv("ADDRESS") + "/jobs")
		ts.Check(err)
		r.Body.Close()
		if r.StatusCode == http.StatusUnauthorized {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
