package web_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// A server with a key asks for it, once. What its owner reads and does then works without it,
// also after a restart; signed out, nothing does.
func TestSignIn(t *testing.T) {
	const key = "the-key-of-this-test"
	s := serve(t, "SCU_API_KEY="+key)
	id := s.submit("kept behind a key", 3, 0.05, "Authorization", "Bearer "+key)
	b := open(t, s, 1280, 900)
	b.allow("status of 401")
	b.visit("#/jobs/" + id)
	b.says("h1", "Sign in")
	b.shot("signin")
	enter := func(key string) {
		b.do(focusAndType("input[type=password]", key))
		b.clickText("Sign in")
	}
	enter("wrong")
	b.says(".note.bad", "that is no API key of this server")
	enter(key)
	b.until("document.querySelector('[data-status=completed]')") // live: the stream takes the session too
	b.size(390, 844)
	b.fits("signed in at 390 px")
	b.size(1280, 900)
	var readable bool
	b.eval("document.cookie.includes('scu')", &readable)
	if readable {
		t.Error("scripts can read the session")
	}
	s.restart()
	b.visit("#/jobs")
	b.says("tbody tr", "kept behind a key")
	b.visit("#/jobs/" + id)
	b.clickText("Delete")
	b.says(".empty", "No jobs yet")
	b.clickText("Sign out")
	b.says("h1", "Sign in")
	b.do(reload())
	b.says("h1", "Sign in")
}

// With a key of an owner a browser shows what is the owner's, and to one that may only look it
// offers nothing else.
func TestReaderSignsIn(t *testing.T) {
	s := serve(t, "SCU_API_KEY=root")
	root := []string{"Authorization", "Bearer root"}
	key := func(scope string) string {
		var made struct{ Key string }
		must(t, json.Unmarshal(s.ask("POST", "/keys", `{"name": "test", "owner": "ada", "scope": "`+scope+`"}`, root...), &made))
		return made.Key
	}
	other := s.submit("somebody else's", 1, 0.05, root...)
	s.ask("POST", "/jobs/"+other+"/cancel", "", root...)
	ada := []string{"Authorization", "Bearer " + key("submit")}
	id := s.submit("ada's own", 1, 0.05, ada...)
	reader := key("read")
	b := open(t, s, 1280, 900)
	b.allow("status of 401")
	b.visit("#/jobs")
	b.do(focusAndType("input[type=password]", reader))
	b.clickText("Sign in")
	b.says(".who", "ada")
	b.says("tbody tr", "ada's own")
	var text string
	b.eval("document.body.innerText", &text)
	if strings.Contains(text, "somebody else's") || strings.Contains(text, "New job") {
		t.Errorf("the list of a reader: %s", text)
	}
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('[data-status=completed]')")
	b.says(".actions", "Download")
	b.eval("document.querySelector('.actions').innerText", &text)
	if strings.Contains(text, "Delete") || strings.Contains(text, "Again") {
		t.Errorf("a reader is offered: %s", text)
	}
}
