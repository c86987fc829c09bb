package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// model is a repository in one file; weights are long enough to be received in pieces.
func model() map[string][]byte {
	return map[string][]byte{
		"config.json":           []byte(`{"model_type":"gpt2"}`),
		"tokenizer.json":        []byte(`{"version":"1.0"}`),
		"tokenizer_config.json": []byte(`{}`),
		"model.safetensors":     bytes.Repeat([]byte("weights!"), 1<<16), // 512 KiB
		"pytorch_model.bin":     []byte("pickle"),
		"modeling_evil.py":      []byte("import os"),
	}
}

func sharded() map[string][]byte {
	files := model()
	delete(files, "model.safetensors")
	files["model.safetensors.index.json"] = []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`)
	files["model-00001-of-00002.safetensors"] = bytes.Repeat([]byte("one"), 1000)
	files["model-00002-of-00002.safetensors"] = bytes.Repeat([]byte("two"), 1000)
	return files
}

// checkSnapshot says what the folder must hold, and what not.
func checkSnapshot(t *testing.T, h *fakeHub, dir string, names ...string) {
	t.Helper()
	var got []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	names = slices.Sorted(slices.Values(names))
	if !slices.Equal(got, names) {
		t.Fatalf("the snapshot has %v, want %v", got, names)
	}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(content, h.files[name]) {
			t.Fatalf("%s: not the Hub's content (%v)", name, err)
		}
	}
}

func snapshotOf(t *testing.T, c *Client, revision string) (dir, commit string) {
	t.Helper()
	dir, commit, err := c.Snapshot(context.Background(), "owner/model", revision)
	if err != nil {
		t.Fatal(err)
	}
	return dir, commit
}

func TestSnapshot(t *testing.T) {
	h := newFakeHub(t, model())
	h.private = true
	c, waits := h.client()
	c.Token = goodToken
	progress := map[string]string{}
	c.Progress = func(file string, done, total int64) { progress[file] = fmt.Sprintf("%d/%d", done, total) }

	dir, commit := snapshotOf(t, c, "")
	checkSnapshot(t, h, dir, "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
	if commit != h.commit || len(*waits) != 0 {
		t.Fatal(commit, *waits)
	}
	if progress["model.safetensors"] != "524288/524288" || progress["config.json"] != "21/21" {
		t.Fatal(progress)
	}

	// The layout is Python's, to the letter.
	repo := filepath.Join(c.CacheDir, "models--owner--model")
	if dir != filepath.Join(repo, "snapshots", commit) {
		t.Fatal(dir)
	}
	for file, etag := range map[string]string{
		"model.safetensors": sha(h.files["model.safetensors"]),
		"config.json":       gitName(h.files["config.json"]),
	} {
		link, err := os.Readlink(filepath.Join(dir, file))
		if err != nil || link != filepath.Join("..", "..", "blobs", etag) {
			t.Fatal(link, err)
		}
		if !exists(filepath.Join(c.CacheDir, ".locks", "models--owner--model", etag+".lock")) {
			t.Fatal("no lock file of ", file)
		}
	}
	if ref, err := os.ReadFile(filepath.Join(repo, "refs", "main")); err != nil || string(ref) != commit {
		t.Fatalf("%q, %v", ref, err)
	}
	if !exists(filepath.Join(repo, ".no_exist", commit, "generation_config.json")) {
		t.Fatal("a missing file was not noted")
	}
	if left, _ := filepath.Glob(filepath.Join(repo, "*", "*incomplete")); left != nil {
		t.Fatal(left)
	}

	// What is there is not asked for again: one question for the branch, none for the commit.
	h.requests()
	snapshotOf(t, c, "main")
	if got := h.requests(); len(got) != 2 || count(got, "GET") != 0 {
		t.Fatal(got)
	}
	snapshotOf(t, c, commit)
	if got := h.requests(); got != nil {
		t.Fatal(got)
	}
}

func TestSnapshotShards(t *testing.T) {
	h := newFakeHub(t, sharded())
	c, _ := h.client()
	dir, commit := snapshotOf(t, c, "main")
	checkSnapshot(t, h, dir, "config.json", "tokenizer.json", "tokenizer_config.json",
		"model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")

	h.requests()
	c.Offline = true
	if _, again := snapshotOf(t, c, "main"); again != commit || h.requests() != nil {
		t.Fatal("offline is not what was cached")
	}
	if err := os.Remove(filepath.Join(dir, "model-00002-of-00002.safetensors")); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Snapshot(t.Context(), "owner/model", "main")
	if !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), "model-00002-of-00002.safetensors") {
		t.Fatal(err)
	}
}

func TestSnapshotLegacyTokenizer(t *testing.T) {
	files := model()
	delete(files, "tokenizer.json")
	files["vocab.json"], files["merges.txt"] = []byte("{}"), []byte("#version: 0.2\n")
	h := newFakeHub(t, files)
	c, _ := h.client()
	dir, _ := snapshotOf(t, c, "main")
	checkSnapshot(t, h, dir, "config.json", "vocab.json", "merges.txt", "tokenizer_config.json", "model.safetensors")
}

// A branch that has moved gives a second snapshot, and the unchanged files' blobs are shared.
func TestSnapshotFollowsBranch(t *testing.T) {
	h := newFakeHub(t, model())
	c, _ := h.client()
	_, first := snapshotOf(t, c, "main")
	h.commit = strings.Repeat("d1", 20)
	h.files["config.json"] = []byte(`{"model_type":"llama"}`)
	h.requests()
	dir, second := snapshotOf(t, c, "main")
	if second == first || count(h.requests(), "GET /api/resolve-cache/") != 1 {
		t.Fatal("want the new commit, and only config.json fetched")
	}
	checkSnapshot(t, h, dir, "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
}

func TestSnapshotErrors(t *testing.T) {
	without := func(names ...string) map[string][]byte {
		files := model()
		for _, name := range names {
			delete(files, name)
		}
		return files
	}
	for name, c := range map[string]struct {
		files    map[string][]byte
		set      func(*fakeHub, *Client)
		repo     string
		revision string
		want     error
		text     string
	}{
		"no such repository":      {repo: "owner/none", want: ErrRepoNotFound, text: "owner/none at main"},
		"private, no token":       {set: func(h *fakeHub, c *Client) { h.private = true }, want: ErrRepoNotFound},
		"no such revision":        {revision: "v9", want: ErrRevisionNotFound, text: "v9"},
		"gated, no token":         {set: func(h *fakeHub, c *Client) { h.gated = true }, want: ErrGated, text: "accept its conditions"},
		"gated, token":            {set: func(h *fakeHub, c *Client) { h.gated = true; c.Token = goodToken }, want: ErrGated},
		"expired token":           {set: func(h *fakeHub, c *Client) { c.Token = "hf_expired" }, want: ErrUnauthorized, text: "HF_TOKEN"},
		"token without the right": {set: func(h *fakeHub, c *Client) { c.Token = goodToken; h.on("HEAD", "config.json", answers(403)) }, want: ErrForbidden},
		"no config.json":          {files: without("config.json"), want: ErrEntryNotFound, text: "config.json"},
		"only pickled weights":    {files: without("model.safetensors"), want: ErrNoWeights},
		"offline":                 {set: func(h *fakeHub, c *Client) { c.Offline = true }, want: ErrOffline},
		"nobody listens":          {set: func(h *fakeHub, c *Client) { h.hub.Close() }, want: ErrUnreachable},
		"endpoint is no address":  {set: func(h *fakeHub, c *Client) { c.Endpoint = "hub" }, text: "HF_ENDPOINT"},
		"no cache folder":         {set: func(h *fakeHub, c *Client) { c.CacheDir = "" }, text: "HF_HOME"},
		"not a Hub":               {set: func(h *fakeHub, c *Client) { h.on("HEAD", "config.json", answers(200)) }, text: "not a Hugging Face Hub"},
		"no commit": {set: func(h *fakeHub, c *Client) {
			h.on("HEAD", "config.json", answers(200, "ETag: abc", "X-Repo-Commit: ../../x"))
		}, text: "not a Hugging Face Hub"},
		"etag is a path": {set: func(h *fakeHub, c *Client) {
			h.on("HEAD", "config.json", pass, answers(200, "X-Linked-Etag: ../../x", "X-Repo-Commit: "+h.commit))
		}, text: "not a Hugging Face Hub"},
		"another commit": {set: func(h *fakeHub, c *Client) {
			h.on("HEAD", "tokenizer.json", answers(200, "ETag: abc", "X-Repo-Commit: "+strings.Repeat("1", 40)))
		}, text: "answers with commit"},
		"size is no number": {set: func(h *fakeHub, c *Client) {
			h.on("HEAD", "tokenizer.json", answers(200, "ETag: abc", "X-Linked-Size: -1", "X-Repo-Commit: "+h.commit))
		}, text: "size"},
		"config of 1 GB": {set: func(h *fakeHub, c *Client) {
			h.on("HEAD", "tokenizer.json", answers(200, "ETag: abc", "X-Linked-Size: 1000000000", "X-Repo-Commit: "+h.commit))
		}, text: "more than the 268435456"},
		"redirect to nowhere": {set: func(h *fakeHub, c *Client) {
			h.on("HEAD", "config.json", answers(302))
		}, text: "redirect"},
		"redirects in a circle": {set: func(h *fakeHub, c *Client) {
			h.on("HEAD", "config.json", times(99, answers(302, "Location: config.json"))...)
		}, text: "more than 10"},
		"redirect to a file": {set: func(h *fakeHub, c *Client) {
			h.on("GET", "config.json", answers(302, "Location: file:///etc/passwd"))
		}, text: "redirect"},
		"shard outside the folder": {files: map[string][]byte{
			"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`{"weight_map":{"a":"../../../x.safetensors"}}`),
		}, text: "beside the index"},
		"shard missing": {files: map[string][]byte{
			"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`{"weight_map":{"a":"x.safetensors"}}`),
		}, want: ErrEntryNotFound, text: "x.safetensors"},
		"index is no JSON": {files: map[string][]byte{
			"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`<html>`),
		}, text: "index"},
		"repository is a path": {repo: "../etc", want: ErrBadName},
		"revision is a path":   {revision: "../../x", want: ErrBadName},
	} {
		t.Run(name, func(t *testing.T) {
			if c.files == nil {
				c.files = model()
			}
			h := newFakeHub(t, c.files)
			client, _ := h.client()
			if c.set != nil {
				c.set(h, client)
			}
			if c.repo == "" {
				c.repo = "owner/model"
			}
			_, _, err := client.Snapshot(t.Context(), c.repo, c.revision)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v\nwant %v and %q", err, c.want, c.text)
			}
			if client.Token != "" && strings.Contains(err.Error(), string(client.Token)) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("a secret is in the error: %v", err)
			}
		})
	}
}

func TestSnapshotWhenTheHubIsDown(t *testing.T) {
	h := newFakeHub(t, model())
	c, waits := h.client()
	dir, commit := snapshotOf(t, c, "main")
	check := func(name string) {
		t.Helper()
		gotDir, got := snapshotOf(t, c, "main")
		if gotDir != dir || got != commit || len(*waits) != 0 {
			t.Fatal(name, got, *waits)
		}
	}
	h.on("HEAD", "config.json", answers(503))
	check("503")
	h.on("HEAD", "config.json", refuses)
	check("dropped")
	h.gated = true
	check("gated meanwhile")
	h.hub.Close()
	check("closed")
	// A commit whose optional files were never asked for, as other clients leave it.
	if err := os.RemoveAll(filepath.Join(c.CacheDir, "models--owner--model", ".no_exist")); err != nil {
		t.Fatal(err)
	}
	if _, got := snapshotOf(t, c, commit); got != commit {
		t.Fatal(got)
	}
	// But what the Hub does not know any more is an error.
	h = newFakeHub(t, model())
	c.Endpoint = h.hub.URL
	h.on("HEAD", "config.json", answers(404, "X-Error-Code: RevisionNotFound"))
	if _, _, err := c.Snapshot(t.Context(), "owner/model", "main"); !errors.Is(err, ErrRevisionNotFound) {
		t.Fatal(err)
	}
}

// A link whose blob is gone is fetched anew.
func TestSnapshotRepairsLinks(t *testing.T) {
	h := newFakeHub(t, model())
	c, _ := h.client()
	dir, _ := snapshotOf(t, c, "main")
	blob, err := filepath.EvalSymlinks(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	snapshotOf(t, c, "main")
	checkSnapshot(t, h, dir, "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
}

func TestSnapshotCancelled(t *testing.T) {
	h := newFakeHub(t, model())
	c, _ := h.client()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the job was cancelled")
	c.Progress = func(file string, done, total int64) {
		if file == "model.safetensors" {
			cancel(stop)
		}
	}
	h.on("GET", "model.safetensors", hangsAfter(1000))
	_, _, err := c.Snapshot(ctx, "owner/model", "main")
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	c.Progress = nil
	h.requests()
	snapshotOf(t, c, "main")
	if got := h.requests(); count(got, "GET /model.safetensors Range: bytes=1000-") != 1 {
		t.Fatal(got)
	}
}

// Two at once, as two processes would: each file is fetched once.
func TestSnapshotTwice(t *testing.T) {
	h := newFakeHub(t, model())
	first, _ := h.client()
	second, _ := h.client()
	second.CacheDir = first.CacheDir
	done := make(chan error, 2)
	for _, c := range []*Client{first, second} {
		go func() {
			_, _, err := c.Snapshot(t.Context(), "owner/model", "main")
			done <- err
		}()
	}
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	if got := h.requests(); count(got, "GET /model.safetensors") != 1 {
		t.Fatal(got)
	}
	checkSnapshot(t, h, filepath.Join(first.CacheDir, "models--owner--model", "snapshots", h.commit),
		"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
}

func TestNames(t *testing.T) {
	for _, repo := range []string{"gpt2", "openai-community/gpt2", "a/b.c_d-e", "Qwen/Qwen2.5-0.5B"} {
		if err := checkRepo(repo); err != nil {
			t.Error(err)
		}
	}
	for _, repo := range []string{"", "/", "a/", "/a", "a/b/c", "..", "a/..", ".a/b", "a/-b", "a--b", "a..b", "a b", "a/b.git", "é/b", `a\b`, "a/b?x", strings.Repeat("a", 97)} {
		if checkRepo(repo) == nil {
			t.Errorf("repository %q passes", repo)
		}
	}
	for _, file := range []string{"config.json", "a/b/c.txt", "with space.txt", "é"} {
		if err := checkFile(file); err != nil {
			t.Error(err)
		}
	}
	for _, file := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", "./a", `a\b`, "c:a", "a\nb", ".git/config", "a/.git/b", strings.Repeat("a", 1001)} {
		if checkFile(file) == nil {
			t.Errorf("file %q passes", file)
		}
	}
	for _, revision := range []string{"main", "refs/pr/1", "v1.0", strings.Repeat("a", 40)} {
		if err := checkRevision(revision); err != nil {
			t.Error(err)
		}
	}
}

func TestFromEnv(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"HF_ENDPOINT", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	check := func(name string, c *Client, cache string, token Token, offline bool) {
		t.Helper()
		if c.CacheDir != cache || c.Token != token || c.Offline != offline {
			t.Fatalf("%s: %s %q %v", name, c.CacheDir, string(c.Token), c.Offline)
		}
	}
	check("nothing set", FromEnv(), filepath.Join(home, ".cache/huggingface/hub"), "", false)
	if FromEnv().endpoint() != "https://huggingface.co" {
		t.Fatal("endpoint")
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "xdg"))
	check("XDG_CACHE_HOME", FromEnv(), filepath.Join(home, "xdg/huggingface/hub"), "", false)
	t.Setenv("HF_HOME", "~/hf")
	if err := os.MkdirAll(filepath.Join(home, "hf"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "hf/token"), []byte("hf_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("HF_HOME", FromEnv(), filepath.Join(home, "hf/hub"), "hf_file", false)
	t.Setenv("HF_TOKEN_PATH", filepath.Join(home, "none"))
	check("HF_TOKEN_PATH", FromEnv(), filepath.Join(home, "hf/hub"), "", false)
	t.Setenv("HF_TOKEN", " hf_env ")
	t.Setenv("HF_HUB_CACHE", "$HOME/cache")
	t.Setenv("HF_HUB_OFFLINE", "ON")
	check("all", FromEnv(), filepath.Join(home, "cache"), "hf_env", true)
	t.Setenv("HF_ENDPOINT", "https://mirror.example/")
	if FromEnv().endpoint() != "https://mirror.example" {
		t.Fatal("endpoint")
	}
}

func TestTokenIsNotPrinted(t *testing.T) {
	c := &Client{Token: "hf_secret"}
	text, err := c.Token.MarshalText()
	if all := fmt.Sprintf("%v %+v %#v %s %q %s", c, c, c, c.Token, c.Token, text); err != nil || strings.Contains(all, "hf_secret") {
		t.Fatal(all, err)
	}
}

func TestRetryAfter(t *testing.T) {
	header := func(name, value string) map[string][]string { return map[string][]string{name: {value}} }
	for _, c := range []struct {
		header map[string][]string
		want   time.Duration
	}{
		{nil, 0},
		{header("Retry-After", "7"), 7 * time.Second},
		{header("Retry-After", "-7"), 0},
		{header("Retry-After", "soon"), 0},
		{header("Retry-After", "99999999999999999999"), 0},
		{header("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"), 0},
		{header("Ratelimit", `"api";r=0;t=55`), 55 * time.Second},
		{header("Ratelimit", `"api";r=3;t=55`), 0},
		{header("Ratelimit", `;;=`), 0},
	} {
		if got := retryAfter(c.header); got != c.want {
			t.Errorf("%v: got %v, want %v", c.header, got, c.want)
		}
	}
	future := time.Now().Add(time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	if got := retryAfter(header("Retry-After", future)); got < 59*time.Minute || got > time.Hour {
		t.Errorf("%v", got)
	}
}

func TestWait(t *testing.T) {
	c := &Client{}
	if err := c.wait(t.Context(), time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := c.wait(ctx, time.Hour); err != stop {
		t.Fatal(err)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31m\nb\u202e" + strings.Repeat("é", 400)); got != "a [31m b "+strings.Repeat("é", 291)+"..." {
		t.Fatal(got)
	}
}
