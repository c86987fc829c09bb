package client

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// Bounds of Watch.
const (
	maxEventLine = 1 << 20
	silence      = 45 * time.Second // three of the server's signs of life
	firstPause   = 250 * time.Millisecond
	lastPause    = 5 * time.Second
	maxFailures  = 10 // in a row, without an event between
)

// Event is one thing that happened to a job: one of the two is set.
type Event struct {
	Status  *JobStatus   // at first, and at each change
	Metrics *scu.Metrics // each step
}

// Watch tells f everything that happens to a job: its state, the steps above after
// (0: from the first), and what comes, until the job ends; it returns nil then.
// Where the connection breaks it connects again and goes on after the last step,
// ten times in a row. An error of f, or of ctx, ends it.
func (c *Client) Watch(ctx context.Context, id string, after int, f func(Event) error) error {
	return c.WatchThrough(ctx, id, after, f, func(time.Duration) {})
}

// WatchThrough is Watch, which also tells lost of each failure to connect again: for how
// long there has been no connection.
func (c *Client) WatchThrough(ctx context.Context, id string, after int, f func(Event) error, lost func(since time.Duration)) error {
	failures, pause := 0, firstPause
	var broke time.Time // zero while events come
	for {
		w := &watch{c: c, after: after, f: f}
		ended, err := w.once(ctx, id)
		if ended || err != nil && (w.final || ctx.Err() != nil || !scu.AsError(err).Retry) {
			return err
		}
		if w.heard || broke.IsZero() {
			broke = time.Now()
		}
		if w.heard {
			failures, pause = 0, firstPause
		}
		after = w.after
		if failures++; failures > maxFailures {
			if err == nil {
				err = scu.Errorf(scu.CodeUnavailable, "the event stream of job %s keeps breaking off", id)
			}
			return err
		}
		lost(time.Since(broke))
		if err := scu.Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, lastPause)
	}
}

// watch is one connection of Watch.
type watch struct {
	c     *Client
	after int
	f     func(Event) error
	heard bool // an event came
	final bool // the error is f's
}

// once reads events until the job's or the connection's end.
func (w *watch) once(ctx context.Context, id string) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := http.Header{"Accept": {"text/event-stream"}}
	if w.after > 0 {
		h.Set("Last-Event-ID", strconv.Itoa(w.after))
	}
	resp, err := w.c.do(ctx, http.MethodGet, jobPath(id, "/events"), h, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, refused(resp)
	}
	hush := time.AfterFunc(silence, cancel)
	defer hush.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEventLine)
	var kind, data string
	for lines.Scan() {
		hush.Reset(silence)
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			kind = value
		case "data":
			data += value
		case "":
			if lines.Text() == "" && data != "" {
				if ended, err := w.tell(kind, data); ended || err != nil {
					return ended, err
				}
				kind, data = "", ""
			}
		}
	}
	return false, nil // broken off: whatever the reason, the next connection tells
}

// tell hands one event on. Kinds that a newer server has are passed over.
func (w *watch) tell(kind, data string) (ended bool, err error) {
	var e Event
	switch kind {
	case "status":
		err = json.Unmarshal([]byte(data), &e.Status)
	case "metrics":
		err = json.Unmarshal([]byte(data), &e.Metrics)
	default:
		return false, nil
	}
	if err != nil || e.Status == nil && e.Metrics == nil {
		return false, scu.Errorf(scu.CodeUnavailable, "the server sent a broken event")
	}
	w.heard = true
	if e.Metrics != nil {
		w.after = e.Metrics.Step
	}
	if err := w.f(e); err != nil {
		w.final = true
		return false, err
	}
	return e.Status != nil && e.Status.Status.Ended(), nil
}
