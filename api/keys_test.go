package api

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
)

// key makes a key of the table and returns its text and its id.
func (r *rig) key(owner string, scope scu.Scope, change ...func(*scu.Key)) (text, id string) {
	r.Helper()
	k := scu.Key{Name: "test", Owner: owner, Scope: scope}
	for _, f := range change {
		f(&k)
	}
	k, text, err := scu.NewKey(k, time.Now())
	must(r, err)
	must(r, r.broker.AddKey(r.Context(), k))
	r.until("the key counts", func() bool { h, _ := r.server.keys.known(k.ID); return h != nil })
	return text, k.ID
}

// until waits for something that comes by itself.
func (r *rig) until(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(longest); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatal("never: ", what)
		}
	}
}

// with is the SDK with a key.
func (r *rig) with(key string) *client.Client {
	r.Helper()
	c, err := client.New(r.url, key)
	must(r, err)
	return c
}

// Every route has a scope, and every scope a route: nothing is open, or an administrator's,
// since somebody forgot it.
func TestEveryRouteHasAScope(t *testing.T) {
	r := start(t, nil)
	unused := map[string]bool{}
	for route := range scopes {
		unused[route] = true
	}
	for _, route := range r.server.handler.(*echo.Echo).Routes() {
		path := inDocument(route.Path)
		one, any := route.Method+" "+path, "* "+path
		if _, ok := scopes[one]; !ok {
			if _, ok := scopes[any]; !ok {
				t.Errorf("%s has no scope", one)
			}
		}
		delete(unused, one)
		delete(unused, any)
	}
	for route := range unused {
		t.Errorf("there is no route %s", route)
	}
	if _, _, page := r.ask("GET", "/docs", ""); !strings.Contains(page, "Submit a training job. Scope <code>submit</code>.") {
		t.Error("the page doesn't tell scopes")
	}
	doc := r.server.huma.OpenAPI()
	for path, item := range doc.Paths {
		for method, op := range methods(item) {
			if _, ok := scopes[method+" "+path]; !ok {
				t.Errorf("%s %s of the document has no scope", method, path)
			}
			if scope := scopeOf(method, path); scope != anyone && !slices.Equal(op.Security[0]["bearer"], []string{string(scope)}) {
				t.Errorf("%s %s: the document says %v, not %s", method, path, op.Security, scope)
			}
		}
	}
}

