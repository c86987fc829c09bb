package client

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
)

// These tests play servers that are broken, foreign or hostile. The real server
// is in package api's tests.

const job = "0123456789abcdef"

func against(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	c, err := New(web.URL, "key")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"localhost:8000": "http://localhost:8000", "https://scu.example/": "https://scu.example", "http://h/prefix": "http://h/prefix",
		"ftp://h": "", "http://": "", "http://a b": "", "": "",
	} {
		c, err := New(address, "")
		if want == "" {
			if scu.CodeOf(err) != scu.CodeInvalid {
				t.Errorf("New(%q): %v", address, err)
			}
		} else if err != nil || c.String() != want {
			t.Errorf("New(%q) is %v, %v", address, c, err)
		}
	}
}

func TestSecretsOfAddresses(t *testing.T) {
	c, err := New("http://me:secret@127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context(), job); scu.CodeOf(err) != scu.CodeUnavailable || strings.Contains(err.Error()+c.String(), "secret") {
		t.Errorf("%s: %v", c, err)
	}
	for _, key := range []string{"s3cret\n", "two words", "schl\u00fcssel"} {
		if _, err := New("http://h", key); scu.CodeOf(err) != scu.CodeInvalid || strings.Contains(err.Error(), key) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func TestNoServer(t *testing.T) {
	web := httptest.NewServer(nil)
	web.Close()
	c, err := New(web.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context(), job)
	if e := scu.AsError(err); e.Code != scu.CodeUnavailable || !e.Retry || !strings.Contains(e.Hint, "scu serve") {
		t.Errorf("Status: %+v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx, job); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAnswersThatNoServerOfOursGives(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a page":         func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") },
		"a page and 502": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502); fmt.Fprint(w, "<html>") },
		"other JSON":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(400); fmt.Fprint(w, `{"a":1}`) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example", http.StatusFound)
		},
	} {
		c := against(t, h)
		_, err := c.Status(t.Context(), job)
		if e := scu.AsError(err); !strings.Contains(e.Message, "not an scu server") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Health(t.Context()); err == nil {
			t.Errorf("%s is healthy", name)
		}
	}
}

func TestErrorsComeBackWhole(t *testing.T) {
	c := against(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key" {
			t.Error("no key was shown")
		}
		w.WriteHeader(422)
		fmt.Fprint(w, `{"error":{"code":"invalid","message":"too high","field":"lora.r","hint":"lower it","retry":false},"detail":"x"}`)
	})
	_, err := c.Submit(t.Context(), SubmitRequest{})
	var e *scu.Error
	if !errors.As(err, &e) || *e != (scu.Error{Code: scu.CodeInvalid, Message: "too high", Field: "lora.r", Hint: "lower it"}) {
		t.Errorf("Submit: %+v", err)
	}
}

// Watch goes on after the last step that it heard, over connections that break, and tells
// of each time that it must wait.
func TestWatchConnectsAgain(t *testing.T) {
	var asked []string
	c := against(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		switch len(asked) {
		case 1:
			fmt.Fprint(w, ": hello\n\nevent: status\ndata: {\"status\":\"running\"}\n\nevent: metrics\nid: 1\ndata: {\"step\":1}\n\nevent: metrics\nid: 2\ndata: {\"st")
		case 2:
			w.WriteHeader(503)
			fmt.Fprint(w, `{"error":{"code":"unavailable","message":"starting","retry":true}}`)
		case 3:
			fmt.Fprint(w, "event: from-the-future\ndata: {}\n\nevent: metrics\nid: 2\ndata: {\"step\":2}\n\nevent: status\ndata: {\"status\":\"completed\"}\n\n")
		default:
			t.Error("asked again after the end")
		}
	})
	var steps []int
	var lost []time.Duration
	err := c.WatchThrough(t.Context(), job, 0, func(e Event) error {
		if e.Metrics != nil {
			steps = append(steps, e.Metrics.Step)
		}
		return nil
	}, func(since time.Duration) { lost = append(lost, since) })
	if len(lost) != 2 || lost[0] > firstPause || lost[1] < firstPause {
		t.Errorf("the connection was lost for %v", lost)
	}
	if err != nil || !slices.Equal(steps, []int{1, 2}) || !slices.Equal(asked, []string{"", "1", "1"}) {
		t.Errorf("Watch heard %v with Last-Event-ID %q: %v", steps, asked, err)
	}
}

func TestWatchEndsWithAnErrorThatLasts(t *testing.T) {
	c := against(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(404)
		fmt.Fprint(w, `{"error":{"code":"not_found","message":"no job","retry":false}}`)
	})
	if err := c.Watch(t.Context(), job, 0, nil); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("Watch: %v", err)
	}
	c = against(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "event: metrics\ndata: {\"step\":0}\n\n")
	})
	enough := scu.Errorf(scu.CodeUnavailable, "enough") // though it says that a retry may help
	if err := c.Watch(t.Context(), job, 0, func(Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Watch: %v", err)
	}
}

func TestDownloadsThatGoWrongLeaveNothing(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		code scu.Code
	}{
		"damaged": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("ETag", `"`+sum+`"`); fmt.Fprint(w, "x") }, scu.CodeUnavailable},
		"broken off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"`+sum+`"`)
			w.Header().Set("Content-Length", "9")
			fmt.Fprint(w, "x")
		}, scu.CodeUnavailable},
		"no sum": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x") }, scu.CodeInternal},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		_, err := against(t, c.h).DownloadAdapter(t.Context(), job, dir, nil)
		if scu.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
	if _, err := against(t, nil).DownloadAdapter(t.Context(), "../../x", t.TempDir(), nil); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("an id that is a path: %v", err)
	}
}

