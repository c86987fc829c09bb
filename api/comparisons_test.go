package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// compared is a comparison of two settings with two seeds.
func compared() client.ComparisonRequest {
	return client.ComparisonRequest{Name: "two", BaseModel: models.BuiltIn, TrainDataPath: "train.txt", OtherDataPath: "train.txt", Seeds: []int64{1, 2},
		Settings: []scu.Setting{{Overrides: map[string]any{"learning_rate": 1e-4}}, {Name: "free", Overrides: map[string]any{"control": map[string]any{"law": "fixed", "lambda_init": 0}}}}}
}

// A comparison's runs are jobs that carry its id; asked for again under its name it is the
// same one; cancelled it ends as one; resumed, what failed, was cancelled or deleted begins
// anew, and what has completed stays.
func TestComparison(t *testing.T) {
	r := start(t, nil)
	c, err := r.sdk.Compare(t.Context(), compared())
	must(t, err)
	if c.Status != "running" || len(c.Runs) != 4 || c.Rows[1].Setting != "free" || c.Rows[0].Setting != "learning_rate=0.0001" || r.jobs() != 4 {
		t.Fatalf("it says %+v", c)
	}
	for i, run := range c.Runs {
		j, err := r.sdk.Job(t.Context(), run.JobID)
		must(t, err)
		if j.Comparison != c.ID || j.Config.Seed != run.Seed || run.Seed != []int64{1, 1, 2, 2}[i] || (j.Config.Control.Law == scu.LawFixed) != (i%2 == 1) || j.OtherData == nil {
			t.Errorf("run %d is job %+v", i, j)
		}
	}
	again, err := r.sdk.Compare(t.Context(), compared())
	must(t, err)
	if again.ID != c.ID || again.Runs[3].JobID != c.Runs[3].JobID || r.jobs() != 4 {
		t.Errorf("asked for again it is %+v", again)
	}

	r.complete(r.begin(c.Runs[0].JobID, 3), []byte("adapter"))
	failed := r.begin(c.Runs[1].JobID, 3)
	r.transit(failed.ID, func(j scu.Job) (scu.Event, error) {
		return j.Fail(j.Attempt, scu.Errorf(scu.CodeInvalid, "broken"), time.Now())
	})
	c, err = r.sdk.CancelComparison(t.Context(), c.ID)
	must(t, err)
	if c.Status != "cancelled" || c.Runs[0].Status != scu.Completed || c.Runs[1].Error == nil || c.Runs[2].Status != scu.Cancelled || c.Runs[3].Status != scu.Cancelled {
		t.Fatalf("cancelled it is %+v", c.Runs)
	}
	_, err = r.sdk.DeleteJob(t.Context(), c.Runs[3].JobID)
	must(t, err)
	resumed, err := r.sdk.ResumeComparison(t.Context(), c.ID)
	must(t, err)
	if resumed.Status != "running" || resumed.Runs[0].JobID != c.Runs[0].JobID {
		t.Errorf("resumed it is %+v", resumed)
	}
	for i := range 3 {
		if run := resumed.Runs[i+1]; run.JobID == c.Runs[i+1].JobID || run.Status != scu.Queued {
			t.Errorf("resumed, run %d is %+v", i+1, run)
		}
	}
	for _, run := range resumed.Runs[1:] {
		r.complete(r.begin(run.JobID, 3), []byte("adapter"))
	}
	done, err := r.sdk.Comparison(t.Context(), c.ID)
	must(t, err)
	list, err := r.sdk.Comparisons(t.Context())
	must(t, err)
	if done.Status != "completed" || list.Count != 1 || list.Comparisons[0].ID != c.ID || list.Comparisons[0].Runs != 4 {
		t.Errorf("in the end it is %+v, listed as %+v", done, list)
	}
}

// What a crash left unsubmitted is submitted when the comparison is asked for again.
func TestComparisonBrokenOff(t *testing.T) {
	r := start(t, nil)
	c, err := r.sdk.Compare(t.Context(), compared())
	must(t, err)
	stored, err := r.broker.Comparison(t.Context(), c.ID)
	must(t, err)
	stored.ID, stored.Name = scu.ComparisonID("", "half"), "half"
	stored.Plan([]string{"cpu", "cpu"})
	must(t, r.broker.CreateComparison(t.Context(), stored))
	half, err := r.sdk.Comparison(t.Context(), stored.ID)
	must(t, err)
	if half.Status != "incomplete" || half.Runs[0].Status != "" {
		t.Errorf("before its jobs are there it is %+v", half)
	}
	whole, err := r.sdk.ResumeComparison(t.Context(), stored.ID)
	must(t, err)
	if whole.Status != "running" || whole.Runs[0].JobID != stored.Runs[0].JobID || r.jobs() != 8 {
		t.Errorf("resumed it is %+v", whole)
	}
}

// A sweep's settings are its grid; what is refused is refused by field and leaves nothing.
func TestSweep(t *testing.T) {
	r := start(t, nil)
	req := compared()
	req.Name, req.Settings, req.Seeds = "", nil, []int64{1}
	req.Space = scu.Space{"lora.r": {Values: []any{4, 8}}, "learning_rate": {Values: []any{1e-4, 2e-4}}}
	c, err := r.sdk.Compare(t.Context(), req)
	must(t, err)
	if len(c.Rows) != 4 || c.Rows[3].Setting != "learning_rate=0.0002 lora.r=8" {
		t.Errorf("the grid is %+v", c.Rows)
	}
	for field, change := range map[string]func(*client.ComparisonRequest){
		"settings":                                 func(q *client.ComparisonRequest) { q.Settings = nil },
		"settings[0].config_overrides.epochs":      func(q *client.ComparisonRequest) { q.Settings[0].Overrides["epochs"] = 2 },
		"settings[1].config_overrides.lora.r":      func(q *client.ComparisonRequest) { q.Settings[1].Overrides["lora"] = map[string]any{"r": 1000} },
		"settings[1].config_overrides.lora.x":      func(q *client.ComparisonRequest) { q.Settings[1].Overrides["lora"] = map[string]any{"x": 1} },
		"train_data_path":                          func(q *client.ComparisonRequest) { q.TrainDataPath = "none.txt" },
		"other_data_path":                          func(q *client.ComparisonRequest) { q.OtherDataPath = "none.txt" },
		"space.lora.r":                             func(q *client.ComparisonRequest) { q.Space = scu.Space{"lora.r": {}} },
		"config_overrides.early_stopping_patience": func(q *client.ComparisonRequest) { q.ConfigOverrides = map[string]any{"early_stopping_patience": 2} },
	} {
		q := compared()
		change(&q)
		body, err := json.Marshal(q)
		must(t, err)
		status, _, text := r.ask("POST", "/comparisons", string(body))
		want := scu.CodeInvalid
		r.refused(t, status, text, 422, want, field)
	}
	must(t, first(r.sdk.Compare(t.Context(), compared())))
	other := compared()
	other.Seeds = []int64{5}
	body, err := json.Marshal(other)
	must(t, err)
	status, _, text := r.ask("POST", "/comparisons", string(body))
	r.refused(t, status, text, 409, scu.CodeConflict, "name")
	for _, path := range []string{"/comparisons/0123456789abcdef", "/comparisons/" + strings.Repeat("x", 40)} {
		status, _, text = r.ask("GET", path, "")
		r.refused(t, status, text, 404, scu.CodeNotFound, "")
	}
	if r.jobs() != 8 {
		t.Errorf("%d jobs", r.jobs())
	}
}

func first[T any](_ T, err error) error { return err }
