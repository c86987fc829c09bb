package web_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// A newcomer's way: an empty page, a bad file and what is wrong with it by line, a good one,
// what counts in the loss, a recommendation with its reasons, then a trained adapter and a
// text before and after.
func TestFromAnEmptyPageToAnAdapter(t *testing.T) {
	s := serve(t)
	b := open(t, s, 1280, 900)
	b.visit("")
	b.says(".drop", "No jobs yet")
	b.shot("empty")
	b.click(".drop")
	b.says("h1", "New job")

	bad := filepath.Join(t.TempDir(), "bad.jsonl")
	must(t, os.WriteFile(bad, []byte("{\"text\": \"good\"}\n{bad\n{\"text\": 3}\n{\"txt\": \"<img src=x onerror=alert(1)>\"}\n"), 0o600))
	b.do(chromedp.SetUploadFiles(`input[type=file]`, []string{bad}, chromedp.ByQuery))
	b.says(".note.bad", "3 of 4 rows can't be used")
	b.says(".lines li", "line 2")
	b.until("document.querySelector('#train').closest('section').querySelector('button.primary').disabled")
	b.shot("new-bad-data")

	b.clickText("Another file")
	chat, err := filepath.Abs("../../examples/chat/chat.jsonl")
	must(t, err)
	b.do(chromedp.SetUploadFiles(`input[type=file]`, []string{chat}, chromedp.ByQuery))
	b.until("document.querySelectorAll('.tokens .counts').length > 20")
	b.do(chromedp.SetValue(`select[name=train_on]`, "completion", chromedp.ByQuery))
	b.eval("document.querySelector('select[name=train_on]').dispatchEvent(new Event('change', { bubbles: true }))", nil)
	b.until("document.querySelectorAll('.tokens span:not(.counts)').length > 20")
	b.says(".reasons", "twice the rank, as is usual")
	b.says(".verdict", "about")
	b.set("lora.r", "1000")
	b.says(".note.bad", "lora.r: 1000 is out of range")
	b.shot("new-error")
	b.set("lora.r", "8")
	b.set("epochs", "3")
	b.set("name", "a lighthouse's chat")
	b.says(".code", "a lighthouse")
	b.until("!document.querySelector('.go button').disabled")
	b.fits("new job at 1,280 px")
	b.shot("new")
	b.size(390, 844)
	b.fits("new job at 390 px")
	b.shot("new-390")
	b.size(1280, 900)
	b.clickText("Train")
	b.says("h1", "a lighthouse's chat")
	b.until("document.querySelector('[data-status=completed]')")
	b.until("!!document.querySelector('a[download][href$=\"/adapter\"]')")
	b.says(".settings", "train_on")
	b.says(".settings tr", "epochs")
	b.until("document.querySelector('.settings').innerText.match(/epochs\\s+3\\s/)") // as it was typed

	b.until("document.querySelector('textarea[name=prompt]').value.includes('Who keeps the light?')") // of its own data
	b.clickText("Continue")
	b.until("document.querySelector('.before p')?.innerText.length > 60 && document.querySelector('.after p')?.innerText.length > 60")
	b.shot("before-and-after")

	b.clickText("Again with changes")
	b.says("h1", "Again: a lighthouse's chat")
	b.until("document.querySelector('input[name=epochs]').value === '3'")
	b.set("epochs", "2")
	b.until("!document.querySelector('.go button').disabled")
	b.clickText("Train")
	b.says("h1", "a lighthouse's chat, again")
	b.until("document.querySelector('[data-status=completed]')")

	b.visit("#/jobs")
	b.until("document.querySelectorAll('tbody tr').length === 2")
	b.eval("document.querySelectorAll('tbody .tick input').forEach((e) => e.click())", nil)
	b.clickText("Compare 2 jobs")
	b.until("document.querySelectorAll('.chart canvas').length === 4 && document.querySelectorAll('.results tbody tr').length === 2")
	b.says(".settings", "epochs")
	b.fits("compare at 1,280 px")
	b.shot("compare-small")
	b.size(390, 844)
	b.fits("compare at 390 px")
	b.shot("compare-390")
}

// A job of several sources is made again of all of them, as its page's commands say, or of another
// file alone.
func TestAgainOfSeveralSources(t *testing.T) {
	s := serve(t)
	var job struct {
		ID string `json:"job_id"`
	}
	must(t, json.Unmarshal(s.ask("POST", "/jobs/submit", `{"base_model": "bookworm-2m", "train_data": [{"path": "text/keeper.txt", "share": 3}, {"path": "chat/chat.jsonl", "share": 1}], "config_overrides": {"steps": 1, "block_size": 256}}`), &job))
	b := open(t, s, 1280, 900)
	commanded := func(flags string) {
		b.until("!!document.querySelector('#tab-scu')")
		b.eval("document.querySelector('#tab-scu').click()", nil) // wherever the page has it by now
		b.until("document.querySelector('#panel-scu')?.innerText.match(/--train-data \\S+/g).join(' ').replace(/[0-9a-f]{64}/g, 'ID') === '" + flags + "'")
	}
	b.visit("#/jobs/" + job.ID)
	commanded("--train-data ID=3 --train-data ID=1")
	b.visit("#/new?from=" + job.ID)
	b.says(".card", "2 sources")
	commanded("--train-data ID=3 --train-data ID=1")
	b.clickText("Another file")
	text, err := filepath.Abs("../../examples/text/keeper.txt")
	must(t, err)
	b.do(chromedp.SetUploadFiles(`input[type=file]`, []string{text}, chromedp.ByQuery))
	commanded("--train-data ID")
	b.until("!document.querySelector('.go button').disabled")
}
