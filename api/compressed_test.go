package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/models"
)

func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.String()
}

// Compressed bodies are what they unpack to, with every bound of what comes out; what
// can't be unpacked is refused, and nothing stays.
func TestCompressedBodies(t *testing.T) {
	r := start(t, nil)
	job := `{"base_model":"` + models.BuiltIn + `","train_data_path":"train.txt"}`
	upload := form(part("file", "a.txt", "hello"))
	bomb := form(part("file", "a.txt", strings.Repeat("x", 64<<10+1)))
	kind := "multipart/form-data; boundary=b"
	whole := gzipped(job)
	for name, c := range map[string]struct {
		path, kind, encoding, body string
		status                     int
		code                       scu.Code
		field                      string
	}{
		"a job":              {"/jobs/submit", "application/json", "gzip", whole, 200, "", ""},
		"a job, not packed":  {"/jobs/submit", "application/json", "identity", job, 200, "", ""},
		"an upload":          {"/files", kind, "GZIP", gzipped(upload), 200, "", ""},
		"not gzip":           {"/jobs/submit", "application/json", "gzip", job, 422, scu.CodeInvalid, ""},
		"half of it":         {"/jobs/submit", "application/json", "gzip", whole[:len(whole)/2], 422, scu.CodeInvalid, ""},
		"damaged":            {"/jobs/submit", "application/json", "gzip", whole[:len(whole)-6] + "123456", 422, scu.CodeInvalid, ""},
		"more than a body":   {"/jobs/submit", "application/json", "gzip", gzipped(strings.Repeat(" ", 64<<20)), 413, scu.CodeTooLarge, ""},
		"more than a file":   {"/files", kind, "gzip", gzipped(bomb), 413, scu.CodeTooLarge, "file"},
		"half an upload":     {"/files", kind, "gzip", gzipped(upload)[:20], 422, scu.CodeInvalid, "file"},
		"another encoding":   {"/jobs/submit", "application/json", "br", job, 415, scu.CodeUnsupported, ""},
		"packed twice":       {"/jobs/submit", "application/json", "gzip, gzip", gzipped(whole), 415, scu.CodeUnsupported, ""},
		"nothing, as packed": {"/jobs/submit", "application/json", "gzip", "", 422, scu.CodeInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.stored()) + r.jobs()
			status, h, body := r.ask(http.MethodPost, c.path, c.body, "Content-Encoding", c.encoding, "Content-Type", c.kind)
			if c.code == "" {
				if status != c.status {
					t.Fatalf("%d %s", status, body)
				}
				return
			}
			r.refused(t, status, body, c.status, c.code, c.field)
			if after := len(r.stored()) + r.jobs(); after != before {
				t.Errorf("%d files and jobs became %d", before, after)
			}
			if (h.Get("Accept-Encoding") == "gzip") != (status == http.StatusUnsupportedMediaType) {
				t.Errorf("Accept-Encoding %q", h.Get("Accept-Encoding"))
			}
		})
	}
}

// The same bytes under a second name are read as what they were called last; a job keeps
// the name that its data had.
func TestSameBytesUnderTwoNames(t *testing.T) {
	r := start(t, nil)
	rows := strings.Repeat(`{"text": "hello"}`+"\n", 50)
	upload := func(name string) scu.File {
		t.Helper()
		status, _, body := r.ask(http.MethodPost, "/files", form(part("file", name, rows)), "Content-Type", "multipart/form-data; boundary=b")
		var f scu.File
		must(t, json.Unmarshal([]byte(body), &f))
		if status != 200 || f.Name != name {
			t.Fatalf("%d %s", status, body)
		}
		return f
	}
	submit := func(f scu.File) string {
		t.Helper()
		_, _, body := r.ask(http.MethodPost, "/jobs/submit", `{"base_model":"`+models.BuiltIn+`","train_data_path":"`+f.ID+`"}`)
		var answer struct {
			ID string `json:"job_id"`
		}
		must(t, json.Unmarshal([]byte(body), &answer))
		return answer.ID
	}
	jobs := map[string]string{}
	for _, name := range []string{"notes.txt", "notes.jsonl"} {
		jobs[submit(upload(name))] = name
	}
	for id, name := range jobs {
		j, err := r.sdk.Job(t.Context(), id)
		must(t, err)
		if j.TrainData.Name != name {
			t.Errorf("the data of the job on %s is called %s", name, j.TrainData.Name)
		}
	}
}
