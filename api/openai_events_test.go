package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// Messages and steps are one list, the newest first, whose ids stay the same however it is
// paged; the texts are those that scripts look for.
func TestOpenAIEvents(t *testing.T) {
	r := startOpenAI(t, nil)
	id := r.v1Job(t, `,"config_overrides":{"batch_size":1,"gradient_accumulation_steps":1}`)
	own := strings.TrimPrefix(id, "ftjob-")
	path := "fine_tuning/jobs/" + id + "/events"
	j := r.begin(own, 12)
	val := 3.25
	for step := 1; step <= 12; step++ {
		m := scu.Metrics{JobID: own, Attempt: 1, Step: step, Steps: 12, CE: 3.5, S: 0.01, Lambda: 2, LearningRate: 1e-3, Timestamp: time.Now().UTC()}
		if step == 6 {
			m.ValLoss = &val
		}
		must(r, r.broker.PublishMetrics(t.Context(), trainer, m))
	}
	r.projected(t)
	during := r.pages(t, path, "1000")
	r.transit(own, func(j scu.Job) (scu.Event, error) {
		return j.Store(1, scu.Checkpoint{Step: 6, Attempt: 1, ValLoss: &val, CE: 3.5, CreatedAt: time.Now().UTC()}, 3, time.Now())
	})
	r.transit(own, func(j scu.Job) (scu.Event, error) {
		return j.Enter(1, scu.Training, 0, []string{"a warning amid a phase"}, time.Now())
	})
	r.complete(j, []byte("a zip"))
	r.projected(t)

	p := r.v1(t, "GET", path+"?limit=1000", "", 200)
	var messages, ids []string
	var steps []float64
	last := int64(1 << 62)
	for _, e := range p.list("data") {
		fits(t, "an event", e, eventShape)
		ids = append(ids, e.text("id"))
		if at := int64(e["created_at"].(float64)); at > last {
			t.Errorf("%s is later than the one before it", e.text("id"))
		} else {
			last = at
		}
		if e.text("type") == "message" {
			messages = append(messages, e.text("level")+" "+e.text("message"))
			continue
		}
		data := e.in("data")
		want := shape{"step": "int", "total_steps": "int", "train_loss": "number", "data_bpt": "number", "param_bpt": "number", "s_ratio": "number",
			"lambda_value": "number", "learning_rate": "number", "tokens_per_second": "number"}
		text := fmt.Sprintf("Step %v/12: training loss=3.5000", data["step"])
		if data["step"] == 6. {
			want["valid_loss"], want["full_valid_loss"] = "number", "number"
			text += ", validation loss=3.2500"
		}
		fits(t, "a step's data", data, want)
		if e.text("message") != text || e.text("type") != "metrics" {
			t.Errorf("it says %q as %s, want %q", e.text("message"), e.text("type"), text)
		}
		steps = append(steps, data["step"].(float64))
	}
	if want := []float64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}; !slices.Equal(steps, want) {
		t.Errorf("the steps are %v", steps)
	}
	job := r.v1(t, "GET", "fine_tuning/jobs/"+id, "", 200)
	if want := []string{
		"info The job has successfully completed", "info New fine-tuned model created", "warn a warning amid a phase", "info Checkpoint created at step 6", "info Phase: training",
		"info Fine-tuning job started", "info Files validated, moving job to queued state", "info Validating training file: " + job.text("training_file"),
		"warn 1 block a step is few; raise batch_size or gradient_accumulation_steps for steadier steps", "info Created fine-tuning job: " + id,
	}; !slices.Equal(messages, want) {
		t.Errorf("the messages are\n%s\nwant\n%s", strings.Join(messages, "\n"), strings.Join(want, "\n"))
	}
	if slices.Sort(during); !slices.Equal(slices.Compact(during), during) || !subset(during, ids) {
		t.Errorf("while it ran the ids were %v, now %v", during, ids)
	}
	for _, limit := range []string{"1", "2", "3", "7", "20"} {
		if got := r.pages(t, path, limit); !slices.Equal(got, ids) {
			t.Errorf("by %s: %v\nwant %v", limit, got, ids)
		}
	}
	if p := r.v1(t, "GET", path, "", 200); len(p.list("data")) != 20 && len(ids) > 20 {
		t.Errorf("%d come by default", len(p.list("data")))
	}
	r.v1Refused(t, "GET", path+"?limit=x", "", 400, string(scu.CodeInvalid), "limit")
	for _, after := range []string{"none", "ftevent-" + own + "-step-13", "ftevent-" + own + "-step-0", "ftevent-0123456789abcdef-1-0"} {
		r.v1Refused(t, "GET", path+"?after="+after, "", 404, "not_found", "after")
	}
	r.v1Refused(t, "GET", "fine_tuning/jobs/ftjob-0123456789abcdef/events", "", 404, "not_found", "")
}

