package hub

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shannon-control/scu/trainer/safetensors"
)

// checkpointOf is a safetensors file of BF16 matrices.
func checkpointOf(t *testing.T, shapes map[string][]int) []byte {
	t.Helper()
	var tensors []safetensors.Tensor
	for name, shape := range shapes {
		tensors = append(tensors, safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: shape, Data: make([]byte, 2*shape[0]*shape[1])})
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, nil, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// whole is a repository whose one weights file is much longer than its header.
func whole(t *testing.T) map[string][]byte {
	files := model()
	files[weights] = checkpointOf(t, map[string][]int{"a": {1000, 1024}, "b": {3, 5}})
	return files
}

func outlineOf(t *testing.T, c *Client, revision string) *safetensors.Model {
	t.Helper()
	dir, m, err := c.Outline(t.Context(), "owner/model", revision)
	if err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(dir, "config.json")) || !exists(filepath.Join(dir, "tokenizer.json")) {
		t.Fatal("configuration or tokenizer missing")
	}
	return m
}

func checkOutline(t *testing.T, m *safetensors.Model, shapes map[string][]int) {
	t.Helper()
	if len(m.Names()) != len(shapes) {
		t.Fatal(m.Names())
	}
	for name, shape := range shapes {
		x, ok := m.Tensor(name)
		if !ok || x.DType != safetensors.BF16 || !slices.Equal(x.Shape, shape) || x.Data != nil || x.Size() != int64(2*shape[0]*shape[1]) {
			t.Fatalf("%s: %v, %v", name, x, ok)
		}
	}
}

var wholeShapes = map[string][]int{"a": {1000, 1024}, "b": {3, 5}}

// Of the weights the header alone is fetched, once.
func TestOutline(t *testing.T) {
	h := newFakeHub(t, whole(t))
	h.private = true
	c, _ := h.client()
	c.Token = goodToken
	checkOutline(t, outlineOf(t, c, ""), wholeShapes)
	got := h.requests()
	if count(got, "GET /"+weights) != 1 || count(got, "GET /"+weights+" Range: bytes=0-262143") != 1 {
		t.Fatal(got)
	}
	if exists(c.cache("owner/model").blob(sha(h.files[weights]))) || partials(t, c) != nil {
		t.Fatal("weights are in the cache")
	}

	checkOutline(t, outlineOf(t, c, "main"), wholeShapes)
	if got := h.requests(); len(got) != 2 { // what main is now, with a redirect
		t.Fatal(got)
	}
	checkOutline(t, outlineOf(t, c, h.commit), wholeShapes)
	c.Offline = true
	checkOutline(t, outlineOf(t, c, "main"), wholeShapes)
	if got := h.requests(); got != nil {
		t.Fatal(got)
	}

	// A header that was damaged is fetched again.
	c.Offline = false
	kept := c.cache("owner/model").headerPath(h.commit, weights)
	for _, damaged := range []string{"", "12", "x\n", "2048084\n{}", "2048084\n" + strings.Repeat("\xff", 100)} {
		if err := os.WriteFile(kept, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		h.requests()
		checkOutline(t, outlineOf(t, c, h.commit), wholeShapes)
		if got := h.requests(); count(got, "GET /"+weights) != 1 {
			t.Fatalf("%q: %v", damaged, got)
		}
	}
}

// What is cached is read where it is.
func TestOutlineOfCachedModel(t *testing.T) {
	h := newFakeHub(t, whole(t))
	c, _ := h.client()
	snapshotOf(t, c, "main")
	c.Offline = true
	h.requests()
	checkOutline(t, outlineOf(t, c, "main"), wholeShapes)
	if got := h.requests(); got != nil {
		t.Fatal(got)
	}
	if exists(c.cache("owner/model").path(".headers")) {
		t.Fatal("headers are kept twice")
	}
}

func TestOutlineShards(t *testing.T) {
	files := sharded()
	files["model-00001-of-00002.safetensors"] = checkpointOf(t, map[string][]int{"a": {1000, 1024}})
	files["model-00002-of-00002.safetensors"] = checkpointOf(t, map[string][]int{"b": {3, 5}})
	h := newFakeHub(t, files)
	c, _ := h.client()
	checkOutline(t, outlineOf(t, c, ""), wholeShapes)
	if got := h.requests(); count(got, "GET /model-0000") != 2 {
		t.Fatal(got)
	}
	c.Offline = true
	checkOutline(t, outlineOf(t, c, ""), wholeShapes)
}

// A header that is longer than what is asked for at first takes a second request.
func TestOutlineLongHeader(t *testing.T) {
	shapes := map[string][]int{}
	for i := range 4000 {
		shapes[fmt.Sprintf("model.layers.%d.weight", i)] = []int{1, 1}
	}
	files := model()
	files[weights] = checkpointOf(t, shapes)
	h := newFakeHub(t, files)
	c, _ := h.client()
	checkOutline(t, outlineOf(t, c, ""), shapes)
	header := 8 + binary.LittleEndian.Uint64(files[weights])
	if got := h.requests(); count(got, "GET /"+weights) != 2 || count(got, fmt.Sprintf("GET /%s Range: bytes=0-%d", weights, header-1)) != 1 {
		t.Fatal(got)
	}
}

// endless sends the true answer's beginning, whatever range was asked for, and goes on for ever.
func endless(content []byte) fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			w.Write(content[:firstRead])
			w.(http.Flusher).Flush()
			<-r.Context().Done() // until the client has had enough
		})
	}
}

