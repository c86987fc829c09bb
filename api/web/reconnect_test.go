package web_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// A page that stays open while the server is stopped says so, and is right again, by itself,
// once the server is back and its job goes on.
func TestReconnect(t *testing.T) {
	s := serve(t)
	id := s.submit("over a restart", 60, 0.05)
	b, list := open(t, s, 1280, 900), open(t, s, 1280, 900)
	for _, b := range []*browser{b, list} {
		b.allow("net::ERR_") // of what is tried while the server is gone
	}
	b.visit("#/jobs/" + id)
	list.visit("#/jobs")
	list.says(".run", "over a restart")
	b.until("document.querySelector('.hero [data-points]')?.dataset.points > 20")
	s.stop()
	b.says(".note.warn", "Connection lost")
	list.says(".note.warn", "Connection lost")
	b.shot("lost")
	s.again()
	b.until("document.querySelector('[data-link=live]')")
	list.until("document.querySelector('[data-link=live]')")
	b.says(".events", "Attempt 2")
	b.says(".events", "Handed back")
	b.clickText("Stop and keep")
	b.until("document.querySelector('[data-status=completed]')")
	list.says("tbody tr", "completed")
	var steps, points int
	b.eval("Number(document.querySelector('.hero [data-points]').dataset.points)", &points)
	b.eval("fetch('/jobs/"+id+"/metrics?limit=10000').then((r) => r.json()).then((m) => m.metrics.length)", &steps)
	if steps != points {
		t.Errorf("the chart has %d steps of %d", points, steps)
	}
	b.shot("after-restart")
}

// Errors are shown in words: a job that there isn't, one that failed, a text that would be
// HTML elsewhere.
func TestErrorsAndTexts(t *testing.T) {
	s := serve(t)
	const nasty = `<img src=x onerror="document.title='broken'"><script>document.title='broken'</script>`
	id := s.submit(nasty, 1, 0.05)
	b := open(t, s, 1280, 900)
	b.allow("status of 404")
	b.visit("#/jobs/0123456789abcdef")
	b.says(".note.bad", "no job")
	b.says("h1", "Job 0123456789abcdef")
	b.says(".back", "Jobs")
	b.shot("no-job")
	b.visit("#/jobs/" + id)
	b.says("h1", nasty)
	b.until("document.querySelector('[data-status=completed]')")
	b.visit("#/jobs")
	b.says("tbody tr", nasty)
	b.visit("#/compare?jobs=" + id + "," + id)
	b.says(".results", nasty)
	var broken bool
	b.eval("document.title.includes('broken') || !!document.querySelector('main img[src=x]')", &broken)
	if broken {
		t.Error("a job's name became HTML")
	}
	b.visit("#/compare?jobs=" + id)
	b.says("main", "Tick two jobs")
}

// Everything can be done by the keyboard, in the order in which it stands on the page.
func TestKeyboard(t *testing.T) {
	s := serve(t)
	id := s.submit("by hand", 1, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('[data-status=completed]')")
	b.eval("document.activeElement.blur()", nil)
	b.do(chromedp.KeyEvent("\t"))
	b.until("document.activeElement.className === 'skip'")
	b.do(chromedp.KeyEvent("\r"))
	b.until("document.activeElement.id === 'main'")
	b.eval("document.querySelector('[role=tab][aria-selected=true]').focus()", nil)
	b.do(chromedp.KeyEvent("\u0303")) // arrow right
	b.says("[role=tabpanel]", "scu train")
	var nameless []string
	b.eval(`[...document.querySelectorAll("button, a, input, select, [role=img]")].filter((e) => !(e.innerText || e.getAttribute("aria-label") || e.title || e.labels?.length)).map((e) => e.outerHTML)`, &nameless)
	if len(nameless) > 0 {
		t.Errorf("elements without a name: %q", nameless)
	}
}

// The page is light, and shows its content at once.
func TestWeight(t *testing.T) {
	var total int64
	must(t, filepath.WalkDir("static", func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "LICENSE" {
			var i os.FileInfo
			i, err = e.Info()
			total += i.Size()
		}
		return err
	}))
	if total > 300_000 {
		t.Errorf("the page has %d bytes", total)
	}
	s := serve(t)
	b := open(t, s, 1280, 900)
	b.visit("")
	b.says(".drop", "No jobs yet")
	var paint float64
	b.eval("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 1e9", &paint)
	t.Logf("the page has %d bytes; first contentful paint after %.0f ms", total, paint)
	if paint > 3000 { // 0.5 s on a quiet machine; the tests share theirs
		t.Errorf("first contentful paint after %.0f ms", paint)
	}
}
