package api

import (
	"testing"

	"github.com/shannon-control/scu"
)

// While the disk is nearly full nothing new is taken in, and all else goes on.
func TestNothingNewOnAFullDisk(t *testing.T) {
	var full error
	r := start(t, func(o *Options) { o.Room = func() error { return full } })
	id := r.submit(nil)
	full = scu.Errorf(scu.CodeStorage, "the disk is nearly full")
	for _, path := range []string{"/jobs/submit", "/jobs/batch", "/comparisons", "/files"} {
		status, header, body := r.ask("POST", path, "{}")
		r.refused(t, status, body, 507, scu.CodeStorage, "")
		if header.Get("Retry-After") == "" {
			t.Errorf("%s doesn't say when to come again", path)
		}
	}
	if status, _, body := r.ask("POST", "/jobs/"+id+"/cancel", ""); status != 200 {
		t.Errorf("a cancel is answered %d %s", status, body)
	}
	full = nil
	r.submit(nil)
}
