package main

import (
	"os"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
)

// Only an adapter with the bytes that its job's entry in the log says is copied.
func TestCopiesAreWhatTheLogSays(t *testing.T) {
	s, err := embedded.Start(embedded.Config{Rights: broker.Rights, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := broker.Connect(t.Context(), broker.Options{Server: s})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := &process{set: Settings{AdaptersDir: t.TempDir()}, broker: b}
	j := scu.Job{ID: scu.NewJobID(), Attempt: 1}
	_, sum, err := b.PutAdapter(t.Context(), scu.AdapterKey{Job: j.ID, Attempt: j.Attempt}, strings.NewReader("a zip"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sum    string
		copies int
	}{{strings.Repeat("0", 64), 0}, {sum, 1}} {
		j.Adapter = &scu.Adapter{SHA256: c.sum}
		err := p.copyAdapter(t.Context(), j)
		if (err == nil) != (c.copies == 1) {
			t.Errorf("sum %s: %v", c.sum, err)
		}
		left, err := os.ReadDir(p.set.AdaptersDir)
		if err != nil || len(left) != c.copies {
			t.Errorf("sum %s: %v, %v", c.sum, left, err)
		}
	}
}
