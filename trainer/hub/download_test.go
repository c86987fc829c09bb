package hub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const weights = "model.safetensors"

// checkWhole downloads, and checks that the right content came and nothing was left lying about.
func checkWhole(t *testing.T, h *fakeHub, c *Client) {
	t.Helper()
	dir, _ := snapshotOf(t, c, "main")
	checkSnapshot(t, h, dir, "config.json", "tokenizer.json", "tokenizer_config.json", weights)
	if left := partials(t, c); left != nil {
		t.Fatal(left)
	}
}

func partials(t *testing.T, c *Client) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(c.CacheDir, "models--owner--model/blobs/*.incomplete"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// leave puts an unfinished download of the weights into the cache.
func leave(t *testing.T, h *fakeHub, c *Client, content []byte) {
	t.Helper()
	dir := filepath.Join(c.CacheDir, "models--owner--model/blobs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, sha(h.files[weights])+".0a1b2c3d.incomplete"), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens on the way, the file that arrives is the right one.
func TestDownloadSurvives(t *testing.T) {
	seconds := func(n ...int) (waits []time.Duration) {
		for _, s := range n {
			waits = append(waits, time.Duration(s)*time.Second)
		}
		return waits
	}
	content := model()[weights]
	for name, c := range map[string]struct {
		left   []byte // of an earlier download
		faults []fault
		gets   []string // of the weights' content, by range
		waits  []time.Duration
	}{
		"nothing wrong":              {gets: []string{""}},
		"connection refused":         {faults: []fault{refuses}, gets: []string{"", ""}, waits: seconds(1)},
		"connection dropped":         {faults: []fault{dropsAfter(1000)}, gets: []string{"", "1000"}, waits: seconds(1)},
		"dropped ten times":          {faults: times(10, dropsAfter(1)), gets: []string{"", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}, waits: slices.Repeat(seconds(1), 10)},
		"range ignored":              {faults: []fault{dropsAfter(1000), ignoresRange}, gets: []string{"", "1000"}, waits: seconds(1)},
		"busy":                       {faults: []fault{answers(503), answers(502), answers(500), answers(504), answers(408)}, gets: []string{"", "", "", "", "", ""}, waits: seconds(1, 2, 4, 8, 8)},
		"too many requests":          {faults: []fault{answers(429, "Retry-After: 30"), answers(429, `RateLimit: "api";r=0;t=40`)}, gets: []string{"", "", ""}, waits: seconds(30, 40)},
		"short with a wrong length":  {faults: []fault{sends(content[:999])}, gets: []string{"", ""}, waits: seconds(1)},
		"long with a wrong length":   {faults: []fault{sends(append(content, '!'))}, gets: []string{"", ""}, waits: seconds(1)},
		"goes on from before":        {left: content[:5000], gets: []string{"5000"}},
		"whole from before":          {left: content},
		"other bytes from before":    {left: make([]byte, 5000), gets: []string{"5000", ""}, waits: seconds(1)},
		"all wrong from before":      {left: make([]byte, len(content)), gets: []string{""}, waits: seconds(1)},
		"longer from before":         {left: make([]byte, len(content)+1), gets: []string{""}},
		"range refused":              {left: content[:5000], faults: []fault{answers(416)}, gets: []string{"5000", ""}, waits: seconds(1)},
		"another range":              {left: content[:5000], faults: []fault{answers(206, "Content-Range: bytes 4000-524287/524288")}, gets: []string{"5000", ""}, waits: seconds(1)},
		"range of another file":      {left: content[:5000], faults: []fault{answers(206, "Content-Range: bytes 5000-9999/10000")}, gets: []string{"5000", ""}, waits: seconds(1)},
		"range that says nothing":    {left: content[:5000], faults: []fault{answers(206)}, gets: []string{"5000", ""}, waits: seconds(1)},
		"dropped while it starts up": {left: content[:5000], faults: []fault{refuses, dropsAfter(10)}, gets: []string{"5000", "5000", "5010"}, waits: seconds(1, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHub(t, model())
			client, waits := h.client()
			if c.left != nil {
				leave(t, h, client, c.left)
			}
			h.on("GET", weights, c.faults...)
			checkWhole(t, h, client)
			var gets []string
			for _, r := range h.requests() {
				if span, ok := strings.CutPrefix(r, "GET /"+weights); ok {
					gets = append(gets, strings.TrimSuffix(strings.TrimPrefix(span, " Range: bytes="), "-"))
				}
			}
			if !slices.Equal(gets, c.gets) || !slices.Equal(*waits, c.waits) {
				t.Fatalf("got %q after %v\nwant %q after %v", gets, *waits, c.gets, c.waits)
			}
		})
	}
}

// Of a hopeless file nothing is left under its name.
func TestDownloadGivesUp(t *testing.T) {
	content := model()[weights]
	wrong := slices.Clone(content)
	wrong[len(wrong)-1]++
	chunked := func(body []byte) fault {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush() // before the length is known
				w.Write(body)
			})
		}
	}
	for name, c := range map[string]struct {
		faults []fault
		want   error
		text   string
		gets   int
	}{
		"always wrong lengths":  {times(9, sends(content[:999])), ErrCorrupt, "999 bytes of a file of 524288", 6},
		"wrong content":         {times(9, sends(wrong)), ErrCorrupt, "its hash is", 1},
		"never ends":            {times(9, chunked(append(content, content...))), ErrCorrupt, "more than 524288 bytes", 6},
		"never comes":           {times(9, refuses), ErrUnreachable, "EOF", 6},
		"always busy":           {times(9, answers(503)), nil, "503 Service Unavailable", 6},
		"wait for a day":        {times(9, answers(429, "Retry-After: 86400")), nil, "wait for 24h", 1},
		"link expired at once":  {times(9, answers(403)), nil, "403", 1},
		"ignores range, drops":  {times(9, func(n http.Handler) http.Handler { return ignoresRange(dropsAfter(5)(n)) }), ErrUnreachable, "", 6},
		"ends early, no length": {times(9, chunked(nil)), ErrUnreachable, "ended after 0 of 524288", 6},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHub(t, model())
			client, _ := h.client()
			h.on("GET", weights, c.faults...)
			_, _, err := client.Snapshot(t.Context(), "owner/model", "main")
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), weights) {
				t.Fatalf("got %v\nwant %v and %q", err, c.want, c.text)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Fatalf("the link's signature is in the error: %v", err)
			}
			if got := count(h.requests(), "GET /"+weights); got != c.gets {
				t.Fatalf("%d tries, want %d", got, c.gets)
			}
			if exists(client.cache("owner/model").blob(sha(content))) {
				t.Fatal("the blob has its name")
			}
			// And the next time all is well.
			h.faults = map[string][]fault{}
			checkWhole(t, h, client)
		})
	}
}