// Each route lets in the keys of its scope and of greater ones, and tells others which it
// needs.
func TestScopesAreEnforced(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	keys := map[scu.Scope]string{}
	for _, scope := range scu.Scopes {
		keys[scope], _ = r.key("ada", scope)
	}
	fill := strings.NewReplacer("{id}", "0123456789abcdef", "{step}", "1", "*", "heap")
	for route, needed := range scopes {
		method, path, _ := strings.Cut(route, " ")
		if method == "*" {
			method = "GET"
		}
		if path == "/events" {
			continue // it doesn't end
		}
		for scope, key := range keys {
			status, _, body := r.ask(method, fill.Replace(path), "", "Authorization", "Bearer "+key)
			if allowed := needed == anyone || scope.Allows(needed); allowed == (status == 403 && strings.Contains(body, "this needs a key of scope")) {
				t.Errorf("%s with a key of scope %s: %d %.200s", route, scope, status, body)
			}
			if status == 401 && path != "/session" {
				t.Errorf("%s with a key of scope %s: %d %.200s", route, scope, status, body)
			}
		}
		if status, _, _ := r.ask(method, fill.Replace(path), ""); (status == 401) != (needed != anyone) && path != "/session" {
			t.Errorf("%s without a key: %d", route, status)
		}
	}
	status, _, body := r.ask("POST", "/queue/pause", "", "Authorization", "Bearer "+keys[scu.ScopeSubmit])
	if e := r.refused(t, status, body, 403, scu.CodeForbidden, ""); !strings.Contains(e.Hint, "--scope admin") {
		t.Errorf("the hint: %s", e.Hint)
	}
	// What isn't there isn't forbidden.
	for _, path := range []string{"/nothing", "/v1/nothing"} {
		if status, _, _ := r.ask("GET", path, "", "Authorization", "Bearer "+keys[scu.ScopeRead]); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _, _ := r.ask("PUT", "/jobs", "", "Authorization", "Bearer "+keys[scu.ScopeRead]); status != 405 {
		t.Errorf("PUT /jobs: %d", status)
	}
}

// A key is made, listed and revoked over HTTP; it is told once, and kept by its hash.
func TestKeysOverHTTP(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	ctx := t.Context()
	soon := time.Now().Add(time.Hour)
	made, err := r.sdk.CreateKey(ctx, client.KeyRequest{Name: "ci", Owner: "ada", Scope: scu.ScopeRead, ExpiresAt: &soon, Limits: scu.Limits{Queued: 3}})
	must(t, err)
	if !strings.HasPrefix(made.Key, made.Prefix+"_") || made.Owner != "ada" || made.Limits.Queued != 3 || !made.ExpiresAt.Equal(soon) {
		t.Errorf("%+v", made)
	}
	ada := r.with(made.Key)
	r.until("the key counts", func() bool { _, err := ada.Jobs(ctx, newest); return err == nil })
	r.until("its use is noted", func() bool {
		l, err := r.sdk.Keys(ctx)
		must(t, err)
		return l.Count == 1 && l.Keys[0].LastUsed != nil && time.Since(*l.Keys[0].LastUsed) < time.Minute
	})
	_, _, body := r.ask("GET", "/keys", "", "Authorization", "Bearer s3cret")
	if secret := strings.TrimPrefix(made.Key, made.Prefix+"_"); strings.Contains(body, secret) || strings.Contains(body, "hash") {
		t.Errorf("the list tells too much: %s", body)
	}
	if _, err := ada.Keys(ctx); scu.CodeOf(err) != scu.CodeForbidden {
		t.Errorf("a reader lists keys: %v", err)
	}
	for what, req := range map[string]client.KeyRequest{
		"owner":      {Name: "x", Scope: scu.ScopeSubmit},
		"scope":      {Name: "x", Owner: "ada", Scope: "root"},
		"expires_at": {Name: "x", Owner: "ada", Scope: scu.ScopeRead, ExpiresAt: &time.Time{}},
	} {
		if _, err := r.sdk.CreateKey(ctx, req); scu.CodeOf(err) != scu.CodeInvalid || scu.AsError(err).Field != what {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = r.sdk.RevokeKey(ctx, made.ID)
	must(t, err)
	r.until("it is revoked", func() bool { _, err := ada.Jobs(ctx, newest); return scu.CodeOf(err) == scu.CodeUnauthorized })
	if _, err := r.sdk.RevokeKey(ctx, made.ID); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("revoked twice: %v", err)
	}
}

// Without a key of its own a server is open to its machine until the first key is made, which
// has to be an administrator's; the last of those stays.
func TestTheFirstKeyCloses(t *testing.T) {
	r := start(t, nil)
	ctx := t.Context()
	if _, err := r.sdk.CreateKey(ctx, client.KeyRequest{Name: "ci", Owner: "ada", Scope: scu.ScopeSubmit}); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("the first key: %v", err)
	}
	root, err := r.sdk.CreateKey(ctx, client.KeyRequest{Name: "root", Scope: scu.ScopeAdmin})
	must(t, err)
	r.until("the server asks for a key", func() bool {
		_, err := r.sdk.Jobs(ctx, newest)
		return scu.CodeOf(err) == scu.CodeUnauthorized
	})
	admin := r.with(root.Key)
	_, err = admin.CreateKey(ctx, client.KeyRequest{Name: "ci", Owner: "ada", Scope: scu.ScopeSubmit})
	must(t, err)
	if _, err := admin.RevokeKey(ctx, root.ID); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("the last administrator's key: %v", err)
	}
	// Another Host may ask, with a key.
	if status, _, _ := r.ask("GET", "/jobs", "", "Host", "scu.example", "Authorization", "Bearer "+root.Key); status != 200 {
		t.Errorf("another host: %d", status)
	}
}

