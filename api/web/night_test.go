package web_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// whole checks that a job's page, once the job ended, has each of its steps once.
func (b *browser) whole(id string) {
	b.t.Helper()
	b.until("document.querySelector('[data-status=completed]')")
	var list struct{ Metrics []struct{ Step int } }
	must(b.t, json.Unmarshal(b.s.ask("GET", "/jobs/"+id+"/metrics?limit=10000", ""), &list))
	var points, last int
	b.eval("Number(document.querySelector('.hero [data-points]').dataset.points)", &points)
	b.eval("Number(document.querySelector('.hero .u-series .u-value').innerText.replace(/\\D/g, ''))", &last)
	if n := len(list.Metrics); points != n || last != list.Metrics[n-1].Step {
		b.t.Errorf("the page has %d steps up to %d, the job %d up to %d", points, last, n, list.Metrics[n-1].Step)
	}
}

// hidden has the page believe that it is in the background, or isn't.
func (b *browser) hidden(is string) {
	b.t.Helper()
	b.eval("Object.defineProperty(document, 'hidden', { configurable: true, get: () => "+is+" }); document.dispatchEvent(new Event('visibilitychange'))", nil)
}

// In the background a page holds no stream. A server that was restarted meanwhile, and a job
// that went on and ended, are there once it is looked at again, each step once.
func TestBackgroundOverARestart(t *testing.T) {
	s := serve(t)
	id := s.submit("through the night", 24, 0.05)
	b := open(t, s, 1280, 900)
	b.allow("net::ERR_")
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('.hero [data-points]')?.dataset.points > 20")
	b.hidden("true")
	b.until("document.querySelector('[data-link=asleep]')")
	s.restart()
	b.eval("window.dispatchEvent(new Event('online'))", nil)
	morning := open(t, s, 1280, 900)
	morning.visit("#/jobs/" + id)
	morning.until("document.querySelector('[data-status=completed]')")
	var status string
	b.eval("document.querySelector('[data-status]').dataset.status", &status)
	if status != "running" {
		t.Errorf("in the background it is %s already", status)
	}
	b.hidden("false")
	b.whole(id)
	morning.whole(id)
}

// A computer that slept finds its streams dead, without an error: the page notices the hours
// that are missing, and begins again.
func TestAfterSleep(t *testing.T) {
	s := serve(t)
	id := s.submit("asleep", 30, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('.hero [data-points]')?.dataset.points > 10 && document.querySelector('[data-link=live]')")
	begun := "performance.getEntriesByType('resource').filter((e) => e.name.includes('/jobs/" + id + "/curves')).length"
	var before int
	b.eval(begun, &before)
	b.eval("(() => { const now = Date.now; Date.now = () => now() + 9 * 3600e3; })()", nil)
	b.do(chromedp.Poll(fmt.Sprintf("%s > %d", begun, before), nil, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(patience)))
	b.whole(id)
}
