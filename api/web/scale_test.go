package web_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	_ "modernc.org/sqlite"
)

// fill copies the row of a completed job into the read model, so many times, each copy a second
// older than the one before, of three states.
func (s *server) fill(job string, n int) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "data", "scu.db")+"?_pragma=busy_timeout(10000)")
	must(s.t, err)
	defer db.Close()
	_, err = db.Exec(`WITH RECURSIVE copies(i, id) AS (VALUES (1, printf('%016x', 1)) UNION ALL SELECT i + 1, printf('%016x', i + 1) FROM copies WHERE i < $1)
		INSERT INTO jobs (job_id, seq, created_at, started_at, completed_at, document)
		SELECT id, seq, at, at, at, json_set(document, '$.job_id', id, '$.name', 'copy ' || i, '$.created_at', at, '$.status',
			CASE i % 100 WHEN 0 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'completed' END)
		FROM (SELECT i, id, seq, document, strftime('%Y-%m-%dT%H:%M:%S', created_at, -i || ' seconds') || '.000000Z' AS at FROM copies, jobs WHERE job_id = $2)`, n, job)
	must(s.t, err)
}

// lengthen gives a job so many steps of one that it has, in the read model.
func (s *server) lengthen(job string, steps int) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "data", "scu.db")+"?_pragma=busy_timeout(10000)")
	must(s.t, err)
	defer db.Close()
	rows, err := db.Query("SELECT name FROM pragma_table_info('metrics')")
	must(s.t, err)
	defer rows.Close()
	into, from := "", ""
	for rows.Next() {
		var name string
		must(s.t, rows.Scan(&name))
		value := name
		switch name {
		case "step":
			value = "i"
		case "ce", "s_ratio", "lambda_value": // each with peaks of its own
			value = fmt.Sprintf("%s * (1 + 0.2 * sin(i * %d))", name, len(name))
		}
		into, from = into+", "+name, from+", "+value
	}
	must(s.t, rows.Err())
	_, err = db.Exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT max(step) + 1 FROM metrics WHERE job_id = $2 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO metrics (%s) SELECT %s FROM n, (SELECT * FROM metrics WHERE job_id = $2 ORDER BY step DESC LIMIT 1)`, into[2:], from[2:]), steps, job)
	must(s.t, err)
	_, err = db.Exec("UPDATE progress SET step = $1, total_steps = $1 WHERE job_id = $2", steps, job)
	must(s.t, err)
}

// took is how long, in milliseconds, by the browser's clock, an action takes until an
// expression is true and the page is painted again.
func (b *browser) took(action, expression string) (ms float64) {
	b.t.Helper()
	b.eval(fmt.Sprintf(`new Promise((done) => {
		const begin = performance.now();
		const look = () => { if (%s) requestAnimationFrame(() => done(performance.now() - begin)); else requestAnimationFrame(look); };
		%s;
		look();
	})`, expression, action), &ms)
	return ms
}

// A hundred thousand jobs are listed, filtered and paged without lag, and ten thousand steps
// are drawn: the figures are logged, and bounded with room for a busy machine.
func TestScale(t *testing.T) {
	const jobs, steps = 100_000, 10_000
	s := serve(t)
	id := s.submit("the last one", 1, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('[data-status=completed]')")
	s.fill(id, jobs)
	s.lengthen(id, steps)
	b.eval("window.type = (text) => { const e = document.querySelector('input[name=search]'); e.value = text; e.dispatchEvent(new Event('input')); }", nil)
	b.eval("window.longest = 0; { let last = performance.now(); const look = (now) => { longest = Math.max(longest, now - last); last = now; requestAnimationFrame(look); }; requestAnimationFrame(look); }", nil)
	rows := "document.querySelectorAll('tbody tr').length"
	for _, c := range []struct {
		what   string
		action string
		done   string
		most   float64 // ms, on a machine that is busy otherwise
	}{
		{"the list of 100,001 jobs", "location.hash = '#/jobs'", rows + " === 50 && document.querySelector('.chip b').innerText === '100,001'", 3000},
		{"50 more", "document.querySelector('.more button').click()", rows + " === 100", 2000},
		{"those that failed", "document.querySelector('.chip.failed').click()", rows + " === 50 && [...document.querySelectorAll('tbody tr .pill')].every((p) => p.innerText === 'failed')", 2000},
		{"50 more of them", "document.querySelector('.more button').click()", rows + " === 100", 2000},
		{"one of them, by its name", "type('copy 99900')", rows + " === 1 && document.querySelector('tbody').innerText.includes('copy 99900')", 4000},
		{"none", "type('no such job')", "document.querySelector('.none')?.innerText.includes('no such job')", 4000},
		{"those that failed again", "type('')", rows + " === 50", 2000},
		{"all again", "document.querySelector('.chip').click()", rows + " === 50 && document.querySelector('tbody').innerText.includes('the last one')", 2000},
		{"a job of 10,000 steps", "location.hash = '#/jobs/" + id + "'", "document.querySelector('.hero [data-drawn]')", 5000},
		{"the list again", "location.hash = '#/jobs'", rows + " === 50", 2000},
		{"that job, once its link had the pointer", "document.querySelector('[data-job=\"" + id + "\"] a').click()", "document.querySelector('.hero [data-drawn]')", 5000},
	} {
		if strings.HasPrefix(c.what, "that job") {
			steps := "performance.getEntriesByType('resource').filter((e) => e.name.includes('/curves?')).length"
			b.eval("window.asked = "+steps+"; document.querySelector('[data-job=\""+id+"\"] a').dispatchEvent(new PointerEvent('pointerenter'))", nil)
			b.do(chromedp.Poll(steps+" > window.asked", nil, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(patience)))
		}
		ms := b.took(c.action, c.done)
		t.Logf("%s: %.0f ms", c.what, ms)
		if ms > c.most {
			t.Errorf("%s: after %.0f ms, at most %.0f", c.what, ms, c.most)
		}
	}
	b.until("document.querySelector('.hero [data-points]')?.dataset.points > 1000")
	var drawn, longest float64
	b.eval("longest", &longest)
	t.Logf("the longest frame of all that: %.0f ms", longest)
	b.eval("Math.max(...[...document.querySelectorAll('[data-drawn]')].map((e) => Number(e.dataset.drawn)))", &drawn)
	t.Logf("its charts are drawn in %.0f ms", drawn)
	if drawn > 1000 { // 100 ms on a quiet machine
		t.Errorf("its charts are drawn in %.0f ms", drawn)
	}
	b.fits("a job of 10,000 steps")
	b.shot("job-10000-steps")

	b.eval("location.hash = '#/jobs'", nil)
	for shown := 50; shown < 1000; shown += 50 {
		b.until(fmt.Sprintf(rows+" === %d", shown))
		b.eval("document.querySelector('.more button').click()", nil)
	}
	b.until(rows + " === 1000")
	t.Logf("the longest frame while 1,000 of the rows are scrolled through: %.0f ms", b.scrolled())
}

// scrolled goes down the page, 150 pixels a frame, and returns the longest frame in milliseconds.
func (b *browser) scrolled() (ms float64) {
	b.t.Helper()
	b.eval(`new Promise((done) => {
		let longest = 0, last = 0;
		const look = (now) => {
			if (last) longest = Math.max(longest, now - last);
			last = now;
			const at = scrollY;
			scrollBy(0, 150);
			if (scrollY === at) done(longest); else requestAnimationFrame(look);
		};
		scrollTo(0, 0);
		requestAnimationFrame(look);
	})`, &ms)
	return ms
}

// Whoever asks for less motion has none: no animation, no transition.
func TestReducedMotion(t *testing.T) {
	s := serve(t)
	s.submit("still", 60, 0.05)
	b := open(t, s, 1280, 900)
	moving := "[...document.querySelectorAll('*')].filter((e) => [e, '::before'].some((of) => { const c = of === e ? getComputedStyle(e) : getComputedStyle(e, of); return c.animationName !== 'none' || parseFloat(c.transitionDuration) > 0; })).length"
	b.visit("#/jobs")
	b.says(".run", "still")
	b.until(moving + " > 0")
	b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}))
	b.until(moving + " === 0")
}

// The folders of models that the server offers are there to choose from, and a job on one is
// checked and recommended as any other.
func TestModelFoldersOffered(t *testing.T) {
	models := t.TempDir()
	must(t, os.CopyFS(filepath.Join(models, "mine"), os.DirFS("../../models/bookworm-2m")))
	s := serve(t, "SCU_MODEL_DIRS="+models)
	b := open(t, s, 1280, 900)
	b.visit("#/new")
	text, err := filepath.Abs("../../examples/text/keeper.txt")
	must(t, err)
	b.do(chromedp.SetUploadFiles(`input[type=file]`, []string{text}, chromedp.ByQuery))
	b.until("[...document.querySelectorAll('#models option')].map((o) => o.value).join() === 'bookworm-2m,mine'")
	b.set("base_model", "mine")
	b.says(".code", "mine")
	b.until("!document.querySelector('.go button').disabled")
}
