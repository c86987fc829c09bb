package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// A job goes the way that clients of this API expect, and its object has what they require
// in every state.
func TestOpenAIJob(t *testing.T) {
	r := startOpenAI(t, nil)
	file, val := r.v1File(t, strings.Repeat("Call me Ishmael. ", 100)), r.v1File(t, strings.Repeat("Some years ago. ", 100))
	body := `{"model":"bookworm-2m","training_file":"` + file + `","validation_file":"` + val + `","suffix":"keeper","seed":7,"metadata":{"team":"x"},
		"method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":2,"batch_size":"auto","learning_rate_multiplier":0.5}}},"integrations":null,"target_s":0.02}`
	created := r.v1(t, "POST", "fine_tuning/jobs", body, 200)
	id := created.text("id")
	own := strings.TrimPrefix(id, "ftjob-")
	state := func(status string, also ...string) object {
		t.Helper()
		j := r.v1(t, "GET", "fine_tuning/jobs/"+id, "", 200)
		fits(t, "a job that is "+status, j, jobShape)
		fits(t, "its hyperparameters", j.in("hyperparameters"), hyperparametersShape)
		fits(t, "its method", j.in("method"), shape{"type": "supervised", "supervised": "object"})
		fits(t, "its method's hyperparameters", j.in("method").in("supervised").in("hyperparameters"), hyperparametersShape)
		if j.text("status") != status {
			t.Errorf("it is %s, want %s", j.text("status"), status)
		}
		for _, name := range []string{"error", "fine_tuned_model", "finished_at", "trained_tokens", "estimated_finish"} {
			if (j[name] != nil) != slices.Contains(also, name) {
				t.Errorf("%s: %s is %v", status, name, j[name])
			}
		}
		return j
	}
	j := state("queued")
	for name, want := range map[string]any{"model": "bookworm-2m", "training_file": file, "validation_file": val, "seed": 7., "organization_id": "scu"} {
		if j[name] != want || created[name] != want {
			t.Errorf("%s is %v, then %v, want %v", name, created[name], j[name], want)
		}
	}
	if hp := j.in("hyperparameters"); hp["n_epochs"] != 2. || hp["learning_rate_multiplier"] != 0.5 || j.in("metadata")["team"] != "x" {
		t.Errorf("it is resolved as %v, %v", hp, j["metadata"])
	}
	running := r.begin(own, 2)
	state("running")
	r.step(running, 0)
	r.projected(t)
	state("running", "trained_tokens")
	r.step(running, 1)
	r.complete(running, []byte("a zip"))
	j = state("succeeded", "fine_tuned_model", "finished_at", "trained_tokens")
	if want := "ft:bookworm-2m:scu:keeper:" + own; j["fine_tuned_model"] != want {
		t.Errorf("its model is %v, want %s", j["fine_tuned_model"], want)
	}

	// What can't be done any more is refused in a way that isn't sent again.
	for _, do := range []string{"cancel", "pause", "resume"} {
		r.v1Refused(t, "POST", "fine_tuning/jobs/"+id+"/"+do, "", 400, "job_ended", "")
	}

	failing := r.v1Job(t, "")
	r.begin(strings.TrimPrefix(failing, "ftjob-"), 2)
	r.transit(strings.TrimPrefix(failing, "ftjob-"), func(j scu.Job) (scu.Event, error) {
		return j.Fail(j.Attempt, scu.Errorf(scu.CodeInvalid, "line 3 is no JSON").At("train_data_path").WithHint("mend it"), time.Now())
	})
	id = failing
	j = state("failed", "error", "finished_at")
	e := j.in("error")
	fits(t, "its error", e, shape{"code": "invalid", "message": "line 3 is no JSON (mend it)", "param": "training_file"})
}

// A job waits, is paused, goes on, and is cancelled once or twice.
func TestOpenAIJobActions(t *testing.T) {
	r := startOpenAI(t, nil)
	id := r.v1Job(t, "")
	for _, c := range []struct{ do, want string }{{"pause", "queued"}, {"pause", "queued"}, {"resume", "queued"}, {"cancel", "cancelled"}, {"cancel", "cancelled"}} {
		j := r.v1(t, "POST", "fine_tuning/jobs/"+id+"/"+c.do, "", 200)
		fits(t, "after "+c.do, j, jobShape)
		if j.text("status") != c.want {
			t.Errorf("after %s it is %s", c.do, j.text("status"))
		}
	}
	r.v1Refused(t, "POST", "fine_tuning/jobs/"+id+"/resume", "", 400, "job_ended", "")
	for _, do := range []string{"cancel", "pause", "resume"} {
		r.v1Refused(t, "POST", "fine_tuning/jobs/ftjob-0123456789abcdef/"+do, "", 404, "not_found", "")
	}
}