// A service that had keys isn't open again once their table is lost, neither while it runs
// nor when it is started anew, until somebody who can reach the table makes one.
func TestALostTableOfKeysLetsNobodyIn(t *testing.T) {
	r := start(t, nil)
	ctx := t.Context()
	_, err := r.sdk.CreateKey(ctx, client.KeyRequest{Name: "root", Scope: scu.ScopeAdmin})
	must(t, err)
	r.until("the server asks for a key", func() bool { return !r.server.keys.gone() && r.closed() })
	nc, err := nats.Connect("", nats.InProcessServer(r.nats), nats.UserInfo(broker.OperatorUser, r.nats.Password(broker.OperatorUser)))
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	must(t, js.DeleteKeyValue(ctx, "SCU_API_KEYS"))
	must(t, r.broker.Setup(ctx)) // as the supervisor does
	r.until("the table is known to be empty", r.server.keys.gone)
	anew, err := New(r.server.o.elsewhere()) // which hasn't followed the table yet
	must(t, err)
	web := httptest.NewServer(anew)
	t.Cleanup(web.Close)
	here := r.url
	for _, url := range []string{web.URL, here} {
		r.url = url
		status, _, body := r.ask("GET", "/jobs", "")
		r.refused(t, status, body, 401, scu.CodeUnauthorized, "")
	}
	_, _, body := r.ask("GET", "/jobs", "", "Authorization", "Bearer x")
	if !strings.Contains(body, "has none left") || !strings.Contains(body, "scu keys create NAME --scope admin") {
		t.Errorf("it says %s", body)
	}
	if status, _, body := r.ask("POST", "/session", `{"key": "x"}`); status != 401 || !strings.Contains(body, "has none left") {
		t.Errorf("a sign-in: %d %s", status, body)
	}
	if status, _, body := r.ask("GET", "/health", ""); status != 503 || !strings.Contains(body, `"API keys"`) {
		t.Errorf("health: %d %s", status, body)
	}
	text, _ := r.key("", scu.ScopeAdmin)
	if _, err := r.with(text).Jobs(ctx, newest); err != nil {
		t.Errorf("with a new key: %v", err)
	}
	if status, _, body := r.ask("GET", "/health", ""); status != 200 {
		t.Errorf("health: %d %s", status, body)
	}
}

// closed reports whether the server refuses who shows no key.
func (r *rig) closed() bool {
	r.Helper()
	status, _, _ := r.ask("GET", "/jobs", "")
	return status == 401
}

// Whatever a key has open ends when it is revoked or expires: streams, sessions, an upload
// whose client has stopped to send.
func TestRevokedInTheMiddle(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	later := time.Now().Add(time.Hour)
	for what, end := range map[string]func(id string){
		"revoked": func(id string) { _, err := r.sdk.RevokeKey(ctx, id); must(t, err) },
		"expires": r.expire,
	} {
		text, id := r.key("ada", scu.ScopeSubmit, func(k *scu.Key) {
			if what == "expires" {
				k.ExpiresAt = &later
			}
		})
		status, h, _ := r.ask("POST", "/session", `{"key": "`+text+`"}`)
		cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
		if status != 200 || strings.Contains(cookie, text) {
			t.Fatalf("%d %s", status, cookie)
		}
		if _, _, body := r.ask("GET", "/session", "", "Cookie", cookie); !strings.Contains(body, `"scope":"submit","owner":"ada"`) {
			t.Errorf("the session: %s", body)
		}
		if status, _, body := r.ask("POST", "/queue/pause", "", "Cookie", cookie, pageHeader, "1"); status != 403 {
			t.Errorf("a session of scope submit pauses the queue: %d %s", status, body)
		}
		all := r.open(ctx, "GET", "/events", nil, text)
		lines := bufio.NewReader(all.Body)
		if line, err := lines.ReadString('\n'); err != nil || line != ": open\n" {
			t.Fatalf("%q, %v", line, err)
		}
		body, sent := io.Pipe()
		answered := make(chan *http.Response, 1)
		go func() { answered <- r.open(ctx, "POST", "/files", body, text) }()
		io.WriteString(sent, "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"half.txt\"\r\n\r\nhalf")
		end(id)
		if _, err := io.ReadAll(lines); err != nil {
			t.Errorf("%s: the stream: %v", what, err)
		}
		resp := <-answered
		text401, err := io.ReadAll(resp.Body)
		must(t, err)
		r.refused(t, resp.StatusCode, string(text401), 401, scu.CodeUnauthorized, "")
		sent.Close()
		if status, _, _ := r.ask("GET", "/jobs", "", "Cookie", cookie); status != 401 {
			t.Errorf("%s: the session gave %d", what, status)
		}
		if left := r.stored(); len(left) != 0 {
			t.Errorf("%s: left %v", what, left)
		}
	}
}