func TestOutlineSurvives(t *testing.T) {
	content := whole(t)[weights]
	for name, c := range map[string]struct {
		faults []fault
		waits  []time.Duration
	}{
		"range ignored":          {faults: []fault{ignoresRange}},
		"range ignored, no end":  {faults: []fault{endless(content)}},
		"dropped in the header":  {faults: []fault{dropsAfter(20)}, waits: []time.Duration{time.Second}},
		"dropped at once":        {faults: []fault{refuses, refuses}, waits: []time.Duration{time.Second, 2 * time.Second}},
		"short with a length":    {faults: []fault{sends(content[:100])}, waits: []time.Duration{time.Second}},
		"range refused":          {faults: []fault{answers(416)}, waits: []time.Duration{time.Second}},
		"another range":          {faults: []fault{answers(206, "Content-Range: bytes 5-262143/2048214")}, waits: []time.Duration{time.Second}},
		"range of another file":  {faults: []fault{answers(206, "Content-Range: bytes 0-999/1000")}, waits: []time.Duration{time.Second}},
		"range of nothing":       {faults: []fault{answers(206)}, waits: []time.Duration{time.Second}},
		"busy":                   {faults: []fault{answers(503), answers(429, "Retry-After: 7")}, waits: []time.Duration{time.Second, 7 * time.Second}},
		"nothing moves":          {faults: []fault{hangsAfter(10)}, waits: []time.Duration{time.Second}},
		"redirects once more":    {faults: []fault{answers(302, "Location: "+weights+"?"+signature)}},
		"size not told at first": {faults: nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHub(t, whole(t))
			client, waits := h.client()
			client.stall = 3 * time.Second // a busy machine moves something within it
			h.on("GET", weights, c.faults...)
			if strings.HasPrefix(name, "size") {
				h.on("HEAD", weights, answers(302, "Location: "+h.storage.URL, "X-Linked-ETag: "+sha(content), "X-Repo-Commit: "+h.commit))
			}
			checkOutline(t, outlineOf(t, client, ""), wholeShapes)
			if !slices.Equal(*waits, c.waits) {
				t.Fatalf("waited %v, want %v", *waits, c.waits)
			}
		})
	}
}