func subset(of, all []string) bool {
	return !slices.ContainsFunc(of, func(s string) bool { return !slices.Contains(all, s) })
}

// How a job fails, is cancelled, halts and goes on is told.
func TestOpenAIEventsOfAnEnd(t *testing.T) {
	r := startOpenAI(t, nil)
	newest := func(id string) (level, message string) {
		t.Helper()
		e := r.v1(t, "GET", "fine_tuning/jobs/"+id+"/events?limit=1", "", 200).list("data")[0]
		return e.text("level"), e.text("message")
	}
	id := r.v1Job(t, "")
	own := strings.TrimPrefix(id, "ftjob-")
	for _, c := range []struct {
		do             func()
		level, message string
	}{
		{func() { r.v1(t, "POST", "fine_tuning/jobs/"+id+"/pause", "", 200) }, "info", "Paused"},
		{func() { r.v1(t, "POST", "fine_tuning/jobs/"+id+"/resume", "", 200) }, "info", "Resumed"},
		{func() {
			r.begin(own, 2)
			r.transit(own, func(j scu.Job) (scu.Event, error) { return j.HandBack(1, time.Now()) })
		}, "info", "Handed back by its trainer; queued again"},
		{func() {
			r.transit(own, func(j scu.Job) (scu.Event, error) { return j.Start(trainer, time.Now()) })
		}, "info", "Fine-tuning job started again, attempt 2"},
		{func() {
			r.transit(own, func(j scu.Job) (scu.Event, error) {
				return j.Fail(2, scu.Errorf(scu.CodeMemory, "too little memory"), time.Now())
			})
		}, "error", "The job failed: too little memory"},
		{func() { id = r.v1Job(t, ""); r.v1(t, "POST", "fine_tuning/jobs/"+id+"/cancel", "", 200) }, "info", "The job was cancelled"},
	} {
		c.do()
		if level, message := newest(id); level != c.level || message != c.message {
			t.Errorf("it says %s %q, want %s %q", level, message, c.level, c.message)
		}
	}
}

// The adapters kept on the way are checkpoints, the newest first, each of them a model.
func TestOpenAICheckpoints(t *testing.T) {
	r := startOpenAI(t, nil)
	id := r.v1Job(t, `,"suffix":"keeper"`)
	own := strings.TrimPrefix(id, "ftjob-")
	path := "fine_tuning/jobs/" + id + "/checkpoints"
	if got := r.pages(t, path, "10"); len(got) != 0 {
		t.Errorf("there are %v", got)
	}
	r.begin(own, 12)
	val := 3.25
	for step := 1; step <= 12; step++ {
		r.transit(own, func(j scu.Job) (scu.Event, error) {
			c := scu.Checkpoint{Step: step, Attempt: 1, CE: 3.5, CreatedAt: time.Now().UTC()}
			if step != 2 {
				c.ValLoss = &val
			}
			return j.Store(1, c, 12, time.Now())
		})
	}
	var want []string
	for step := 12; step > 0; step-- {
		want = append(want, fmt.Sprintf("ftckpt-%s-%d", own, step))
	}
	if p := r.v1(t, "GET", path, "", 200); len(p.list("data")) != 10 || p["has_more"] != true {
		t.Errorf("10 come by default, not %d", len(p.list("data")))
	}
	for _, limit := range []string{"1", "5", "12", "1000"} {
		if got := r.pages(t, path, limit); !slices.Equal(got, want) {
			t.Errorf("by %s: %v", limit, got)
		}
	}
	for _, c := range r.v1(t, "GET", path+"?limit=100", "", 200).list("data") {
		fits(t, "a checkpoint", c, checkpointShape)
		metrics := shape{"step": "int", "train_loss": "number", "valid_loss": "number", "full_valid_loss": "number"}
		if c["step_number"] == 2. {
			metrics = shape{"step": "int", "train_loss": "number"}
		}
		fits(t, "its metrics", c.in("metrics"), metrics)
		name := c.text("fine_tuned_model_checkpoint")
		if name != fmt.Sprintf("ft:bookworm-2m:scu:keeper:%s:ckpt-step-%v", own, c["step_number"]) || c.text("fine_tuning_job_id") != id {
			t.Errorf("it is %v", c)
		}
		if m := r.v1(t, "GET", "models/"+name, "", 200); m.text("id") != name {
			t.Errorf("as a model it is %v", m)
		}
		r.v1Refused(t, "DELETE", "models/"+name, "", 400, string(scu.CodeUnsupported), "model")
	}
	r.v1Refused(t, "GET", path+"?after=ftckpt-"+own+"-13", "", 404, "not_found", "after")
	r.v1Refused(t, "GET", path+"?limit=0", "", 400, string(scu.CodeInvalid), "limit")
}
