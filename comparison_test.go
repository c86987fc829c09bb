package scu

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSettingsInWords(t *testing.T) {
	for text, want := range map[string]map[string]any{
		"lambda=0":            {"control": map[string]any{"law": "fixed", "lambda_init": 0.0}},
		"published":           {"control": map[string]any{"law": "scu_unapplied"}},
		"log_pi,target=0.004": {"control": map[string]any{"law": "log_pi", "target_s": 0.004}},
		"rank=8, rate=1e-3":   {"lora": map[string]any{"r": 8.0}, "learning_rate": 1e-3},
		"lora.alpha=4":        {"lora": map[string]any{"alpha": 4.0}},
		"defaults":            {},
	} {
		s, err := ParseSetting(text)
		if err != nil || !reflect.DeepEqual(s.Overrides, want) {
			t.Errorf("%s: %v, %v", text, s.Overrides, err)
		}
		c := DefaultConfig()
		if err := c.Merge(s.Overrides); err != nil || c.Check() != nil {
			t.Errorf("%s is no configuration: %v, %v", text, err, c.Check())
		}
	}
	for _, text := range []string{"", "nonsense", "lambda=x", "=1"} {
		if _, err := ParseSetting(text); CodeOf(err) != CodeInvalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSpace(t *testing.T) {
	space := Space{}
	for _, text := range []string{"rank=4,8", "rate=1e-4..1e-2"} {
		field, axis, err := ParseAxis(text)
		if err != nil {
			t.Fatal(err)
		}
		space[field] = axis
	}
	if _, err := space.Expand(0, 1); CodeOf(err) != CodeInvalid || AsError(err).Field != "space.learning_rate" {
		t.Errorf("a grid over a range: %v", err)
	}
	drawn, err := space.Expand(20, 1)
	again, _ := space.Expand(20, 1)
	other, _ := space.Expand(20, 2)
	if err != nil || len(drawn) != 20 || !reflect.DeepEqual(drawn, again) || reflect.DeepEqual(drawn, other) {
		t.Errorf("drawn settings: %v, %v", drawn, err)
	}
	for _, s := range drawn {
		if rate := s.Overrides["learning_rate"].(float64); rate < 1e-4 || rate > 1e-2 {
			t.Errorf("drew %v", rate)
		}
	}
	grid, err := Space{"lora.r": {Values: []any{4.0, 8.0}}, "prior_sigma": {Values: []any{0.1, 0.2, 0.3}}}.Expand(0, 0)
	if err != nil || len(grid) != 6 || fmt.Sprint(grid[4].Overrides) != "map[lora:map[r:8] prior_sigma:0.2]" {
		t.Errorf("the grid: %v, %v", grid, err)
	}
}

// A setting that changes how much is trained on is refused, by its field.
func TestComparisonOfUnequalTokensIsRefused(t *testing.T) {
	c := Comparison{Template: Job{Config: DefaultConfig()}, Seeds: []int64{1, 1}, Settings: []Setting{
		{Overrides: map[string]any{"epochs": 3}}, {Overrides: map[string]any{}}, {Name: "defaults"}, {Overrides: map[string]any{"batch_size": 2}},
	}}
	steps := 5
	c.Template.Config.Steps, c.Template.Config.EarlyStoppingPatience = &steps, 1
	var fields []string
	for _, e := range AllErrors(c.Check()) {
		fields = append(fields, e.Field)
	}
	want := "config_overrides.early_stopping_patience settings[0].config_overrides.epochs settings[2] settings[3].config_overrides.batch_size seeds[1]"
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("refused are %s", got)
	}
}

// Student's distribution, by the critical values of any table.
func TestStudentP(t *testing.T) {
	for _, c := range []struct {
		t float64
		n int
	}{{12.706, 1}, {4.303, 2}, {3.182, 3}, {2.776, 4}, {2.228, 10}, {2.201, 11}} {
		if p := studentP(c.t, c.n); math.Abs(p-0.05) > 2e-4 {
			t.Errorf("t %v with %d degrees: %v", c.t, c.n, p)
		}
	}
	if p := pairedP([]float64{0.1, 0.1}); p != 0 {
		t.Errorf("the same difference each time: %v", p)
	}
	if p := pairedP([]float64{0.1}); p != 1 {
		t.Errorf("one difference: %v", p)
	}
}

// The report tells apart what the seeds tell apart and nothing else; what is the same to
// the last digit is called so; one seed shows nothing.
func TestVerdict(t *testing.T) {
	settings := []Setting{{Name: "good"}, {Name: "as good"}, {Name: "bad"}, {Name: "good again"}}
	losses := [][]float64{{3.00, 3.10, 3.05}, {3.01, 3.09, 3.06}, {3.50, 3.61, 3.54}, {3.00, 3.10, 3.05}}
	report := func(seeds int) ComparisonReport {
		c := Comparison{ID: NewJobID(), CreatedAt: time.Now(), Template: Job{Config: DefaultConfig()}, Settings: settings, Seeds: SeedList(seeds), Common: map[string]any{"epochs": 3}}
		c.Plan([]string{"cpu", "cpu", "cpu", "cpu"})
		jobs := make([]*Job, len(c.Runs))
		for i, r := range c.Runs {
			loss, before, other := losses[r.Setting][r.Seed-42], 4.0, 3.3
			jobs[i] = &Job{ID: r.JobID, Status: Completed, Adapter: &Adapter{Metrics: Summary{ValLossBefore: &before, ValLossAfter: &loss, ValLossLast: &loss, OtherLossBefore: &other, OtherLossAfter: &loss, OtherLossLast: &loss}}}
		}
		return c.Report(jobs)
	}
	r := report(3)
	text := strings.Join(r.Verdict, "\n")
	for _, want := range []string{
		`"good" has the lowest validation loss: 3.0500 ± 0.0500, the untouched base 4.0000 ± 0.0000.`,
		`not told apart from it: "as good" (+0.0033), "good again" (+0.0000).`, `Worse: "bad" by 0.5000.`,
		`"good" and "good again" gave the same losses to the last digit`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if r.Status != "completed" || r.Best.Setting != "good" || r.Best.Config["epochs"] != 3 || r.Rows[2].OtherLast.Mean != r.Rows[2].Best.Mean {
		t.Errorf("the report is %+v", r)
	}
	text = strings.Join(report(1).Verdict, "\n")
	if strings.Contains(text, "Worse") || !strings.Contains(text, "1 seed: too few") {
		t.Errorf("of one seed it says\n%s", text)
	}
}

// The best setting's configuration is what its runs had: a law drops the gains of another.
func TestBestConfig(t *testing.T) {
	c := Comparison{Common: map[string]any{"epochs": 2.0, "control": map[string]any{"law": "scu", "Kp": 0.5, "target_s": 0.02}, "lora": map[string]any{"r": 4.0}},
		Settings: []Setting{{Overrides: map[string]any{"control": map[string]any{"law": "log_pi"}, "lora": map[string]any{"alpha": 8.0}}}}, Seeds: []int64{7}}
	c.Template.Config = DefaultConfig()
	if err := c.Template.Config.Merge(c.Common); err != nil {
		t.Fatal(err)
	}
	want, err := c.Config(0, 42)
	if err != nil {
		t.Fatal(err)
	}
	got := DefaultConfig()
	if err := got.Merge(c.BestConfig(0)); err != nil || !reflect.DeepEqual(object(got), object(want)) {
		t.Errorf("%v\n%v\n%v", object(got), object(want), err)
	}
}
