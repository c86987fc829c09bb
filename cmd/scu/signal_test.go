package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server that waits for a request at its end is ended by the second signal.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	c, url := serving(t, "--data", t.TempDir())
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	check(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "POST /files HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"+
		"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n")
	check(t, err)
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the upload doesn't begin: %q, %v", line, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	again := time.NewTicker(20 * time.Millisecond) // two signals at once are one
	defer again.Stop()
	for {
		select {
		case <-ended:
			if s, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() || s.Signal() != syscall.SIGTERM {
				t.Errorf("it ended by itself: %v", c.ProcessState)
			}
			return
		case <-again.C:
			c.Process.Signal(syscall.SIGTERM) // fails once it has ended
		}
	}
}

// A terminal that closes, and a reader of the log that ends before the server does,
// leave a drained server: it ends by itself, without an error.
func TestHangupAndBrokenPipeDrain(t *testing.T) {
	heard := make(chan os.Signal, 1) // or servers would ignore a hangup where this test does, as under nohup
	signal.Notify(heard, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(heard) })
	for name, c := range map[string]struct {
		signal syscall.Signal
		broken bool // nobody reads the log any more
	}{
		"hangup":      {signal: syscall.SIGHUP},
		"broken pipe": {signal: syscall.SIGTERM, broken: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("scu", "serve", "--listen", "127.0.0.1:0", "--json", "--data", t.TempDir())
			log, err := cmd.StderrPipe()
			check(t, err)
			out, err := cmd.StdoutPipe()
			check(t, err)
			check(t, cmd.Start())
			defer cmd.Process.Kill()
			if _, err := bufio.NewReader(out).ReadBytes('\n'); err != nil {
				t.Fatalf("the server didn't get ready: %v", err)
			}
			if c.broken {
				log.Close()
				out.Close()
			} else {
				go io.Copy(io.Discard, log)
			}
			check(t, cmd.Process.Signal(c.signal))
			if err := cmd.Wait(); err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}
