package web_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A job is seen to train, live, on the list and on its own page, and its end as well.
func TestLive(t *testing.T) {
	s := serve(t)
	id := s.submit("the keeper's log", 16, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs")
	b.says(".run", "the keeper's log")
	b.until("document.querySelectorAll('.run .spark polyline').length >= 3")
	b.shot("jobs-running")
	b.visit("#/jobs/" + id)
	b.says(".words", "S is")
	b.until("document.querySelector('.hero [data-points]')?.dataset.points > 40")
	b.shot("job-running")
	b.until("document.querySelector('[data-status=completed]') && document.querySelector('[data-link=ended]')")
	b.says(".words", "It ended with S")
	b.says(".summary", "→")
	b.says(".events", "Completed")
	b.says(".settings", "control.target_s")
	saved := b.saves()
	b.clickText("GGUF")
	if !bytes.Equal(saved(), s.ask("GET", "/jobs/"+id+"/adapter.gguf", "")) {
		t.Error("the file that the page saves is another one")
	}
	b.shot("job")
	b.as("dark")
	b.shot("job-dark")
	b.size(390, 844)
	b.fits("a job at 390 px")
	b.shot("job-390")
	b.size(2560, 1440)
	b.as("light")
	b.fits("a job at 2,560 px")
	b.shot("job-2560")
	b.visit("#/jobs")
	b.says("tbody tr", "completed")
	b.fits("jobs at 2,560 px")
	b.size(390, 844)
	b.fits("jobs at 390 px")
	b.until("[...document.querySelectorAll('tbody .acts :is(button, a)')].map((e) => e.innerText).join() === 'Download,Again' && document.querySelector('.acts a').checkVisibility()")
	b.shot("jobs-390")
}

// Older jobs that were asked for before a search don't come into its list, whichever answer comes
// first.
func TestOlderJobsOfAnotherSearch(t *testing.T) {
	s := serve(t)
	id := s.submit("the first", 1, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('[data-status=completed]')")
	s.fill(id, 120)
	b.eval(hold, nil)
	b.eval("location.hash = '#/jobs'", nil)
	rows := "document.querySelectorAll('tbody tr').length"
	b.until(rows + " === 50")
	typed := func(text string) {
		b.eval(fmt.Sprintf("{ const e = document.querySelector('input[name=search]'); e.value = %q; e.dispatchEvent(new Event('input')); }", text), nil)
	}

	b.eval("hold('after='); document.querySelector('.more button').click()", nil)
	b.until("document.body.dataset.held === '1'")
	typed("copy 7") // 7 and 70 to 79
	b.until(rows + " === 11")
	b.eval("release()", nil)
	var n int
	if b.eval(rows, &n); n != 11 {
		t.Errorf("after the older jobs of all came, %d rows match", n)
	}

	// The button belongs to the list that is shown while another one is on its way.
	typed("")
	b.until(rows + " === 50")
	b.eval("hold('search=')", nil)
	typed("copy 11") // 11 and 110 to 119
	b.until("document.body.dataset.held === '1'")
	b.eval("document.querySelector('.more button').click()", nil)
	b.until(rows + " === 100")
	b.eval("release()", nil)
	b.until(rows + " === 11")
}

// hold, in a page, keeps the answers to what contains a text until they are let go.
const hold = `window.hold = (text) => {
	const real = window.fetch;
	let go;
	const gate = new Promise((done) => { go = done; });
	document.body.dataset.held = 0;
	window.release = () => { go(); window.fetch = real; return new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)))); };
	window.fetch = async (path, init) => { const answer = await real(path, init); if (path.includes(text)) { document.body.dataset.held++; await gate; } return answer; };
}`

// A job that begins and ends while the page reads the list isn't missed: the stream tells only
// what happens from when it is open.
func TestJobDuringReading(t *testing.T) {
	s := serve(t)
	b := open(t, s, 1280, 900)
	b.visit("#/webhooks")
	b.eval(hold, nil)
	b.eval("hold('/jobs?'); location.hash = '#/jobs'", nil)
	b.until("document.body.dataset.held === '1'")
	s.ask("GET", "/jobs/"+s.submit("meanwhile", 1, 0.05)+"/events", "") // to its end
	b.eval("release()", nil)
	b.until("[...document.querySelectorAll('tbody tr')].some((e) => e.innerText.includes('meanwhile') && e.innerText.includes('completed'))")
}

// Long names, of a job and of its model's folder, push nothing out of sight; a job that failed
// before its first step has no empty charts.
func TestLongNames(t *testing.T) {
	models := t.TempDir()
	folder := filepath.Join(models, "a-model-in-a-folder-with-quite-a-long-name")
	must(t, os.CopyFS(folder, os.DirFS("../../models/bookworm-2m")))
	s := serve(t, "SCU_MODEL_DIRS="+models)
	first := s.submit("a name that goes on and on, longer than anybody would want it to be, to see where it ends", 1, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs/" + first)
	b.until("document.querySelector('[data-status=completed]')")
	busy := s.submit("busy", 500, 0.05)
	s.ask("POST", "/jobs/submit", `{"base_model": "`+filepath.Base(folder)+`", "train_data": [{"path": "text/keeper.txt", "share": 3}, {"path": "chat/chat.jsonl", "share": 1}], "name": "without its model", "config_overrides": {"steps": 5, "block_size": 256}}`)
	must(t, os.RemoveAll(folder))
	s.ask("POST", "/jobs/"+busy+"/stop", "")
	b.visit("#/jobs")
	b.until("document.querySelector('.why') && document.querySelectorAll('tbody tr').length === 3 && !document.querySelector('.run')")
	outside := "[...document.querySelectorAll('.acts :is(a, button)')].filter((e) => e.getBoundingClientRect().right > e.closest('.card').getBoundingClientRect().right).map((e) => e.ariaLabel).join()"
	var cut string
	if b.eval(outside, &cut); cut != "" {
		t.Errorf("cut off at 1,280 px: %s", cut)
	}
	b.says("tbody td.wide", filepath.Base(folder))
	b.shot("long-names")
	b.visit("#/compare?jobs=" + first + "," + busy)
	b.until("document.querySelectorAll('.chart canvas').length === 4")
	b.size(390, 844)
	b.fits("a comparison of long names at 390 px")
	b.shot("long-names-390")
	b.visit("#/jobs")
	b.clickText("without its model")
	b.until("document.querySelector('[data-status=failed]') && !document.querySelector('.chart')")
	b.until("document.body.innerText.includes('keeper.txt ×3, chat.jsonl ×1')") // all of its data
}