// The same jobs are seen from both APIs.
func TestOpenAIAndOwn(t *testing.T) {
	r, ctx := startOpenAI(t, nil), t.Context()
	theirs := r.v1Job(t, `,"suffix":"one","metadata":{"k":"v"},"hyperparameters":{"n_epochs":3,"batch_size":2,"learning_rate_multiplier":2},"lora":{"r":4,"alpha":8},"priority":3`)
	own := strings.TrimPrefix(theirs, "ftjob-")
	j, err := r.sdk.Job(ctx, own)
	must(t, err)
	recommended, err := r.sdk.Recommend(ctx, client.RecommendRequest{BaseModel: "bookworm-2m", TrainDataPath: j.TrainData.ID})
	must(t, err)
	rate, _ := recommended.Config["learning_rate"].(float64)
	if c := j.Config; j.Name != "one" || j.Metadata["k"] != "v" || j.Priority != 3 || c.Epochs != 3 || c.BatchSize != 2 || c.GradientAccumulationSteps != 1 ||
		c.LoRA.R != 4 || c.Seed != 42 || rate == 0 || c.LearningRate != 2*rate {
		t.Errorf("what was asked of this API is there %+v, recommended was %v", j, recommended.Config)
	}
	mine := r.submit(func(s *client.SubmitRequest) { s.Name = "two"; s.Metadata = map[string]string{"k": "w"} })
	l, err := r.sdk.Jobs(ctx, newest)
	if err != nil || len(l.Jobs) != 2 || l.Jobs[0].JobID != mine || l.Jobs[1].JobID != own {
		t.Errorf("the service's own list has %+v, %v", l, err)
	}
	if ids := r.pages(t, "fine_tuning/jobs", "1"); !slices.Equal(ids, []string{"ftjob-" + mine, theirs}) {
		t.Errorf("this API's list has %v", ids)
	}
	for _, named := range []string{mine, "ftjob-" + mine} {
		if j := r.v1(t, "GET", "fine_tuning/jobs/"+named, "", 200); j.text("id") != "ftjob-"+mine || j.text("model") != "bookworm-2m" || j.in("metadata")["k"] != "w" {
			t.Errorf("%s is here %v", named, j)
		}
	}
	if _, err := r.sdk.Cancel(ctx, own); err != nil {
		t.Error(err)
	}
	if j := r.v1(t, "GET", "fine_tuning/jobs/"+theirs, "", 200); j.text("status") != "cancelled" {
		t.Errorf("cancelled there, here it is %s", j.text("status"))
	}
	r.v1(t, "POST", "fine_tuning/jobs/"+mine+"/cancel", "", 200)
	if s, err := r.sdk.Status(ctx, mine); err != nil || s.Status != scu.Cancelled {
		t.Errorf("cancelled here, there it is %v, %v", s.Status, err)
	}
}

