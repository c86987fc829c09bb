package api

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// The tests of OpenAI's API speak to it as its clients do, on the wire, and compare the
// shapes of answers with what those clients require of them. make openai does the same
// with their own Python package.

// object is one of JSON.
type object map[string]any

func (o object) text(name string) string { s, _ := o[name].(string); return s }

// list are the objects of a field.
func (o object) list(name string) (all []object) {
	for _, v := range o[name].([]any) {
		all = append(all, v.(map[string]any))
	}
	return all
}

func (o object) in(name string) object { m, _ := o[name].(map[string]any); return m }

// startOpenAI makes a rig that recommends settings, which jobs of this API begin from.
func startOpenAI(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	return start(t, func(o *Options) {
		o.Recommend = func(_ context.Context, model string, train scu.Sources, _ *scu.File) (scu.Recommendation, error) {
			return scu.Recommend(scu.Facts{BaseModel: model, Tokens: train[0].File.Size / 4}), nil
		}
		if change != nil {
			change(o)
		}
	})
}

// v1 asks for a path below /v1, and returns the answer, which must be of this status.
func (r *rig) v1(t *testing.T, method, path, body string, want int, headers ...string) object {
	t.Helper()
	status, head, text := r.ask(method, "/v1/"+path, body, append([]string{"Content-Type", "application/json"}, headers...)...)
	if status != want {
		t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, status, want, text)
	}
	if head.Get("X-Request-Id") == "" || head.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s has the headers %v", method, path, head)
	}
	var o object
	must(t, json.Unmarshal([]byte(text), &o))
	return o
}

// v1Refused checks a refusal in the form that the clients read.
func (r *rig) v1Refused(t *testing.T, method, path, body string, status int, code, param string, headers ...string) string {
	t.Helper()
	o := r.v1(t, method, path, body, status, headers...)
	e := o.in("error")
	fits(t, "an error", e, shape{"message": "string", "type": "string", "param": "string?", "code": "string"})
	kind := "invalid_request_error"
	if status >= 500 {
		kind = "server_error"
	}
	if len(o) != 1 || e.text("message") == "" || e.text("type") != kind || e.text("code") != code || e.text("param") != param {
		t.Errorf("%s %s %s: %v, want the code %q at %q", method, path, body, o, code, param)
	}
	return e.text("message")
}

// v1Upload sends a file as the clients do: the texts first, the file after them.
func (r *rig) v1Upload(t *testing.T, name, content string, fields ...string) (int, object) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		must(t, w.WriteField(fields[i], fields[i+1]))
	}
	part, err := w.CreateFormFile("file", name)
	must(t, err)
	_, err = part.Write([]byte(content))
	must(t, err)
	must(t, w.Close())
	status, _, text := r.ask(http.MethodPost, "/v1/files", b.String(), "Content-Type", w.FormDataContentType())
	var o object
	must(t, json.Unmarshal([]byte(text), &o))
	return status, o
}

// v1File stores a file and returns its id.
func (r *rig) v1File(t *testing.T, content string) string {
	t.Helper()
	status, o := r.v1Upload(t, "rows.txt", content, "purpose", "fine-tune")
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, o)
	}
	return o.text("id")
}

// v1Job submits a job with more fields after its file, the model among them if it is
// another than bookworm-2m, and returns its id.
func (r *rig) v1Job(t *testing.T, more string) string {
	t.Helper()
	file := r.v1File(t, strings.Repeat("Call me Ishmael. ", 100))
	if !strings.Contains(more, `"model":`) {
		more += `,"model":"bookworm-2m"`
	}
	return r.v1(t, "POST", "fine_tuning/jobs", `{"training_file":"`+file+`"`+more+`}`, 200).text("id")
}

// projected waits until the read model has all that was said so far.
func (r *rig) projected(t *testing.T) {
	t.Helper()
	must(t, r.broker.FlushMetrics(t.Context()))
	end, err := r.broker.End(t.Context())
	must(t, err)
	must(t, r.server.projected(t.Context(), end))
}

// pages walks through a list as the clients do, so many items at a time, and returns the ids.
func (r *rig) pages(t *testing.T, path string, limit string) (ids []string) {
	t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	after := ""
	for range 100 {
		p := r.v1(t, "GET", path+sep+"limit="+limit+after, "", 200)
		fits(t, path, p, shape{"object": "list", "data": "array", "has_more": "bool", "first_id": "string?", "last_id": "string?"})
		data := p.list("data")
		for _, o := range data {
			ids = append(ids, o.text("id"))
		}
		if len(data) > 0 && (p["first_id"] != data[0]["id"] || p["last_id"] != data[len(data)-1]["id"]) {
			t.Errorf("%s: a page from %v to %v says %v to %v", path, data[0]["id"], data[len(data)-1]["id"], p["first_id"], p["last_id"])
		}
		if p["has_more"] == false {
			return ids
		}
		after = "&after=" + ids[len(ids)-1]
	}
	t.Fatalf("%s has no end", path)
	return nil
}