// expire has the time come that a key is good for.
func (r *rig) expire(id string) {
	r.server.keys.mu.Lock()
	defer r.server.keys.mu.Unlock()
	h, now := r.server.keys.held[id], time.Now()
	h.ExpiresAt = &now
	h.expiry.Reset(0)
}

// A key that is revoked at one API is over at each other, with what it has open there.
func TestRevokedAtEveryAPI(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	other, err := New(r.server.o.elsewhere())
	must(t, err)
	following, forget := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() { defer close(followed); other.followKeys(following) }()
	t.Cleanup(func() { forget(); <-followed })
	web := httptest.NewServer(other)
	t.Cleanup(web.Close)
	text, id := r.key("ada", scu.ScopeRead)
	here := r.url
	r.url = web.URL
	stream := r.open(ctx, "GET", "/events", nil, text)
	if stream.StatusCode != 200 {
		t.Fatal(stream.Status)
	}
	r.url = here
	_, err = r.sdk.RevokeKey(ctx, id)
	must(t, err)
	if _, err := io.ReadAll(stream.Body); err != nil {
		t.Errorf("the stream at the other API: %v", err)
	}
}

// elsewhere are the options of another API of the same service.
func (o Options) elsewhere() Options {
	o.Registry = nil
	return o
}

// open sends a request whose answer is read as it comes.
func (r *rig) open(ctx context.Context, method, path string, body io.Reader, key string) *http.Response {
	r.Helper()
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, body)
	must(r, err)
	req.Header.Set("Authorization", "Bearer "+key)
	if body != nil {
		req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		req.Header.Set("Expect", "100-continue")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(r, err)
	r.Cleanup(func() { resp.Body.Close() })
	return resp
}

// A session can't be made of what the table holds, and is of one key.
func TestForgedSessions(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	_, id := r.key("ada", scu.ScopeAdmin)
	h, _ := r.server.keys.known(id)
	until := time.Now().Add(time.Hour)
	for what, token := range map[string]string{
		"of the hash":       newSession(h.Hash, id, until),
		"of no key":         newSession("", id, until),
		"of another's":      newSession(r.server.sessionSecret(scu.Key{Hash: "x"}), id, until),
		"of an unknown key": newSession("s3cret", "0000000000000000", until),
		"of the server's":   newSession("s3cret", id, until),
	} {
		if status, _, _ := r.ask("GET", "/jobs", "", "Cookie", sessionCookie+"="+token); status != 401 {
			t.Errorf("%s: %d", what, status)
		}
	}
}

// A key works from the moment that its making is answered, before the table has it: on each
// API, and an older table that comes in doesn't end what it opened.
func TestANewKeyWorksAtOnce(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	ring := newKeyring(r.broker, r.server.log)
	ring.set(scu.KeyTable{}) // it is followed, and is behind
	text, id := r.key("ada", scu.ScopeRead)
	h, err := ring.find(t.Context(), text)
	must(t, err)
	if h == nil || h.ID != id || h.Revision == 0 {
		t.Fatalf("%+v", h)
	}
	ring.set(scu.KeyTable{Revision: h.Revision - 1})
	if again, err := ring.find(t.Context(), text); err != nil || again != h || h.valid.Err() != nil {
		t.Errorf("%+v, %v; what it opened: %v", again, err, h.valid.Err())
	}
	must(t, r.broker.RemoveKey(t.Context(), id))
	ring.set(scu.KeyTable{Made: true, Revision: h.Revision + 1})
	if context.Cause(h.valid) != errRevoked {
		t.Errorf("revoked, it is %v", context.Cause(h.valid))
	}
	if h, err := ring.find(t.Context(), text); h != nil || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
}

