package scu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Comparison trains the same model on the same data under several settings, each with
// several seeds, for as many tokens. Its runs are ordinary jobs, which carry its id.
type Comparison struct {
	ID        string          `json:"comparison_id"`
	Name      string          `json:"name,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	Request   string          `json:"request"` // sha256 of what was asked for, hex
	Template  Job             `json:"template"`
	Common    map[string]any  `json:"common"` // overrides that all settings have
	Settings  []Setting       `json:"settings"`
	Seeds     []int64         `json:"seeds"`
	Runs      []ComparisonRun `json:"runs"`
	Cancelled bool            `json:"cancelled,omitempty"`
}

// Setting is one of the things compared: what of the configuration it changes.
type Setting struct {
	Name      string         `json:"name,omitempty" maxLength:"200" doc:"What the table calls it; default: its fields"`
	Overrides map[string]any `json:"config_overrides" doc:"Fields of control and lora, prior_sigma, learning_rate, max_grad_norm, batch_size and gradient_accumulation_steps. What changes how much is trained on is refused"`
}

// ComparisonRun is one setting with one seed.
type ComparisonRun struct {
	Setting int    `json:"setting"` // its place among the settings
	Seed    int64  `json:"seed"`
	JobID   string `json:"job_id"`
	Class   string `json:"class"`
	Try     int    `json:"try,omitempty"` // how often it was begun anew
}

// Bounds of a comparison.
const (
	MaxComparedSettings = 100
	MaxComparedRuns     = 500
)

// Comparisons keeps comparisons. An id of none is CodeNotFound; a service that can't be
// reached now is CodeUnavailable.
type Comparisons interface {
	// CreateComparison stores a new one; CodeConflict if its id is taken.
	CreateComparison(ctx context.Context, c Comparison) error
	// Comparison returns one as it was stored last.
	Comparison(ctx context.Context, id string) (Comparison, error)
	// ChangeComparison changes one by compare-and-set: change may be called again on a
	// newer one. Its error is returned as it is.
	ChangeComparison(ctx context.Context, id string, change func(*Comparison) error) (Comparison, error)
	// Comparisons lists all of them, the newest first.
	Comparisons(ctx context.Context) ([]Comparison, error)
}

// ComparisonID is the id of an owner's comparison of a name, so that the same one again is
// found; without a name it is random.
func ComparisonID(owner, name string) string {
	if name == "" {
		return NewJobID()
	}
	of := "comparison " + name
	if owner != "" {
		of = "comparison of " + owner + "\n" + name
	}
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:8])
}

// runJobID is the id of a run's job: it is known before the job is submitted, so that a
// comparison that was broken off submits none twice.
func (c *Comparison) runJobID(setting int, seed int64, try int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "run %s %s %d %d %d", c.ID, c.CreatedAt.Format(time.RFC3339Nano), setting, seed, try))
	return hex.EncodeToString(sum[:8])
}

// Plan fills in the runs, seed by seed, so that each setting is seen early.
func (c *Comparison) Plan(classes []string) {
	c.Runs = nil
	for _, seed := range c.Seeds {
		for i := range c.Settings {
			c.Runs = append(c.Runs, ComparisonRun{Setting: i, Seed: seed, JobID: c.runJobID(i, seed, 0), Class: classes[i]})
		}
	}
}

// Renew gives a run another job, in place of one that failed or was cancelled.
func (c *Comparison) Renew(run int) {
	r := &c.Runs[run]
	r.Try++
	r.JobID = c.runJobID(r.Setting, r.Seed, r.Try)
}

// Config is the configuration of a setting with a seed.
func (c *Comparison) Config(setting int, seed int64) (Config, error) {
	cfg := c.Template.Config.clone()
	if err := cfg.Merge(c.Settings[setting].Overrides); err != nil {
		return cfg, within(fmt.Sprintf("settings[%d].config_overrides.", setting), err)
	}
	cfg.Seed = seed
	return cfg, within(fmt.Sprintf("settings[%d].config_overrides.", setting), cfg.Check())
}

// within puts a path before the fields of errors.
func within(path string, err error) error {
	all := AllErrors(err)
	for i, e := range all {
		all[i] = e.At(path + e.Field)
	}
	return Join(all)
}

// Job is the job of a run.
func (c *Comparison) Job(run int) (Job, error) {
	r := c.Runs[run]
	cfg, err := c.Config(r.Setting, r.Seed)
	if err != nil {
		return Job{}, err
	}
	j := c.Template
	j.ID, j.Config, j.Class, j.Comparison = r.JobID, cfg, r.Class, c.ID
	j.Name = fmt.Sprintf("%s, seed %d", c.Settings[r.Setting].Name, r.Seed)
	if c.Name != "" {
		j.Name = c.Name + ": " + j.Name
	}
	return j, nil
}

// BestConfig is a setting's configuration as --config takes it.
func (c *Comparison) BestConfig(setting int) map[string]any {
	return overlaid(c.Common, c.Settings[setting].Overrides)
}

// overlaid lays one object over another, deeply; neither is changed.
func overlaid(under, over map[string]any) map[string]any {
	out := maps.Clone(under)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range over {
		inner, ok := v.(map[string]any)
		below, same := out[k].(map[string]any)
		if k == "control" && ok && inner["law"] != nil { // gains and bounds below belong to another law
			kept := map[string]any{}
			if target, ok := below["target_s"]; ok {
				kept["target_s"] = target
			}
			below = kept
		}
		if ok && same {
			v = overlaid(below, inner)
		}
		out[k] = v
	}
	return out
}

// comparedFields are the fields that a setting may change.
var comparedFields = []string{"control", "lora", "prior_sigma", "learning_rate", "max_grad_norm", "batch_size", "gradient_accumulation_steps"}

// Check refuses a comparison whose settings don't train on as many tokens, are the same,
// or are too many, and names those that have no name.
func (c *Comparison) Check() error {
	var errs []error
	switch {
	case len(c.Settings) == 0:
		errs = append(errs, Errorf(CodeInvalid, "there is nothing to compare").At("settings").WithHint("give settings, or a space"))
	case len(c.Settings) > MaxComparedSettings:
		errs = append(errs, Errorf(CodeTooLarge, "%d settings are more than %d", len(c.Settings), MaxComparedSettings).At("settings").WithHint("give a smaller space, or samples"))
	case len(c.Seeds) == 0:
		errs = append(errs, Errorf(CodeInvalid, "there is no seed").At("seeds"))
	case len(c.Settings)*len(c.Seeds) > MaxComparedRuns:
		errs = append(errs, Errorf(CodeTooLarge, "%d settings with %d seeds are more than %d runs", len(c.Settings), len(c.Seeds), MaxComparedRuns).At("seeds"))
	}
	if c.Template.Config.EarlyStoppingPatience > 0 {
		errs = append(errs, Errorf(CodeInvalid, "runs that end early have not trained on as many tokens").At("config_overrides.early_stopping_patience").WithHint("leave it out: the best weights are kept anyway"))
	}
	if c.Template.Config.Keep != KeepBest {
		errs = append(errs, Errorf(CodeInvalid, "a comparison tells the best weights and the last").At("config_overrides.keep").WithHint("leave it out"))
	}
	seen := map[string]int{}
	for i := range c.Settings {
		s := &c.Settings[i]
		for _, field := range slices.Sorted(maps.Keys(s.Overrides)) {
			at := fmt.Sprintf("settings[%d].config_overrides.%s", i, field)
			if !slices.Contains(comparedFields, field) {
				errs = append(errs, Errorf(CodeInvalid, "can't be compared: the runs would not train on the same tokens, or the same way").At(at).WithHint("a setting may change %s; set others for all", strings.Join(comparedFields, ", ")))
			} else if (field == "batch_size" || field == "gradient_accumulation_steps") && c.Template.Config.Steps != nil {
				errs = append(errs, Errorf(CodeInvalid, "with steps set, another batch trains on more or fewer tokens").At(at).WithHint("set epochs instead of steps"))
			}
		}
		if s.Name == "" {
			s.Name = settingName(s.Overrides, "")
		}
		if other, ok := seen[s.Name]; ok {
			errs = append(errs, Errorf(CodeInvalid, "has the name of settings[%d], %q", other, s.Name).At(fmt.Sprintf("settings[%d]", i)))
		}
		seen[s.Name] = i
	}
	for i, seed := range c.Seeds {
		if slices.Contains(c.Seeds[:i], seed) {
			errs = append(errs, Errorf(CodeInvalid, "seed %d is there twice", seed).At(fmt.Sprintf("seeds[%d]", i)))
		}
	}
	return Join(errs...)
}

// settingName tells a setting by its fields.
func settingName(m map[string]any, path string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if inner, ok := m[k].(map[string]any); ok {
			parts = append(parts, settingName(inner, path+k+"."))
		} else {
			parts = append(parts, fmt.Sprintf("%s%s=%v", path, k, m[k]))
		}
	}
	if len(parts) == 0 {
		return "defaults"
	}
	return strings.Join(parts, " ")
}
