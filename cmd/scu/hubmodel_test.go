package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// A model of the Hub, whose name has a slash, goes the whole way through OpenAI's API: a
// job on a revision of it, texts of the base and of the adapter, a job that goes on.
func TestOpenAIHubModel(t *testing.T) {
	const commit = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
	model, err := models.Extract(t.TempDir())
	check(t, err)
	fetched := map[string]int{}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ours := strings.CutPrefix(r.URL.Path, "/owner/name/resolve/")
		revision, file, _ := strings.Cut(rest, "/")
		b, err := os.ReadFile(filepath.Join(model, filepath.Base(file)))
		if !ours || err != nil || revision != "v1" && revision != commit {
			w.Header().Set("X-Error-Code", "EntryNotFound")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.Method == http.MethodGet && r.Header.Get("Range") == "" { // the checks before a job read its beginning
			fetched[file]++
		}
		w.Header().Set("X-Repo-Commit", commit)
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b)))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_HUB_OFFLINE", "0")
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	data := t.TempDir()
	check(t, os.WriteFile(filepath.Join(data, "lamp.txt"), []byte(strings.Repeat("The lamp was lit at dusk, and put out at dawn.\n", 60)), 0o600))
	url := startServer(t, "--data", filepath.Join(data, "state"), "--data-dirs", data, "--threads", "1") + "/v1/"

	call := func(method, path, body string, want int) (o struct {
		ID, Status, Model string
		FineTuned         string `json:"fine_tuned_model"`
		Choices           []struct{ Text string }
		Data              []struct{ ID string }
	}) {
		t.Helper()
		status, answer := ask(t, method, url+path, body)
		if status != want {
			t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, answer)
		}
		check(t, json.Unmarshal(answer, &o))
		return o
	}
	text := func(model string, want int) string {
		t.Helper()
		o := call("POST", "completions", fmt.Sprintf(`{"model":%q,"prompt":"The lamp","max_tokens":4,"temperature":0}`, model), want)
		if len(o.Choices) == 0 {
			return ""
		}
		return o.Choices[0].Text
	}
	text("owner/name", http.StatusNotFound) // not here, and nobody makes the server fetch it by asking
	if len(fetched) != 0 {
		t.Errorf("fetched were %v", fetched)
	}
	sdk, err := client.New(strings.TrimSuffix(url, "/v1/"), "")
	check(t, err)
	file, err := sdk.UploadFile(t.Context(), filepath.Join(data, "lamp.txt"), nil)
	check(t, err)
	run := func(model string) string {
		t.Helper()
		j := call("POST", "fine_tuning/jobs", fmt.Sprintf(`{"model":%q,"training_file":%q,"suffix":"lamp","steps":2,"config_overrides":{"block_size":128,"learning_rate":0.01}}`, model, "file-"+file.ID), 200)
		err := sdk.Watch(t.Context(), scu.OwnID(j.ID), 0, func(client.Event) error { return nil })
		check(t, err)
		done := call("GET", "fine_tuning/jobs/"+j.ID, "", 200)
		if done.Status != "succeeded" || done.Model != "owner/name" || !strings.HasPrefix(done.FineTuned, "ft:owner/name:scu:lamp:") {
			t.Fatalf("the job on %s is %+v", model, done)
		}
		return done.FineTuned
	}
	adapter := run("owner/name@v1")
	for _, name := range []string{"owner/name", adapter} {
		for _, path := range []string{name, strings.ReplaceAll(name, "/", "%2F")} {
			if m := call("GET", "models/"+path, "", 200); m.ID != name {
				t.Errorf("%s is the model %s", path, m.ID)
			}
		}
	}
	base, adapted := text("owner/name", 200), text(adapter, 200)
	if base != text("bookworm-2m", 200) {
		t.Errorf("bookworm-2m by way of the Hub writes %q", base)
	}
	if adapted == "" {
		t.Error("the adapter writes nothing")
	}
	next := run(adapter)
	if listed := fmt.Sprint(call("GET", "models", "", 200).Data); !strings.Contains(listed, adapter) || !strings.Contains(listed, next) || !strings.Contains(listed, "{owner/name}") {
		t.Errorf("listed are %s", listed)
	}
	if fetched["model.safetensors"] != 1 {
		t.Errorf("the weights were fetched %d times", fetched["model.safetensors"])
	}
}
