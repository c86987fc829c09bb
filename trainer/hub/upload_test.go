package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// adapter is what a job uploads: large and small files, from memory and from disk, one empty.
func adapter(t *testing.T) []UploadFile {
	local := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(local, bytes.Repeat([]byte("lora"), 50_000), 0o600); err != nil {
		t.Fatal(err)
	}
	return []UploadFile{
		{Path: "README.md", Data: []byte("---\nlibrary_name: peft\n---\n")},
		{Path: "adapter_config.json", Data: []byte(`{"r":8}`)},
		{Path: "adapter_model.safetensors", Local: local},
		{Path: "empty.safetensors", Data: []byte{}},
	}
}

func uploader(t *testing.T) (*fakeHub, *Client, *[]time.Duration) {
	h := newFakeHub(t, map[string][]byte{})
	c, waits := h.client()
	c.Token = goodToken
	return h, c, waits
}

func TestUpload(t *testing.T) {
	for _, chunkSize := range []int{0, 1000, 30_000, 200_000, 1 << 30} {
		t.Run(fmt.Sprint("chunks of ", chunkSize), func(t *testing.T) {
			h, c, _ := uploader(t)
			h.chunkSize = chunkSize
			var last string
			c.Progress = func(file string, done, total int64) { last = fmt.Sprintf("%s %d/%d", file, done, total) }
			files := adapter(t)
			url, err := c.Upload(t.Context(), "owner/model", files, UploadOptions{Message: "Adapter", Description: "of job 1"})
			if err != nil || url != "https://huggingface.co/owner/model/commit/1" {
				t.Fatal(url, err)
			}
			if want := `{"name":"model","organization":"owner","type":"model","visibility":"private"}`; !slices.Equal(h.created, []string{want}) {
				t.Fatal(h.created)
			}
			if last != "adapter_model.safetensors 200000/200000" {
				t.Fatal(last)
			}
			got, message := h.committed(h.commits[0])
			want := map[string]string{
				"README.md":                 string(files[0].Data),
				"adapter_config.json":       `{"r":8}`,
				"adapter_model.safetensors": sha(bytes.Repeat([]byte("lora"), 50_000)),
				"empty.safetensors":         "", // the storage takes no empty files
			}
			if !maps.Equal(got, want) || message != "Adapter/of job 1" {
				t.Fatal(got, message)
			}
		})
	}
}