// The list is paged by the last id, the newest first, and filtered by metadata.
func TestOpenAIJobList(t *testing.T) {
	r := startOpenAI(t, nil)
	if ids := r.pages(t, "fine_tuning/jobs", "1"); len(ids) != 0 {
		t.Errorf("there are %v", ids)
	}
	var ids []string
	for i := range 23 {
		metadata := map[string]string{"n": fmt.Sprint(i % 2), "team a": "x&y"}
		if i == 0 {
			metadata = nil
		}
		ids = append(ids, "ftjob-"+r.submit(func(s *client.SubmitRequest) { s.Metadata = metadata }))
	}
	slices.Reverse(ids)
	if p := r.v1(t, "GET", "fine_tuning/jobs", "", 200); len(p.list("data")) != 20 || p["has_more"] != true {
		t.Errorf("20 come by default, not %d, more %v", len(p.list("data")), p["has_more"])
	}
	for _, limit := range []string{"1", "20", "22", "23", "100", "1000"} {
		if got := r.pages(t, "fine_tuning/jobs", limit); !slices.Equal(got, ids) {
			t.Errorf("by %s: %v, want %v", limit, got, ids)
		}
	}
	var odd []string
	for i, id := range ids {
		if (22-i)%2 == 1 {
			odd = append(odd, id)
		}
	}
	for query, want := range map[string][]string{
		"metadata%5Bn%5D=1": odd, "metadata[n]=1": odd, "metadata%5Bn%5D=2": nil, "metadata%5Bm%5D=1": nil,
		"metadata%5Bteam%20a%5D=x%26y": ids[:22], "metadata%5Bn%5D=1&metadata%5Bteam%20a%5D=x%26y": odd, "metadata=null": ids[22:],
	} {
		for _, limit := range []string{"1", "11", "100"} {
			if got := r.pages(t, "fine_tuning/jobs?"+query, limit); !slices.Equal(got, want) {
				t.Errorf("%s by %s: %v, want %v", query, limit, got, want)
			}
		}
	}
	r.v1Refused(t, "GET", "fine_tuning/jobs?limit=0", "", 400, string(scu.CodeInvalid), "limit")
	for _, after := range []string{"ftjob-0123456789abcdef", "none", "file-" + strings.Repeat("0", 64)} {
		r.v1Refused(t, "GET", "fine_tuning/jobs?after="+after, "", 404, "not_found", "after")
	}
}

// What a job can't be is refused by the name that the field has in this API, and no job is made.
func TestOpenAIBadJobs(t *testing.T) {
	r := startOpenAI(t, nil)
	file := r.v1File(t, strings.Repeat("Call me Ishmael. ", 100))
	const hp = "method.supervised.hyperparameters"
	method := func(fields string) string {
		return `"method":{"type":"supervised","supervised":{"hyperparameters":{` + fields + `}}}`
	}
	for _, c := range []struct {
		name, fields string
		code         scu.Code
		param        string
	}{
		{"no model", `"model":null`, scu.CodeInvalid, "model"},
		{"a model of another type", `"model":1`, scu.CodeInvalid, "model"},
		{"an unknown model", `"model":"no/such-model"`, scu.CodeInvalid, "model"},
		{"an unknown adapter", `"model":"ft:bookworm-2m:scu:x:0123456789abcdef"`, scu.CodeNotFound, "model"},
		{"a model that is a path", `"model":"../../etc"`, scu.CodeForbidden, "model"},
		{"no file", `"training_file":null`, scu.CodeInvalid, "training_file"},
		{"an unknown file", `"training_file":"file-none"`, scu.CodeInvalid, "training_file"},
		{"a file that is gone", `"training_file":"file-` + strings.Repeat("0", 64) + `"`, scu.CodeInvalid, "training_file"},
		{"an unknown validation file", `"validation_file":"file-none"`, scu.CodeInvalid, "validation_file"},
		{"another method", `"method":{"type":"dpo","dpo":{}}`, scu.CodeUnsupported, "method.type"},
		{"an unknown field of the method", `"method":{"type":"supervised","hyperparameters":{"n_epochs":2}}`, scu.CodeInvalid, "method.hyperparameters"},
		{"a field of the method in another case", `"method":{"Supervised":{"hyperparameters":{"n_epochs":2}}}`, scu.CodeInvalid, "method.Supervised"},
		{"an unknown field beside the hyperparameters", `"method":{"dpo":null,"supervised":{"hyperparameters":{},"n_epochs":2}}`, scu.CodeInvalid, "method.supervised.n_epochs"},
		{"a method of another type", `"method":{"supervised":[]}`, scu.CodeInvalid, "method.supervised"},
		{"epochs of another type", method(`"n_epochs":"many"`), scu.CodeInvalid, hp + ".n_epochs"},
		{"epochs out of range", method(`"n_epochs":0`), scu.CodeInvalid, hp + ".n_epochs"},
		{"a batch out of range", method(`"batch_size":0`), scu.CodeInvalid, hp + ".batch_size"},
		{"a multiplier out of range", method(`"learning_rate_multiplier":-1`), scu.CodeInvalid, hp + ".learning_rate_multiplier"},
		{"an unknown hyperparameter", method(`"beta":0.1`), scu.CodeInvalid, hp + ".beta"},
		{"the old place", `"hyperparameters":{"n_epochs":-3}`, scu.CodeInvalid, "hyperparameters.n_epochs"},
		{"two places that differ", method(`"n_epochs":2`) + `,"hyperparameters":{"n_epochs":3}`, scu.CodeInvalid, "hyperparameters.n_epochs"},
		{"a setting twice", `"lora":{"r":4},"config_overrides":{"lora":{"r":8}}`, scu.CodeInvalid, "lora"},
		{"a suffix too long", `"suffix":"` + strings.Repeat("x", 65) + `"`, scu.CodeInvalid, "suffix"},
		{"a suffix with a colon", `"suffix":"a:b"`, scu.CodeInvalid, "suffix"},
		{"integrations", `"integrations":[{"type":"wandb","wandb":{"project":"p"}}]`, scu.CodeUnsupported, "integrations"},
		{"a value of metadata of another type", `"metadata":{"n":1}`, scu.CodeInvalid, "metadata"},
		{"a value of metadata too long", `"metadata":{"n":"` + strings.Repeat("x", 513) + `"}`, scu.CodeInvalid, "metadata"},
		{"a setting out of range", `"lora":{"r":0}`, scu.CodeInvalid, "lora.r"},
		{"a field twice", `"seed":1,"seed":2`, scu.CodeInvalid, "seed"},
		{"an unknown field", `"colour":"red"`, scu.CodeInvalid, "colour"},
	} {
		body := map[string]string{"model": `"model":"bookworm-2m"`, "training_file": `"training_file":"` + file + `"`}
		for name := range body {
			if strings.HasPrefix(c.fields, `"`+name+`"`) {
				delete(body, name)
			}
		}
		parts := []string{c.fields}
		for _, p := range body {
			parts = append(parts, p)
		}
		status := http.StatusBadRequest
		code := string(c.code)
		switch c.code {
		case scu.CodeNotFound:
			status, code = http.StatusNotFound, "model_not_found"
		case scu.CodeForbidden:
			status = http.StatusForbidden
		}
		t.Run(c.name, func(t *testing.T) {
			r.v1Refused(t, "POST", "fine_tuning/jobs", "{"+strings.Join(parts, ",")+"}", status, code, c.param)
		})
	}
	if n := r.jobs(); n != 0 {
		t.Errorf("%d jobs were made", n)
	}
}

