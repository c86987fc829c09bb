package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A browser that has shown the key once reads without it, changes something only from the
// page itself, and is signed out by another key.
func TestSession(t *testing.T) {
	const key = "a-long-key"
	r := start(t, func(o *Options) { o.Key = key })
	status, _, body := r.ask("POST", "/session", `{"key": "wrong"}`)
	r.refused(t, status, body, 401, scu.CodeUnauthorized, "key")
	status, h, _ := r.ask("POST", "/session", `{"key": "`+key+`"}`)
	set := h.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie lacks %s: %s", want, set)
		}
	}
	if status != 200 || strings.Contains(set, key) {
		t.Fatalf("%d %s", status, set)
	}
	cookie, _, _ := strings.Cut(set, ";")
	job := `{"base_model": "bookworm-2m", "train_data_path": "train.txt"}`
	for _, c := range []struct {
		what, method, path, body string
		headers                  []string
		want                     int
	}{
		{"reading with the cookie", "GET", "/jobs", "", []string{"Cookie", cookie}, 200},
		{"reading without", "GET", "/jobs", "", nil, 401},
		{"reading with a forged one", "GET", "/jobs", "", []string{"Cookie", cookie[:len(cookie)-2] + "AA"}, 401},
		{"writing from the page", "POST", "/jobs/submit", job, []string{"Cookie", cookie, pageHeader, "1"}, 200},
		{"writing without its header", "POST", "/jobs/submit", job, []string{"Cookie", cookie}, 401},
		{"writing from elsewhere", "POST", "/jobs/submit", job, []string{"Cookie", cookie, pageHeader, "1", "Origin", "https://elsewhere.example"}, 403},
		{"writing from a sister site", "POST", "/jobs/submit", job, []string{"Cookie", cookie, pageHeader, "1", "Sec-Fetch-Site", "same-site"}, 403},
		{"signing in from elsewhere", "POST", "/session", `{"key": "` + key + `"}`, []string{"Origin", "https://elsewhere.example"}, 403},
	} {
		if status, _, body := r.ask(c.method, c.path, c.body, c.headers...); status != c.want {
			t.Errorf("%s: %d, want %d: %s", c.what, status, c.want, body)
		}
	}
	if _, h, _ := r.ask("DELETE", "/session", "", "Cookie", cookie); !strings.Contains(h.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("signing out: %s", h.Get("Set-Cookie"))
	}
	now, token := time.Now(), strings.TrimPrefix(cookie, sessionCookie+"=")
	for what, c := range map[string]struct {
		token, secret string
		at            time.Time
		want          bool
	}{
		"now":                 {token, key, now, true},
		"after its time":      {token, key, now.Add(sessionTime + time.Minute), false},
		"under another key":   {token, "another", now, false},
		"no token":            {"", key, now, false},
		"made without key":    {newSession("", "", now.Add(time.Hour)), key, now, false},
		"of a key":            {newSession(key, "0123456789abcdef", now.Add(time.Hour)), key, now, true},
		"cut to another form": {token[:len(token)-11], key, now, false},
	} {
		x, ok := readSession(c.token)
		if got := ok && x.madeWith(c.secret, c.at); got != c.want {
			t.Errorf("a session %s: %v", what, got)
		}
	}
}

// Whatever a cookie has, it makes no session and no panic.
func FuzzSession(f *testing.F) {
	f.Add("")
	f.Add(newSession("secret", "", time.Now().Add(time.Hour)))
	f.Add(newSession("secret", "0123456789abcdef", time.Now().Add(time.Hour)))
	f.Fuzz(func(t *testing.T, token string) {
		x, ok := readSession(token)
		if ok && x.madeWith("another secret", time.Now()) {
			t.Errorf("%q is a session", token)
		}
		if ok && x.key != "" && !scu.ValidJobID(x.key) {
			t.Errorf("%q is of %q", token, x.key)
		}
	})
}

// The page and its files carry a policy that allows nothing inline and nothing from elsewhere.
func TestDashboardPolicy(t *testing.T) {
	r := start(t, nil)
	status, h, body := r.ask("GET", "/", "")
	policy := h.Get("Content-Security-Policy")
	if status != http.StatusOK || !strings.Contains(body, `<div id="app">`) {
		t.Fatalf("%d %.200s", status, body)
	}
	for _, want := range []string{"default-src 'none'", "script-src 'self' 'sha256-", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("the policy is too wide: %s", policy)
	}
	status, h, _ = r.ask("GET", "/assets/app.css", "")
	if status != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/css") {
		t.Errorf("%d %v", status, h)
	}
	if status, _, _ = r.ask("GET", "/assets/app.css", "", "If-None-Match", h.Get("ETag")); status != http.StatusNotModified {
		t.Errorf("asked again: %d", status)
	}
	status, _, body = r.ask("GET", "/assets/../web.go", "")
	if status == 200 {
		t.Errorf("%d %.100s", status, body)
	}
}