// A server that says nothing of a small file's size, and then all of it.
func TestDownloadUnknownSize(t *testing.T) {
	h := newFakeHub(t, model())
	c, _ := h.client()
	h.on("HEAD", "config.json", pass, answers(200, "ETag: "+gitName(h.files["config.json"]), "X-Repo-Commit: "+h.commit))
	checkWhole(t, h, c)
}

// A connection in which nothing moves is as good as dropped.
func TestDownloadStalls(t *testing.T) {
	h := newFakeHub(t, model())
	c, _ := h.client()
	c.stall = 3 * time.Second // a busy machine moves something within it
	h.on("GET", weights, hangsAfter(1000))
	checkWhole(t, h, c)
	if got := h.requests(); count(got, "GET /"+weights+" Range: bytes=1000-") != 1 {
		t.Fatal(got)
	}
}

// The token follows redirects within the endpoint and nowhere else: not to another host, not to
// another port of the same host. (The fake storage fails the test when it sees one.)
func TestTokenStaysAtEndpoint(t *testing.T) {
	h := newFakeHub(t, model())
	h.private = true // the endpoint wants it on every hop
	c, _ := h.client()
	c.Token = goodToken
	h.on("GET", "config.json", times(9, answers(302, "Location: "+h.storage.URL+"/"+weights+"?"+signature))...)
	_, _, err := c.Snapshot(t.Context(), "owner/model", "main")
	if !errors.Is(err, ErrCorrupt) { // it got the wrong file there, without a token
		t.Fatal(err)
	}
}

func TestKill(t *testing.T) {
	if endpoint := os.Getenv("HUB_TEST_ENDPOINT"); endpoint != "" {
		download(endpoint, os.Getenv("HUB_TEST_CACHE"))
		return
	}
	h := newFakeHub(t, model())
	c, _ := h.client()
	h.on("GET", weights, hangsAfter(200_000))

	child := exec.Command(os.Args[0], "-test.run=^TestKill$")
	child.Env = append(os.Environ(), "HUB_TEST_ENDPOINT="+h.hub.URL, "HUB_TEST_CACHE="+c.CacheDir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != weights+" 200000"; {
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	if left := partials(t, c); len(left) != 1 {
		t.Fatal("the killed download left ", left)
	}

	h.requests()
	checkWhole(t, h, c)
	if got := h.requests(); count(got, "GET /"+weights+" Range: bytes=200000-") != 1 || count(got, "GET /"+weights) != 1 {
		t.Fatal(got)
	}
}

// download is the process that TestKill kills.
func download(endpoint, cache string) {
	c := &Client{Endpoint: endpoint, CacheDir: cache, Progress: func(file string, done, total int64) {
		fmt.Printf("%s %d\n", file, done)
	}}
	_, _, err := c.Snapshot(context.Background(), "owner/model", "main")
	fmt.Println(err)
}

func TestContentRange(t *testing.T) {
	for _, c := range []struct {
		text         string
		first, total int64
		ok           bool
	}{
		{"bytes 5-9/10", 5, 10, true},
		{"bytes 5-9/*", 5, -1, true},
		{"bytes */10", 0, 0, false},
		{"bytes 5-9", 5, 0, false},
		{"", 0, 0, false},
	} {
		first, total, err := contentRange(c.text)
		if (err == nil) != c.ok || c.ok && (first != c.first || total != c.total) {
			t.Errorf("%q: %d %d %v", c.text, first, total, err)
		}
	}
}