// entry makes one entry of a hostile zip.
type entry struct {
	name, text string
	mode       fs.FileMode
}

func zipOf(t *testing.T, entries ...entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil && !strings.HasSuffix(e.name, "/") {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnzipStaysInItsFolder(t *testing.T) {
	for name, entries := range map[string][]entry{
		"slip":              {{"../out.txt", "x", 0o644}},
		"slip inside":       {{"a/../../out.txt", "x", 0o644}},
		"absolute":          {{"/tmp/scu-out.txt", "x", 0o644}},
		"backslashes":       {{`..\out.txt`, "x", 0o644}},
		"empty name":        {{"", "x", 0o644}},
		"link":              {{"link", "/etc/passwd", fs.ModeSymlink | 0o777}},
		"link, then a file": {{"link", "..", fs.ModeSymlink | 0o777}, {"link/out.txt", "x", 0o644}},
		"device":            {{"dev", "", fs.ModeDevice | 0o644}},
		"file over folder":  {{"a/b", "x", 0o644}, {"a", "x", 0o644}},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			if err := Unzip(zipOf(t, entries...), filepath.Join(base, "dir")); scu.CodeOf(err) != scu.CodeInvalid {
				t.Errorf("Unzip: %v", err)
			}
			if _, err := os.Stat(filepath.Join(base, "out.txt")); err == nil {
				t.Error("a file lies outside")
			}
		})
	}
}

func TestUnzipThroughALinkThatLiesThere(t *testing.T) {
	base := t.TempDir()
	dir, secret := filepath.Join(base, "dir"), filepath.Join(base, "secret")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(secret, []byte("old"), 0o600), os.Symlink(secret, filepath.Join(dir, "a"))); err != nil {
		t.Fatal(err)
	}
	if err := Unzip(zipOf(t, entry{"a", "new", 0o644}), dir); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(secret); string(got) != "old" {
		t.Errorf("wrote through the link: %q", got)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a")); string(got) != "new" {
		t.Errorf("the file is %q", got)
	}
}

func TestUnzipIsBounded(t *testing.T) {
	bomb := zipOf(t, entry{"a", strings.Repeat("x", 600), 0o644}, entry{"b", strings.Repeat("x", 600), 0o644})
	if err := unzip(bomb, t.TempDir(), 1000); !errors.Is(err, errTooMuch) {
		t.Errorf("1,200 bytes of 1,000 allowed: %v", err)
	}
	if err := unzip(bomb, t.TempDir(), 1200); err != nil {
		t.Error(err)
	}
	var many []entry
	for i := range maxEntries + 1 {
		many = append(many, entry{fmt.Sprint(i), "", 0o644})
	}
	if err := Unzip(zipOf(t, many...), t.TempDir()); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("too many entries: %v", err)
	}
	if err := Unzip(filepath.Join(t.TempDir(), "none.zip"), t.TempDir()); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("no zip: %v", err)
	}
}

// Callers that ask side by side again do so over the connections that they have.
func TestConnectionsAreKept(t *testing.T) {
	const callers = 8
	var connections atomic.Int32
	var asking sync.WaitGroup // so that each needs its own
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asking.Done()
		asking.Wait()
		io.WriteString(w, "{}")
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c, err := New(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		asking.Add(callers)
		var g errgroup.Group
		for range callers {
			g.Go(func() error {
				_, err := c.Status(t.Context(), job)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != callers {
		t.Errorf("%d connections for %d callers", n, callers)
	}
}

// No stream of bytes from a server makes Watch panic, or go on after an end.
func FuzzWatch(f *testing.F) {
	for _, s := range []string{"event: status\ndata: {\"status\":\"failed\"}\n\n", "event: metrics\ndata: null\n\n", "data\n\n", ":\n\n", "event: metrics\nid: 1\ndata: {\"step\":1e99}\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		c := &Client{base: "http://x", http: &http.Client{Transport: answer(stream)}}
		w := &watch{c: c, after: 0, f: func(e Event) error {
			if (e.Status == nil) == (e.Metrics == nil) {
				t.Errorf("event %+v", e)
			}
			return nil
		}}
		w.once(t.Context(), job)
	})
}

// answer is a server that says the same to every request.
type answer string

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(string(a))), Request: r}, nil
}

// A verification that began before the newest one by another API's clock, which was ahead, is
// waited for all the same.
func TestVerificationOfAClockThatWasAhead(t *testing.T) {
	now := time.Now()
	at := func(begun time.Time) BlobReport {
		return BlobReport{Verification: scu.Verification{BegunAt: begun, EndedAt: &begun}, Damaged: []scu.Damage{}}
	}
	c := against(t, func(w http.ResponseWriter, r *http.Request) {
		report := at(now)
		if r.Method == http.MethodPost {
			report = at(now.Add(time.Hour))
		}
		json.NewEncoder(w).Encode(report)
	})
	if report, err := c.VerifyBlobs(t.Context()); err != nil || !report.Verification.BegunAt.Equal(now) {
		t.Errorf("%+v, %v", report, err)
	}
}