func TestUploadSendsOnlyWhatIsNew(t *testing.T) {
	h, c, _ := uploader(t)
	h.exists = true
	files := adapter(t)
	large := bytes.Repeat([]byte("lora"), 50_000)
	h.files["adapter_config.json"] = files[1].Data
	h.ignored = "empty.safetensors"
	h.stored = map[string][]byte{sha(large): large} // in the storage, but in no commit
	h.files["README.md"] = []byte("another")
	if _, err := c.Upload(t.Context(), "owner/model", files, UploadOptions{Public: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(h.created[0], `"visibility":"public"`) || count(h.requests(), "PUT") != 0 {
		t.Fatal(h.created)
	}
	got, message := h.committed(h.commits[0])
	if len(got) != 2 || got["README.md"] == "" || got["adapter_model.safetensors"] == "" || message != defaultCommit {
		t.Fatal(got, message)
	}
	h.files["README.md"], h.files["adapter_model.safetensors"] = files[0].Data, large
	url, err := c.Upload(t.Context(), "owner/model", files, UploadOptions{})
	if err != nil || url != h.hub.URL+"/owner/model" || len(h.commits) != 1 {
		t.Fatal("a second upload of the same is not nothing: ", url, err)
	}
}

func TestUploadManyFiles(t *testing.T) {
	h, c, _ := uploader(t)
	var files []UploadFile
	for i := range 600 {
		files = append(files, UploadFile{Path: fmt.Sprintf("d/%d.safetensors", i), Data: fmt.Append(nil, "x", i)})
	}
	if _, err := c.Upload(t.Context(), "owner/model", files, UploadOptions{}); err != nil {
		t.Fatal(err)
	}
	got, _ := h.committed(h.commits[0])
	if requests := h.requests(); len(got) != 600 || count(requests, "POST /api/models/owner/model/preupload") != 3 || count(requests, "POST /owner/model.git") != 3 {
		t.Fatal(len(got), len(requests))
	}
}

func TestUploadSurvives(t *testing.T) {
	oid := sha(bytes.Repeat([]byte("lora"), 50_000))
	for name, c := range map[string]struct {
		method, last string
		faults       []fault
		waits        int
	}{
		"create is busy":            {"POST", "create", []fault{answers(503), refuses}, 2},
		"preupload is busy":         {"POST", "main", []fault{answers(502)}, 1},
		"batch is limited":          {"POST", "batch", []fault{answers(429, "Retry-After: 3")}, 1},
		"storage breaks":            {"PUT", oid, []fault{answers(500), answers(503), refuses}, 3},
		"storage sends elsewhere":   {"PUT", oid, []fault{answers(307, "Location: "+oid+"?"+signature)}, 0},
		"verify is busy":            {"POST", "verify", []fault{answers(504)}, 1},
		"commit is limited":         {"POST", "main", []fault{pass, answers(429, "Retry-After: 3")}, 1},
		"validation is dropped":     {"POST", "validate-yaml", []fault{refuses}, 1},
		"repository has been moved": {"POST", "create", []fault{answers(308, "Location: /api/repos/create")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, client, waits := uploader(t)
			h.on(c.method, c.last, c.faults...)
			if _, err := client.Upload(t.Context(), "owner/model", adapter(t), UploadOptions{}); err != nil {
				t.Fatal(err)
			}
			if got, _ := h.committed(h.commits[0]); len(got) != 4 || len(*waits) != c.waits {
				t.Fatal(got, *waits)
			}
		})
	}
}

func TestUploadErrors(t *testing.T) {
	oid := sha(bytes.Repeat([]byte("lora"), 50_000))
	object := func(rest string) fault {
		return sends(fmt.Appendf(nil, `{"objects":[{"oid":%q,"size":200000,%s}]}`, oid, rest))
	}
	multipart := func(header string) fault {
		return object(`"actions":{"upload":{"href":"http://x","header":` + header + `}}`)
	}
	for name, c := range map[string]struct {
		set   func(*fakeHub, *Client)
		repo  string
		files []UploadFile
		want  error
		text  string
	}{
		"no token":            {set: func(h *fakeHub, c *Client) { c.Token = "" }, want: ErrUnauthorized},
		"expired token":       {set: func(h *fakeHub, c *Client) { c.Token = "hf_expired" }, want: ErrUnauthorized, text: "create the repository"},
		"token only reads":    {set: func(h *fakeHub, c *Client) { h.on("POST", "create", answers(403, "X-Error-Message: no write")) }, want: ErrForbidden, text: "no write"},
		"offline":             {set: func(h *fakeHub, c *Client) { c.Offline = true }, text: "HF_HUB_OFFLINE"},
		"repository no owner": {repo: "model", want: ErrBadName, text: "owner/name"},
		"repository no name":  {repo: "owner/", want: ErrBadName},
		"no files":            {files: []UploadFile{}, text: "no files"},
		"path goes up":        {files: []UploadFile{{Path: "../x", Data: []byte("x")}}, want: ErrBadName},
		"path twice":          {files: []UploadFile{{Path: "x", Data: []byte("x")}, {Path: "x", Data: []byte("y")}}, text: "twice"},
		"local file missing":  {files: []UploadFile{{Path: "x", Local: "none"}}, want: os.ErrNotExist},
		"local is a folder":   {files: []UploadFile{{Path: "x", Local: "."}}, text: "not a regular file"},
		"bad card":            {files: []UploadFile{{Path: "README.md", Data: []byte("license: 7")}}, text: "license must be a string"},
		"small files too big": {files: []UploadFile{{Path: "x.txt", Data: make([]byte, maxInCommit+1)}}, text: "more than 67108864 bytes"},
		"preupload silent":    {set: func(h *fakeHub, c *Client) { h.on("POST", "main", sends([]byte(`{}`))) }, text: "says nothing of README.md"},
		"preupload no JSON":   {set: func(h *fakeHub, c *Client) { h.on("POST", "main", sends([]byte(`<html>`))) }, text: "not valid"},
		"unknown mode": {set: func(h *fakeHub, c *Client) {
			h.on("POST", "main", sends([]byte(`{"files":[{"path":"README.md","uploadMode":"carrier pigeon"}]}`)))
		}, text: "carrier pigeon"},
		"batch silent":  {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", sends([]byte(`{}`))) }, text: "no upload link"},
		"batch refuses": {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", object(`"error":{"code":413,"message":"too big"}`)) }, text: "too big"},
		"link is a file": {set: func(h *fakeHub, c *Client) {
			h.on("POST", "batch", object(`"actions":{"upload":{"href":"file:///etc/passwd"}}`))
		}, text: "not a web address"},
		"link is not the web": {set: func(h *fakeHub, c *Client) {
			h.on("POST", "batch", object(`"actions":{"upload":{"href":"ftp://x/y"}}`))
		}, text: "only https"},
		"link is empty":        {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", object(`"actions":{"upload":{}}`)) }, text: "not a web address"},
		"chunks of 0":          {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", multipart(`{"chunk_size":0,"1":"http://x"}`)) }, text: "chunk_size"},
		"chunks of a word":     {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", multipart(`{"chunk_size":"big","1":"http://x"}`)) }, text: "chunk_size"},
		"too few parts":        {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", multipart(`{"chunk_size":1,"1":"http://x"}`)) }, text: "1 links for 200000 parts"},
		"no first part":        {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", multipart(`{"chunk_size":300000,"2":"http://x"}`)) }, text: "no part 1"},
		"part is no link":      {set: func(h *fakeHub, c *Client) { h.on("POST", "batch", multipart(`{"chunk_size":300000,"1":{}}`)) }, text: "part 1"},
		"storage keeps saying": {set: func(h *fakeHub, c *Client) { h.on("PUT", oid, times(9, answers(503))...) }, text: "503"},
		"link has expired":     {set: func(h *fakeHub, c *Client) { h.on("PUT", oid, answers(403)) }, text: "adapter_model.safetensors: PUT "},
		"part without an etag": {set: func(h *fakeHub, c *Client) {
			h.chunkSize = 300_000
			h.on("PUT", "1", answers(200))
		}, text: "without an etag"},
		"verify refuses":     {set: func(h *fakeHub, c *Client) { h.on("POST", "verify", answers(404)) }, text: "verify"},
		"commit is lost":     {set: func(h *fakeHub, c *Client) { h.on("POST", "main", pass, refuses) }, want: ErrUnreachable, text: "commit"},
		"commit is busy":     {set: func(h *fakeHub, c *Client) { h.on("POST", "main", pass, answers(503)) }, text: "503"},
		"commit names none":  {set: func(h *fakeHub, c *Client) { h.on("POST", "main", pass, sends([]byte(`{}`))) }, text: "names no commit"},
		"create moves, 302":  {set: func(h *fakeHub, c *Client) { h.on("POST", "create", answers(302, "Location: /")) }, text: "302"},
		"branch not allowed": {set: func(h *fakeHub, c *Client) { h.on("POST", "main", answers(404, "X-Error-Code: RevisionNotFound")) }, want: ErrRevisionNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			h, client, _ := uploader(t)
			if c.set != nil {
				c.set(h, client)
			}
			if c.repo == "" {
				c.repo = "owner/model"
			}
			if c.files == nil {
				c.files = adapter(t)
			}
			_, err := client.Upload(t.Context(), c.repo, c.files, UploadOptions{})
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v\nwant %v and %q", err, c.want, c.text)
			}
			if strings.Contains(err.Error(), "hf_") || strings.Contains(err.Error(), "secret") {
				t.Fatalf("a secret is in the error: %v", err)
			}
			if len(h.commits) != 0 {
				t.Fatal("committed nevertheless")
			}
		})
	}
}

func TestUploadCancelled(t *testing.T) {
	h, c, _ := uploader(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the job was cancelled")
	c.Progress = func(string, int64, int64) { cancel(stop) }
	if _, err := c.Upload(ctx, "owner/model", adapter(t), UploadOptions{}); !errors.Is(err, stop) || len(h.commits) != 0 {
		t.Fatal(err)
	}
}

// FuzzParts: whatever the Hub says of parts, the links are as many as the file has parts.
func FuzzParts(f *testing.F) {
	for _, header := range []string{`{"chunk_size":"10","1":"a","2":"b"}`, `{"chunk_size":10}`, `{"chunk_size":-1}`, `{"chunk_size":9223372036854775807,"1":"a"}`, `{"1":"a","01":"b"}`, `{"chunk_size":null}`} {
		f.Add(header, int64(20))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		var link lfsLink
		if size <= 0 || json.Unmarshal([]byte(header), &link.Header) != nil {
			return
		}
		links, chunk, err := link.parts(size)
		if n := int64(len(links)); err == nil && (chunk <= 0 || (n-1)*chunk >= size || (size-1)/chunk != n-1) {
			t.Fatalf("%d links, chunks of %d, for %d bytes", n, chunk, size)
		}
	})
}

// FuzzContentRange: what is read can be used, or is an error.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 5-9/10", "bytes 5-9/*", "bytes */10", "", "-1-2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if first, total, err := contentRange(s); err == nil && (first < 0 || total < -1) {
			t.Fatalf("%q: %d, %d", s, first, total)
		}
	})
}
