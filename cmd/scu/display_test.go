package main

import (
	"bytes"
	"testing"
	"time"
)

// A lost connection is told once it is no hiccup.
func TestConnectionLost(t *testing.T) {
	var out, err bytes.Buffer
	d := &display{out: &out, err: &err}
	for _, since := range []time.Duration{0, 900 * time.Millisecond, 12 * time.Second} {
		d.lost(since)
	}
	if want := "scu: connection lost, trying again (12 s)\n"; err.String() != want || out.Len() > 0 {
		t.Errorf("told %q and %q", err.String(), out.String())
	}
}