// Guessed keys reach the store only so often.
func TestGuessedKeysAreAskedForRarely(t *testing.T) {
	asked := 0
	ring := newKeyring(countingKeys{asked: &asked}, slog.New(slog.DiscardHandler))
	ring.set(scu.KeyTable{})
	ring.asked.SetLimit(0) // what is left is the burst
	for range 10 * newKeysRate {
		_, text, err := scu.NewKey(scu.Key{Name: "guess", Scope: scu.ScopeAdmin}, time.Now())
		must(t, err)
		if h, err := ring.find(t.Context(), text); h != nil || err != nil {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	if asked != newKeysRate {
		t.Errorf("asked %d times", asked)
	}
}

// countingKeys has no key, and counts how often it is asked for one.
type countingKeys struct {
	*broker.Broker
	asked *int
}

func (c countingKeys) Key(context.Context, string) (scu.Key, error) {
	*c.asked++
	return scu.Key{}, scu.Errorf(scu.CodeNotFound, "no such key")
}

// If the table can't be followed, keys are looked up; if they can't be, nobody comes in by
// one, and the server's own key still counts.
func TestKeysOutOfReach(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	text, id := r.key("ada", scu.ScopeRead)
	r.server.keys.mu.Lock()
	r.server.keys.at = time.Now().Add(-time.Hour)
	r.server.keys.mu.Unlock()
	h, err := r.server.keys.find(t.Context(), text)
	if err != nil || h == nil || h.ID != id {
		t.Fatalf("%v, %v", h, err)
	}
	// One that was looked up before the table was known ends with it, too.
	early := newKeyring(r.broker, r.server.log)
	h, err = early.find(t.Context(), text)
	must(t, err)
	if h == nil || h.valid.Err() != nil {
		t.Fatalf("%+v", h)
	}
	early.set(scu.KeyTable{Keys: []scu.Key{h.Key}, Made: true, Revision: h.Revision})
	if h.valid.Err() != nil {
		t.Error("the table knows it, and it ended")
	}
	early.set(scu.KeyTable{Made: true, Revision: h.Revision + 1})
	if context.Cause(h.valid) != errRevoked {
		t.Errorf("revoked, it is %v", context.Cause(h.valid))
	}
	r.broker.Close()
	r.until("the table is old", func() bool { _, now := r.server.keys.known(id); return !now })
	status, _, body := r.ask("GET", "/trainers", "", "Authorization", "Bearer "+text)
	r.refused(t, status, body, 503, scu.CodeUnavailable, "")
	if status, _, _ := r.ask("GET", "/openapi.json", "", "Authorization", "Bearer "+text); status != 200 {
		t.Errorf("what needs no key: %d", status)
	}
	if status, _, _ := r.ask("GET", "/metrics", "", "Authorization", "Bearer s3cret"); status != 200 {
		t.Errorf("the server's own key: %d", status)
	}
}

// No key comes into the log: not the server's, not one of the table, not one in a body, not
// a wrong one.
func TestKeysAreNotLogged(t *testing.T) {
	var log lockedText
	r := start(t, func(o *Options) {
		o.Key = "s3cret-of-the-server"
		o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	made, err := r.sdk.CreateKey(t.Context(), client.KeyRequest{Name: "ci", Owner: "ada", Scope: scu.ScopeSubmit})
	must(t, err)
	r.until("the key counts", func() bool { _, err := r.with(made.Key).Jobs(t.Context(), newest); return err == nil })
	wrong := made.Prefix + "_" + strings.Repeat("0123456789abcdef", 4)
	for _, key := range []string{made.Key, wrong, "s3cret-of-the-server", "no-key-at-all"} {
		r.ask("GET", "/jobs", "", "Authorization", "Bearer "+key)
		_, h, _ := r.ask("POST", "/session", `{"key": "`+key+`"}`)
		r.ask("POST", "/jobs/submit", `{"base_model": 7}`, "Cookie", h.Get("Set-Cookie"), pageHeader, "1")
		r.server.signIns = newRates(1000)
		r.ask("POST", "/session", `{"key": ["`+key+`"]}`)
	}
	text := log.String()
	for _, secret := range []string{made.Key, wrong, "s3cret-of-the-server", "no-key-at-all", sessionCookie} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if !strings.Contains(text, `"key":"`+made.ID+`","owner":"ada"`) {
		t.Error("the log doesn't tell whose requests they were")
	}
}

// lockedText is what a log wrote.
type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
