//go:build unix

package main

import "testing"

// Statuses are asked for where nobody looks at them too: of followers.
func TestPartsWithoutALook(t *testing.T) {
	var p parts
	p.timed(place)()
	if waits := p.reset(); len(waits) != 0 {
		t.Errorf("before the first look: %v", waits)
	}
	p.timed(place)()
	if waits := p.reset(); len(waits) != 1 {
		t.Errorf("after it: %v", waits)
	}
}
