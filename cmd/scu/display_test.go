package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/shannon-control/scu"
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

// A step fits the terminal: the loss stays, what matters less goes first.
func TestStepFits(t *testing.T) {
	val := 3.1351
	m := scu.Metrics{CE: 4.60694, S: 0.1966, TargetS: 0.01, LambdaNext: 19.66, TokensPerSecond: 4491, ETAMinutes: 151, ValLoss: &val}
	for width, want := range map[int]string{
		0:  "ce 4.6069  S 0.1966 (target 0.01)  lambda 19.66  4,491 tok/s  ETA 2:31:00  val 3.1351",
		70: "ce 4.6069  S 0.1966 (target 0.01)  ETA 2:31:00  val 3.1351",
		50: "ce 4.6069  S 0.1966 (target 0.01)  ETA 2:31:00",
		24: "ce 4.6069  ETA 2:31:00",
		1:  "ce 4.6069",
	} {
		if got := stepText(m, width); got != want {
			t.Errorf("in %d columns: %q, want %q", width, got, want)
		}
	}
}