// What says nothing new is taken: null, "auto", the old place beside the new one with the same values.
func TestOpenAIGoodJobs(t *testing.T) {
	r := startOpenAI(t, nil)
	for _, more := range []string{
		`,"seed":null,"suffix":null,"validation_file":null,"metadata":null,"method":null,"hyperparameters":null,"integrations":null`,
		`,"integrations":[],"metadata":{}`,
		`,"method":{"type":"supervised"}`,
		`,"method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":"auto","batch_size":"auto","learning_rate_multiplier":"auto"}}}`,
		`,"hyperparameters":{"n_epochs":2},"method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":2}}}`,
		`,"config_overrides":{"lora":{"r":8}},"block_size":128,"control":{"law":"scu"}`,
	} {
		j := r.v1(t, "GET", "fine_tuning/jobs/"+r.v1Job(t, more), "", 200)
		fits(t, more, j, jobShape)
		if hp := j.in("hyperparameters"); hp["n_epochs"] == 0. || hp["batch_size"] == 0. || hp["learning_rate_multiplier"] == 0. {
			t.Errorf("%s is resolved as %v", more, hp)
		}
	}
}

// A request with an Idempotency-Key is one job however often it is sent.
func TestOpenAIIdempotency(t *testing.T) {
	r := startOpenAI(t, nil)
	file := r.v1File(t, strings.Repeat("Call me Ishmael. ", 100))
	body := `{"model":"bookworm-2m","training_file":"` + file + `","seed":%d}`
	key := []string{"Idempotency-Key", "k"}
	first := r.v1(t, "POST", "fine_tuning/jobs", fmt.Sprintf(body, 1), 200, key...)
	if again := r.v1(t, "POST", "fine_tuning/jobs", fmt.Sprintf(body, 1), 200, key...); again.text("id") != first.text("id") {
		t.Errorf("sent twice it is %s and %s", first.text("id"), again.text("id"))
	}
	r.v1Refused(t, "POST", "fine_tuning/jobs", fmt.Sprintf(body, 2), 400, string(scu.CodeConflict), "Idempotency-Key", key...)
	if n := r.jobs(); n != 1 {
		t.Errorf("%d jobs", n)
	}
}
