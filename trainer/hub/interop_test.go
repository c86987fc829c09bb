//go:build interop

package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInterop shares one cache with Python's huggingface_hub, both ways. It needs the path of a
// Python that has huggingface_hub (checked with 2.4.0) in SCU_PYTHON.
func TestInterop(t *testing.T) {
	python := os.Getenv("SCU_PYTHON")
	if python == "" {
		t.Fatal("set SCU_PYTHON to a Python with huggingface_hub")
	}
	files := []string{"config.json", "tokenizer.json", "tokenizer_config.json", weights}
	run := func(t *testing.T, h *fakeHub, task string, c *Client, files ...string) string {
		t.Helper()
		cmd := exec.Command(python, append([]string{"testdata/interop.py", task, c.CacheDir, h.commit}, files...)...)
		cmd.Env = append(os.Environ(), "HF_ENDPOINT="+h.hub.URL, "HF_HUB_DISABLE_PROGRESS_BARS=1")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", task, err)
		}
		return strings.TrimSpace(string(out))
	}

	t.Run("Python finds what we downloaded", func(t *testing.T) {
		h := newFakeHub(t, model())
		c, _ := h.client()
		dir, _ := snapshotOf(t, c, "main")
		h.requests()
		if got := run(t, h, "read", c, files...); got != dir {
			t.Fatal(got)
		}
		for _, r := range h.requests() {
			if strings.Contains(r, "owner/model") {
				t.Fatal("Python asked the Hub: ", r)
			}
		}
	})
	t.Run("we find what Python downloaded", func(t *testing.T) {
		h := newFakeHub(t, model())
		c, _ := h.client()
		run(t, h, "write", c, files...)
		h.requests()
		c.Offline = true
		dir, _ := snapshotOf(t, c, "main")
		checkSnapshot(t, h, dir, files...)
		if got := h.requests(); got != nil {
			t.Fatal("asked the Hub: ", got)
		}
	})
	t.Run("Python goes on after our kill", func(t *testing.T) {
		h := newFakeHub(t, model())
		c, _ := h.client()
		leave(t, h, c, h.files[weights][:5000])
		run(t, h, "write", c, files...)
		run(t, h, "read", c, files...)
		c.Offline = true
		dir, _ := snapshotOf(t, c, "main")
		checkSnapshot(t, h, dir, files...)
	})
	t.Run("we go on where Python stopped", func(t *testing.T) {
		h := newFakeHub(t, model())
		c, _ := h.client()
		run(t, h, "write", c, files[:2]...)
		leave(t, h, c, h.files[weights][:5000])
		h.requests()
		checkWhole(t, h, c)
		if got := h.requests(); count(got, "GET /"+weights+" Range: bytes=5000-") != 1 {
			t.Fatal(got)
		}
		run(t, h, "read", c, files...)
	})
	t.Run("both at once", func(t *testing.T) {
		h := newFakeHub(t, model())
		c, _ := h.client()
		reached := make(chan bool)
		h.on("GET", weights, cutAfter(1000, func(*http.Request) {
			close(reached)
			panic(http.ErrAbortHandler)
		}))
		done := make(chan error)
		go func() {
			_, _, err := c.Snapshot(t.Context(), "owner/model", "main")
			done <- err
		}()
		<-reached
		run(t, h, "write", c, files...)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		run(t, h, "read", c, files...)
	})
	// The fake Hub takes Python's upload as it takes ours, and makes the same commit of it.
	t.Run("Python's upload is ours", func(t *testing.T) {
		t.Setenv("HF_TOKEN", string(goodToken))
		t.Setenv("HF_HUB_DISABLE_XET", "1")
		for _, chunkSize := range []int{0, 30_000} {
			var commits []map[string]string
			for _, python := range []bool{false, true} {
				h, c, _ := uploader(t)
				h.chunkSize = chunkSize
				if python {
					var names []string
					for _, f := range adapter(t) {
						if f.Data == nil {
							f.Data = bytes.Repeat([]byte("lora"), 50_000)
						}
						if err := os.WriteFile(filepath.Join(c.CacheDir, f.Path), f.Data, 0o600); err != nil {
							t.Fatal(err)
						}
						names = append(names, f.Path)
					}
					run(t, h, "upload", c, names...)
				} else if _, err := c.Upload(t.Context(), "owner/model", adapter(t), UploadOptions{Message: "Adapter"}); err != nil {
					t.Fatal(err)
				}
				files, _ := h.committed(h.commits[0])
				var repo struct{ Name, Organization, Type, Visibility string }
				if err := json.Unmarshal([]byte(h.created[0]), &repo); err != nil {
					t.Fatal(err)
				}
				files["the repository"] = fmt.Sprint(repo)
				commits = append(commits, files)
			}
			if a, b := commits[0], commits[1]; len(a) != 5 || a["the repository"] != "{model owner model private}" || !maps.Equal(a, b) {
				t.Fatalf("\n%q\n%q", a, b)
			}
		}
	})
}
