//go:build unix

package main

import (
	"strings"
	"testing"
)

// Every row is measured, in small.
func TestTable(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out, options{scale: 0.002, queued: 100, followers: 5}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"submissions over HTTP", "status meanwhile", "submission to start", "steps into NATS and PostgreSQL", "lag at", "read model made anew",
		"offered: status", "with 100 queued", "beside a client that follows another", "follow one job", "follow a job each"} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("no row %q in\n%s", row, out.String())
		}
	}
}
