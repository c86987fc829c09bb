package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// isTerminal reports whether w is a terminal where a bar can move.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, rows, err := term.GetSize(int(f.Fd()))
	return err == nil && rows > 0
}

// newDisplay shows a job as a bar on a terminal, and as lines elsewhere.
// told are warnings that the user has seen already.
func (a *app) newDisplay(told ...string) shower {
	d := &display{out: a.out, err: a.err, told: told}
	if isTerminal(a.out) {
		return &liveDisplay{display: d}
	}
	return d
}

// linesEvery is how often at most a step is worth a line; a step that was validated
// and the last one always are.
const linesEvery = 2 * time.Second

// display shows a job as lines.
type display struct {
	out   io.Writer
	err   io.Writer // takes warnings
	told  []string  // warnings that were shown
	said  string    // the state that was told last
	wrote time.Time
}

func (d *display) show(e client.Event) error {
	if e.Status != nil {
		return d.state(d.out, d.err, e.Status)
	}
	m := e.Metrics
	if m.ValLoss == nil && m.Step < m.Steps && time.Since(d.wrote) < linesEvery {
		return nil
	}
	d.wrote = time.Now()
	_, err := fmt.Fprintf(d.out, "step %d/%d  %s\n", m.Step, m.Steps, stepText(*m, 0))
	return err
}

// state tells a change of the job's state, new warnings first.
func (d *display) state(w, warn io.Writer, s *client.JobStatus) error {
	for _, text := range s.Warnings {
		if slices.Contains(d.told, text) {
			continue
		}
		d.told = append(d.told, text)
		if _, err := fmt.Fprintln(warn, "scu: warning:", text); err != nil {
			return err
		}
	}
	text := string(s.Status)
	if s.CurrentPhase != "" && s.Status == scu.Running {
		text += ": " + phaseText(s.CurrentPhase)
	}
	if s.QueuePosition > 1 {
		text += fmt.Sprintf(" (place %s)", place(*s))
	}
	if s.Attempt > 1 {
		text += fmt.Sprintf(" (attempt %d)", s.Attempt)
	}
	if text == d.said {
		return nil
	}
	d.said = text
	_, err := fmt.Fprintln(w, text)
	return err
}

// hiccup is a break of the connection that isn't worth a line.
const hiccup = time.Second

func (d *display) lost(since time.Duration) { tellLost(d.err, since) }

// tellLost says on w that the connection is lost.
func tellLost(w io.Writer, since time.Duration) {
	if since >= hiccup {
		fmt.Fprintf(w, "scu: connection lost, trying again (%.0f s)\n", since.Seconds())
	}
}

func (d *display) close() {}

// phaseText is a phase in words.
func phaseText(p scu.Phase) string { return strings.ReplaceAll(string(p), "_", " ") }

// liveDisplay shows the steps as a bar, below the lines of the states.
type liveDisplay struct {
	*display
	bars *mpb.Progress
	bar  *mpb.Bar

	mu   sync.Mutex // the bar is drawn by another goroutine
	last scu.Metrics
}

// shortestBar is the columns that the bar keeps, with the spaces around it.
const shortestBar = 12

func (d *liveDisplay) show(e client.Event) error {
	if e.Status != nil {
		if e.Status.Status.Ended() {
			d.close()
		}
		if d.bars != nil {
			return d.state(d.bars, d.bars, e.Status)
		}
		return d.state(d.out, d.err, e.Status)
	}
	d.mu.Lock()
	val := d.last.ValLoss // stays until there is a newer one
	if d.last = *e.Metrics; d.last.ValLoss == nil {
		d.last.ValLoss = val
	}
	d.mu.Unlock()
	if d.bars == nil {
		d.bars = mpb.New(mpb.WithOutput(d.out), mpb.WithWidth(24))
		d.bar = d.bars.New(int64(e.Metrics.Steps), mpb.BarStyle(),
			mpb.PrependDecorators(decor.CountersNoUnit("%d/%d ")),
			mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string {
				d.mu.Lock()
				defer d.mu.Unlock()
				return " " + stepText(d.last, max(1, s.AvailableWidth-shortestBar))
			})))
	}
	d.bar.SetCurrent(int64(e.Metrics.Step))
	return nil
}

func (d *liveDisplay) lost(since time.Duration) {
	if d.bars != nil {
		tellLost(d.bars, since) // above the bar
		return
	}
	d.display.lost(since)
}

func (d *liveDisplay) close() {
	if d.bars == nil {
		return
	}
	d.bar.Abort(false) // the job may end before its last step
	d.bars.Wait()
	d.bars = nil
}

// bytesBar shows how much of a file went over, on a terminal; done ends it.
func (a *app) bytesBar(what string) (progress client.Progress, done func()) {
	if a.json || !isTerminal(a.err) {
		return nil, func() {}
	}
	bars := mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(24))
	bar := bars.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(what+" ")), mpb.AppendDecorators(decor.CountersKibiByte(" % .1f / % .1f")))
	return func(done, total int64) {
			if total > 0 {
				bar.SetTotal(total, false)
			}
			bar.SetCurrent(done)
		}, func() {
			bar.Abort(true)
			bars.Wait()
		}
}