func TestOutlineErrors(t *testing.T) {
	with := func(content []byte) map[string][]byte {
		files := model()
		files[weights] = content
		return files
	}
	long := func(n uint64, size int) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, n), make([]byte, size)...)
	}
	good := whole(t)[weights]
	for name, c := range map[string]struct {
		files map[string][]byte
		set   func(*fakeHub, *Client)
		want  error
		text  string
	}{
		"not safetensors":        {files: model(), text: "not a safetensors file"},
		"empty":                  {files: with(nil), text: "truncated"},
		"a length alone":         {files: with(long(1000, 0)), text: "truncated"},
		"a header of 34 MB":      {files: with(long(34_000_000, 34_000_000)), text: "more than 33554432 bytes"},
		"damaged header":         {files: with(append(slices.Clone(good[:8]), bytes.Repeat([]byte("{"), 1000)...)), text: "header"},
		"data cut off":           {files: with(good[:len(good)-1]), text: "past the end of the data"},
		"gated":                  {files: whole(t), set: func(h *fakeHub, c *Client) { h.gated = true }, want: ErrGated},
		"gated weights alone":    {files: whole(t), set: func(h *fakeHub, c *Client) { h.on("HEAD", weights, answers(403, "X-Error-Code: GatedRepo")) }, want: ErrGated},
		"only pickled weights":   {files: map[string][]byte{"config.json": []byte("{}"), "pytorch_model.bin": nil}, want: ErrNoWeights},
		"offline, never asked":   {files: whole(t), set: func(h *fakeHub, c *Client) { c.Offline = true }, want: ErrOffline},
		"always refused":         {files: whole(t), set: func(h *fakeHub, c *Client) { h.on("GET", weights, times(9, answers(416))...) }, want: ErrCorrupt, text: "no bytes 0-262143 of a file of"},
		"always short":           {files: whole(t), set: func(h *fakeHub, c *Client) { h.on("GET", weights, times(9, dropsAfter(9))...) }, want: ErrUnreachable},
		"link has expired":       {files: whole(t), set: func(h *fakeHub, c *Client) { h.on("GET", weights, answers(403)) }, text: "403"},
		"index without a shard":  {files: map[string][]byte{"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`{"weight_map":{"a":"x.safetensors"}}`)}, want: ErrEntryNotFound, text: "x.safetensors"},
		"index with other names": {files: map[string][]byte{"config.json": []byte("{}"), "model.safetensors.index.json": []byte(`{"weight_map":{"c":"x.safetensors"}}`), "x.safetensors": good}, text: `"c": not here`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHub(t, c.files)
			client, _ := h.client()
			if c.set != nil {
				c.set(h, client)
			}
			_, _, err := client.Outline(t.Context(), "owner/model", "")
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v\nwant %v and %q", err, c.want, c.text)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Fatalf("the link's signature is in the error: %v", err)
			}
		})
	}
	// Described, and then the network is gone: the weights are what is missing.
	h := newFakeHub(t, whole(t))
	c, _ := h.client()
	if _, _, err := c.Describe(t.Context(), "owner/model", ""); err != nil {
		t.Fatal(err)
	}
	c.Offline = true
	if _, _, err := c.Outline(t.Context(), "owner/model", ""); !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), weights) {
		t.Fatal(err)
	}
}

// FuzzRemoteHeader: whatever a server's file begins with is a header that fits it, or an error.
func FuzzRemoteHeader(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), int64(10))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), int64(-1))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"), int64(1<<40))
	f.Fuzz(func(t *testing.T, content []byte, size int64) {
		r := &remoteHeader{c: &Client{Endpoint: "http://hub", HTTP: &http.Client{Transport: serves(content)}}, ctx: t.Context(), url: "http://hub/x", size: max(size, -1), total: new(atomic.Int64)}
		r.c.Wait = func(context.Context, time.Duration) error { return nil }
		if h, err := r.read(); err == nil && (h.DataOffset > r.size || h.DataOffset > int64(len(content))) {
			t.Fatalf("%d bytes before the data of a file of %d", h.DataOffset, r.size)
		}
	})
}

// serves answers every request with a content, of which it says the length.
type serves []byte

func (s serves) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, ContentLength: int64(len(s)), Body: io.NopCloser(bytes.NewReader(s)), Header: http.Header{}, Request: r}, nil
}
