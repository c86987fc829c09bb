package api

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// The stream of all jobs tells a new job, its steps and its end, as they come.
func TestAllEvents(t *testing.T) {
	r := start(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/events", nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func(event, text string) {
		t.Helper()
		for in := ""; lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				in = name
			}
			if in == event && strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("the stream ended without %s %s: %v", event, text, lines.Err())
	}
	id := r.submit(nil)
	next(jobEvent, `"queued"`)
	j := r.begin(id, 2)
	next(jobEvent, `"running"`)
	r.step(j, 0)
	next(metricsEvent, `"step":1`)
	r.step(j, 1)
	r.complete(j, []byte("zip"))
	next(jobEvent, `"completed"`)
	_, err = r.sdk.DeleteJob(t.Context(), id)
	must(t, err)
	next(deletedEvent, id)
}
