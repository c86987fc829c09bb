package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// Models are the built-in one, folders, bases of the Hub that jobs were trained on, and
// adapters; their names hold slashes and colons, escaped or not.
func TestOpenAIModels(t *testing.T) {
	const commit = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
	r := startOpenAI(t, func(o *Options) {
		check := o.Preflight
		o.Preflight = func(ctx context.Context, c *scu.Config, train scu.Sources, val *scu.File) scu.Validation {
			if name, _, _ := strings.Cut(c.BaseModel, "@"); name == "owner/name" { // it is resolved to a commit
				c.BaseModel, c.BaseRevision = name, commit
			}
			return check(ctx, c, train, val)
		}
		o.Generate = func(_ context.Context, g scu.Generation, emit func(scu.Piece) error) (scu.Generated, error) {
			return scu.Generated{PromptTokens: 1, Tokens: 1}, emit(scu.Piece{Text: g.BaseModel + "|" + g.Adapter.Job})
		}
	})
	dir := filepath.Join(r.data, "mine")
	must(t, os.Mkdir(dir, 0o700))
	writeFile(t, dir, "config.json", "{}")
	resolved, err := filepath.EvalSymlinks(dir)
	must(t, err)

	text := func(model, full string) string {
		t.Helper()
		body, err := json.Marshal(map[string]any{"model": model, "prompt": "x"})
		must(t, err)
		o := r.v1(t, "POST", "completions", string(body), 200)
		if o.text("model") != full {
			t.Errorf("%s answers as %s, want %s", model, o.text("model"), full)
		}
		return o.list("choices")[0].text("text")
	}
	unknown := func(model string) {
		t.Helper()
		r.v1Refused(t, "GET", "models/"+model, "", 404, "model_not_found", "model")
		r.v1Refused(t, "POST", "completions", `{"model":"`+model+`","prompt":"x"}`, 404, "model_not_found", "model")
	}
	unknown("owner/name") // nobody makes the server fetch it by asking for a text

	adapters := map[string]string{} // by their base
	for _, base := range []string{"bookworm-2m", "owner/name", "owner/name@v1", "mine"} {
		id := r.v1Job(t, `,"suffix":"s.1_x-y","model":"`+base+`"`)
		own := strings.TrimPrefix(id, "ftjob-")
		adapter := "ft:" + strings.TrimSuffix(base, "@v1") + ":scu:s.1_x-y:" + own
		unknown(adapter) // it isn't there yet
		r.complete(r.begin(own, 1), []byte("a zip"))
		adapters[base] = adapter
	}
	listed := map[string]bool{}
	list := r.v1(t, "GET", "models", "", 200)
	if list["object"] != "list" {
		t.Errorf("the list is %v", list)
	}
	for _, m := range list.list("data") {
		fits(t, "a model", m, modelShape)
		if listed[m.text("id")] {
			t.Errorf("%s is listed twice", m.text("id"))
		}
		listed[m.text("id")] = true
	}
	for base, is := range map[string]string{"bookworm-2m": "bookworm-2m", "owner/name": "owner/name@" + commit, "owner/name@v1": "owner/name@" + commit, "mine": resolved} {
		adapter := adapters[base]
		plain := strings.TrimSuffix(base, "@v1")
		own := adapter[len(adapter)-16:]
		for _, name := range []string{plain, adapter} {
			if !listed[name] {
				t.Errorf("%s isn't listed: %v", name, listed)
			}
			for _, path := range []string{name, url.PathEscape(name), strings.ReplaceAll(name, "/", "%2F")} {
				m := r.v1(t, "GET", "models/"+path, "", 200)
				fits(t, path, m, modelShape)
				if m.text("id") != name {
					t.Errorf("%s is %v", path, m)
				}
			}
		}
		if got := text(plain, plain); got != is+"|" {
			t.Errorf("%s writes by %s, want %s", plain, got, is)
		}
		for _, name := range []string{adapter, "ftjob-" + own, own} {
			if got := text(name, adapter); got != is+"|"+own {
				t.Errorf("%s writes by %s, want %s", name, got, is+"|"+own)
			}
		}
		r.v1Refused(t, "DELETE", "models/"+plain, "", 403, string(scu.CodeForbidden), "model")
	}
	if got := text("owner/name@"+commit, "owner/name@"+commit); got != "owner/name@"+commit+"|" {
		t.Errorf("a revision that is here writes by %s", got)
	}
	for _, name := range []string{"owner/name@c1", "owner/other", "nothing", "ft:bookworm-2m:scu:x:0123456789abcdef", adapters["mine"] + ":ckpt-step-4", "../" + filepath.Base(r.data)} {
		unknown(name)
	}

	// A job that begins from an adapter of any base has its base and its shape.
	for base, adapter := range adapters {
		j := r.v1(t, "GET", "fine_tuning/jobs/"+r.v1Job(t, `,"model":"`+adapter+`"`), "", 200)
		if j.text("model") != strings.TrimSuffix(base, "@v1") {
			t.Errorf("a job from %s is on %s", adapter, j.text("model"))
		}
	}

	// Deleting an adapter deletes its job.
	adapter := adapters["owner/name"]
	if got := r.v1(t, "DELETE", "models/"+adapter, "", 200); fmt.Sprint(got) != fmt.Sprint(object{"id": adapter, "object": "model", "deleted": true}) {
		t.Errorf("deleting it answers %v", got)
	}
	unknown(adapter)
	r.v1Refused(t, "GET", "fine_tuning/jobs/ftjob-"+adapter[len(adapter)-16:], "", 404, "not_found", "")
}
