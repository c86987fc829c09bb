package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	goodToken = Token("hf_good")
	signature = "Signature=secret" // in the query of the fake storage's links
)

// fakeHub is a Hub on loopback: the Hub itself, and the storage behind it as another origin.
// The repository is "owner/model" with the branch "main". Tests make requests go wrong with on.
type fakeHub struct {
	*testing.T
	hub, storage *httptest.Server

	mu      sync.Mutex
	commit  string
	files   map[string][]byte
	gated   bool
	private bool
	faults  map[string][]fault // by "METHOD name", taken in order
	log     []string           // every request: "METHOD path", with " Range: ..." where there is one

	uploads
}

// fault stands between a request and what answers it.
type fault func(next http.Handler) http.Handler

func newFakeHub(t *testing.T, files map[string][]byte) *fakeHub {
	h := &fakeHub{T: t, commit: strings.Repeat("c0", 20), files: files, faults: map[string][]fault{}}
	h.hub = httptest.NewServer(h.recorded(h.serveHub))
	h.storage = httptest.NewServer(h.recorded(h.serveStorage))
	t.Cleanup(h.hub.Close)
	t.Cleanup(h.storage.Close)
	return h
}

// client is one that does not wait; waits gets what it would have waited.
func (h *fakeHub) client() (c *Client, waits *[]time.Duration) {
	waits = &[]time.Duration{}
	var mu sync.Mutex
	return &Client{
		Endpoint: h.hub.URL,
		CacheDir: h.TempDir(),
		Wait: func(ctx context.Context, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			*waits = append(*waits, d)
			return ctx.Err()
		},
	}, waits
}

// on makes the next requests for a file (or the last part of a path) go wrong, one fault each.
func (h *fakeHub) on(method, name string, faults ...fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults[method+" "+name] = append(h.faults[method+" "+name], faults...)
}

// requests takes what was asked since the last time.
func (h *fakeHub) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	log := h.log
	h.log = nil
	return log
}

// count is how many of the requests begin with a text.
func count(requests []string, start string) (n int) {
	for _, r := range requests {
		if strings.HasPrefix(r, start) {
			n++
		}
	}
	return n
}

func (h *fakeHub) recorded(serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		line := r.Method + " " + r.URL.Path
		if span := r.Header.Get("Range"); span != "" {
			line += " Range: " + span
		}
		h.log = append(h.log, line)
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		key := r.Method + " " + name
		var next http.Handler = serve
		// A redirect on the way to a file is not the file: faults of GET wait for the content.
		redirects := r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/resolve/")
		if list := h.faults[key]; len(list) > 0 && !redirects {
			next, h.faults[key] = list[0](next), list[1:]
		}
		h.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func fail(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
}

// authorized answers requests whose token is not the good one.
func (h *fakeHub) authorized(w http.ResponseWriter, r *http.Request) bool {
	auth := r.Header.Get("Authorization")
	switch {
	case auth != "" && auth != "Bearer "+string(goodToken):
		fail(w, 401, "", "Invalid credentials in Authorization header")
	case h.private && auth == "":
		fail(w, 401, "RepoNotFound", "Invalid username or password.")
	case h.gated:
		fail(w, 403, "GatedRepo", "Access to model owner/model is restricted")
	default:
		return true
	}
	return false
}

func (h *fakeHub) serveHub(w http.ResponseWriter, r *http.Request) {
	if ours := r.UserAgent() == userAgent; ours && r.Header.Get("Accept-Encoding") != "identity" {
		h.Errorf("%s %s: Accept-Encoding is %q", r.Method, r.URL.Path, r.Header.Get("Accept-Encoding"))
	}
	rest, resolve := strings.CutPrefix(strings.TrimPrefix(r.URL.Path, "/datasets"), "/owner/model/resolve/")
	small, cached := strings.CutPrefix(r.URL.Path, "/api/resolve-cache/")
	switch {
	case !h.authorized(w, r):
	case resolve:
		h.serveResolve(w, r, rest)
	case cached:
		w.Header().Set("X-Repo-Commit", h.commit)
		w.Header().Set("ETag", `W/"`+gitName(h.files[small])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(h.files[small]))
	case r.Method == http.MethodPost:
		h.serveUpload(w, r)
	default:
		fail(w, 404, "RepoNotFound", "Repository not found")
	}
}

// serveResolve answers as the Hub does: large files by a redirect to the storage, small ones by
// a relative redirect to itself.
func (h *fakeHub) serveResolve(w http.ResponseWriter, r *http.Request, rest string) {
	revision, file, _ := strings.Cut(rest, "/")
	if revision != "main" && revision != h.commit {
		fail(w, 404, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	w.Header().Set("X-Repo-Commit", h.commit)
	content, ok := h.files[file]
	switch {
	case !ok:
		fail(w, 404, "EntryNotFound", "Entry not found")
	case strings.HasSuffix(file, ".safetensors"):
		w.Header().Set("X-Linked-Etag", `"`+sha(content)+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(content)))
		w.Header().Set("ETag", `"of the redirect"`)
		http.Redirect(w, r, h.storage.URL+"/"+file+"?"+signature, http.StatusFound)
	default:
		w.Header().Set("Location", "/api/resolve-cache/"+file)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

func (h *fakeHub) serveStorage(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		h.Errorf("%s %s: the token was sent to the storage", r.Method, r.URL.Path)
	}
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		h.servePut(w, r)
		return
	}
	if r.Method != http.MethodGet || r.URL.RawQuery != signature {
		h.Errorf("%s %s reached the storage", r.Method, r.URL)
	}
	content, ok := h.files[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// The faults.

// pass is no fault, for the requests between.
func pass(next http.Handler) http.Handler { return next }

// answers makes a status with headers ("Name: value") the answer.
func answers(status int, headers ...string) fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			for _, line := range headers {
				name, value, _ := strings.Cut(line, ": ")
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
		})
	}
}

// sends makes a body the answer, whatever was asked.
func sends(body []byte) fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	}
}

// refuses drops the connection before an answer.
func refuses(http.Handler) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// dropsAfter drops the connection after n bytes of the true answer's body.
func dropsAfter(n int) fault {
	return cutAfter(n, func(*http.Request) { panic(http.ErrAbortHandler) })
}

// hangsAfter sends n bytes of the true answer's body and then nothing until the client goes.
func hangsAfter(n int) fault {
	return cutAfter(n, func(r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
}

func cutAfter(n int, then func(*http.Request)) fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&cutWriter{w, n, func() { then(r) }}, r)
		})
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
	then func()
}

func (w *cutWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.left)])
	if w.left -= n; w.left == 0 {
		w.ResponseWriter.(http.Flusher).Flush()
		w.then()
	}
	return n, err
}

// ignoresRange answers with the whole file.
func ignoresRange(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		next.ServeHTTP(w, r)
	})
}

// times repeats a fault.
func times(n int, f fault) []fault { return slices.Repeat([]fault{f}, n) }

func sha(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func gitName(content []byte) string {
	h := gitBlob(int64(len(content)))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}
