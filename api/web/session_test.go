package web_test

import (
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
	b.says(".note.bad", "that isn't the server's API key")
	enter(key)
	b.until("document.querySelector('[data-status=completed]')") // live: the stream takes the session too
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