// shape is what the clients' types say of an object's fields: string, int, number, bool,
// object, array, with ? also null; any other word is what the field must be.
type shape map[string]string

// fits checks that an object has these fields and no others.
func fits(t *testing.T, what string, o object, want shape) {
	t.Helper()
	for name, kind := range want {
		v, there := o[name]
		kind, nullable := strings.CutSuffix(kind, "?")
		ok := there
		switch x := v.(type) {
		case nil:
			ok = there && nullable
		case string:
			ok = kind == "string" || kind == x
		case float64:
			ok = kind == "number" || kind == "int" && x == math.Trunc(x)
		case bool:
			ok = kind == "bool"
		case []any:
			ok = kind == "array"
		case map[string]any:
			ok = kind == "object"
		}
		if !ok {
			t.Errorf("%s: %s is %v, want %s", what, name, v, want[name])
		}
	}
	for name := range o {
		if _, known := want[name]; !known {
			t.Errorf("%s has a field %s: %v", what, name, o[name])
		}
	}
}

// The types of the clients.
var (
	fileShape = shape{"id": "string", "object": "file", "bytes": "int", "created_at": "int", "expires_at": "int?",
		"filename": "string", "purpose": "string", "status": "processed", "status_details": "string?"}
	jobShape = shape{"id": "string", "object": "fine_tuning.job", "created_at": "int", "error": "object?", "fine_tuned_model": "string?",
		"finished_at": "int?", "hyperparameters": "object", "model": "string", "organization_id": "string", "result_files": "array",
		"seed": "int", "status": "string", "trained_tokens": "int?", "training_file": "string", "validation_file": "string?",
		"estimated_finish": "int?", "integrations": "array", "metadata": "object", "method": "object"}
	hyperparametersShape = shape{"n_epochs": "int", "batch_size": "int", "learning_rate_multiplier": "number"}
	eventShape           = shape{"id": "string", "object": "fine_tuning.job.event", "created_at": "int", "level": "string",
		"message": "string", "type": "string", "data": "object?"}
	checkpointShape = shape{"id": "string", "object": "fine_tuning.job.checkpoint", "created_at": "int", "fine_tuned_model_checkpoint": "string",
		"fine_tuning_job_id": "string", "step_number": "int", "metrics": "object"}
	modelShape = shape{"id": "string", "object": "model", "created": "int", "owned_by": "string"}
)

// Every route below /v1 asks for the key, in the form of its clients, and knows what isn't there.
func TestOpenAIRefusals(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "k3y" })
	key := []string{"Authorization", "Bearer k3y"}
	routes := []string{"POST files", "GET files", "GET files/x", "GET files/x/content", "DELETE files/x", "POST fine_tuning/jobs", "GET fine_tuning/jobs",
		"GET fine_tuning/jobs/x", "POST fine_tuning/jobs/x/cancel", "POST fine_tuning/jobs/x/pause", "POST fine_tuning/jobs/x/resume",
		"GET fine_tuning/jobs/x/events", "GET fine_tuning/jobs/x/checkpoints", "GET models", "GET models/a/b", "DELETE models/a/b", "POST completions", "POST chat/completions"}
	var served []string
	for _, route := range r.server.handler.(*echo.Echo).Routes() {
		if path, ok := strings.CutPrefix(route.Path, "/v1/"); ok {
			served = append(served, route.Method+" "+strings.NewReplacer(":id", "x", "*", "a/b").Replace(path))
		}
	}
	slices.Sort(served)
	slices.Sort(routes)
	if !slices.Equal(slices.Compact(served), routes) {
		t.Errorf("the routes are\n%s\ntested are\n%s", strings.Join(served, "\n"), strings.Join(routes, "\n"))
	}
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		r.v1Refused(t, method, path, "", 401, "invalid_api_key", "")
		r.v1Refused(t, method, path, "", 401, "invalid_api_key", "", "Authorization", "Bearer other")
		if strings.Contains(path, "x") && method != "POST" || strings.Contains(path, "/x/") {
			r.v1Refused(t, method, path, "", 404, "not_found", "", key...)
		}
	}
	r.v1Refused(t, "GET", "uploads", "", 404, "not_found", "", key...)
	r.v1Refused(t, "GET", "fine_tuning/checkpoints/x/permissions", "", 404, "not_found", "", key...)
	for _, path := range []string{"fine_tuning/jobs", "completions", "chat/completions"} {
		for _, body := range []string{"", "[]", "{", `"text"`, "null"} {
			r.v1Refused(t, "POST", path, body, 400, string(scu.CodeInvalid), "", key...)
		}
		r.v1Refused(t, "POST", path, `{"model":"`+strings.Repeat("x", 1<<20)+`"}`, 413, string(scu.CodeTooLarge), "", key...)
	}
}
