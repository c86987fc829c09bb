package scu_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

func TestMergeIsDeep(t *testing.T) {
	c := scu.DefaultConfig()
	if err := c.Merge(object(t, `{"lora":{"r":2,"rank_pattern":{"q_proj":4}},"steps":7,"control":{"law":"scu","Kp":1.5}}`)); err != nil {
		t.Fatal(err)
	}
	if c.LoRA.R != 2 || c.LoRA.Alpha != 32 || c.LoRA.RankPattern["q_proj"] != 4 || *c.Steps != 7 || c.Control.Kp != 1.5 || c.Control.Ki != 0.15 {
		t.Fatalf("merged to %+v", c)
	}
	for _, name := range []string{"a", "me/my-adapter_2.0", "_x/y_"} {
		if err := c.Merge(map[string]any{"hub_adapter_name": name}); err != nil || c.Check() != nil {
			t.Errorf("%q: %v, %v", name, err, c.Check())
		}
	}
	if scu.DefaultConfig().LoRA.R != 16 {
		t.Fatal("the defaults changed")
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

// log_pi is the default law; each law has its own gains and bounds, scu exactly
// those published, and what else is set stays.
func TestEachLawHasItsOwnDefaults(t *testing.T) {
	logPI := scu.ControlConfig{Law: "log_pi", TargetS: 0.01, Kp: 1, Ki: 0.02, LambdaInit: 1, LambdaMin: 1e-6, LambdaMax: 1e4}
	published := scu.ControlConfig{Law: "scu", TargetS: 0.01, Kp: 0.8, Ki: 0.15, Deadband: 0.002, LambdaInit: 1, LambdaMin: 1e-4, LambdaMax: 10}
	with := func(c scu.ControlConfig, f func(*scu.ControlConfig)) scu.ControlConfig { f(&c); return c }
	for in, want := range map[string]scu.ControlConfig{
		`{}`: logPI,
		`{"control":{"target_s":0.004,"lambda_init":2}}`: with(logPI, func(c *scu.ControlConfig) { c.TargetS, c.LambdaInit = 0.004, 2 }),
		`{"control":{"law":"log_pi","Ki":0.5}}`:          with(logPI, func(c *scu.ControlConfig) { c.Ki = 0.5 }),
		`{"control":{"law":"scu"}}`:                      published,
		`{"control":{"law":"scu","lambda_max":100}}`:     with(published, func(c *scu.ControlConfig) { c.LambdaMax = 100 }),
	} {
		c := scu.DefaultConfig()
		if err := c.Merge(object(t, in)); err != nil || c.Check() != nil || c.Control != want {
			t.Errorf("%s: %+v, %v, %v", in, c.Control, err, c.Check())
		}
	}
}

// Each override is refused by name, and nothing of it is kept.
func TestMergeRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`{"lr":1}`:                                     `lr: unknown field`,
		`{"warmup_steps":1}`:                           `warmup_steps: unknown field (warmup is a tenth of the steps)`,
		`{"learning_rte":1}`:                           `learning_rte: unknown field (did you mean "learning_rate"?)`,
		`{"epohcs":1}`:                                 `epohcs: unknown field (did you mean "epochs"?)`,
		`{"lora":{"dropuot":1}}`:                       `lora.dropuot: unknown field (did you mean "dropout"?)`,
		`{"momentum":1}`:                               `momentum: unknown field (known here: auto_upload_to_hub, batch_size`,
		`{"batchsize":1}`:                              `did you mean "batch_size"`,
		`{"control":{"Kp":1}}`:                         `control.Kp: gains and bounds belong to a law, and control.law isn't set (set control.law beside control.Kp: "log_pi" (default) or "scu")`,
		`{"control":{"lambda_max":20}}`:                `set control.law beside control.lambda_max`,
		`{"control":{"deadband":0}}`:                   `set control.law beside control.deadband`,
		`{"control":{"kp":1}}`:                         `control.kp: unknown field (did you mean "Kp"?)`,
		`{"control":{"target":0.1}}`:                   `did you mean "target_s"`,
		`{"control":3}`:                                `control: want an object, got 3`,
		`{"steps":1.5}`:                                `steps: want a whole number, got 1.5`,
		`{"steps":"ten"}`:                              `steps: want a whole number, got "ten"`,
		`{"learning_rate":"fast"}`:                     `learning_rate: want a number`,
		`{"use_4bit":1}`:                               `use_4bit: want true or false`,
		`{"lora":{"target_modules":[1]}}`:              `lora.target_modules[0]: want a string`,
		`{"lora":{"rank_pattern":{"q":"x"}}}`:          `lora.rank_pattern.q: want a whole number`,
		`{"seed":1e300}`:                               `seed: want a whole number`,
		`{"adapter_output_dir":"/etc"}`:                `adapter_output_dir: can't be set`,
		`{"base_model":"x"}`:                           `base_model: can't be set`,
		`{"batch_size":8,"lora":{"r":1,"unknown":[]}}`: `lora.unknown: unknown field`,
	} {
		c := scu.DefaultConfig()
		err := c.Merge(object(t, in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", in, err, want)
		}
		if scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%s: code %q", in, scu.CodeOf(err))
		}
		if c.BatchSize != 4 || c.LoRA.R != 16 {
			t.Errorf("%s: half merged", in)
		}
	}
}

// null means "not given", for every kind of field.
func TestNullIsNotGiven(t *testing.T) {
	c := scu.DefaultConfig()
	err := c.Merge(object(t, `{"epochs":null,"steps":10,"lora":{"r":null,"target_modules":null,"rank_pattern":null},"control":null,"use_4bit":null,"learning_rate":null,"train_on":null}`))
	if err != nil || c.Check() != nil {
		t.Fatal(err, c.Check())
	}
	d := scu.DefaultConfig()
	if c.Epochs != d.Epochs || *c.Steps != 10 || c.LoRA.R != d.LoRA.R || len(c.LoRA.TargetModules) != 7 || c.Control != d.Control || !c.Use4Bit || c.LearningRate != d.LearningRate || c.TrainOn != d.TrainOn {
		t.Errorf("%+v", c)
	}
}

// Everything that is wrong is told at once, each with its field.
func TestAllErrorsAtOnce(t *testing.T) {
	c := scu.DefaultConfig()
	merged := scu.AllErrors(c.Merge(object(t, `{"lr":1,"epochs":"two","control":{"Kp":1},"lora":{"rank":8,"alpha":"x"},"adapter_output_dir":"/tmp"}`)))
	if got := fieldsOf(merged); got != "control.Kp adapter_output_dir epochs lora.alpha lora.rank lr" {
		t.Errorf("merge: %s", got)
	}
	for _, e := range merged {
		if e.Field == "lora.rank" && e.Hint != `did you mean "r"?` || e.Field == "lr" && e.Hint != `did you mean "learning_rate"?` {
			t.Errorf("%s: hint %q", e.Field, e.Hint)
		}
	}
	patterns := scu.AllErrors(c.Merge(object(t, `{"lora":{"rank_pattern":{"v":"x","q":"x","k":4}}}`)))
	if got := fieldsOf(patterns); got != "lora.rank_pattern.q lora.rank_pattern.v" {
		t.Errorf("patterns: %s", got)
	}
	if err := c.Merge(object(t, `{"epochs":0,"batch_size":-1,"train_on":"prompt","lora":{"r":0},"val_fraction":0.9}`)); err != nil {
		t.Fatal(err)
	}
	if got := fieldsOf(scu.AllErrors(c.Check())); got != "lora.r epochs batch_size val_fraction train_on" {
		t.Errorf("check: %s", got)
	}
}

func fieldsOf(errs scu.Errors) string {
	var all []string
	for _, e := range errs {
		all = append(all, e.Field)
	}
	return strings.Join(all, " ")
}

func TestCheckRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`{"control":{"target_s":0.6}}`:                                `control.target_s: 0.6 is out of range; it goes from 0.001 to 0.5`,
		`{"control":{"law":"scu","lambda_min":0.5,"lambda_max":0.2}}`: `control.lambda_min`,
		`{"control":{"law":"scu","lambda_init":50}}`:                  `control.lambda_init: 50 is outside`,
		`{"control":{"law":"pid"}}`:                                   `control.law: "pid" is not known`,
		`{"control":{"law":"log_pi","deadband":0.002}}`:               `control.deadband: 0.002 is out of range; it goes from 0 to 0 under the law log_pi (only scu has a deadband)`,
		`{"control":{"law":"scu","lambda_max":5000}}`:                 `control.lambda_max`,
		`{"lora":{"r":0}}`:                                            `lora.r`,
		`{"lora":{"alpha":257}}`:                                      `lora.alpha`,
		`{"lora":{"dropout":0.9}}`:                                    `lora.dropout`,
		`{"lora":{"target_modules":[]}}`:                              `lora.target_modules: names no module`,
		`{"lora":{"rank_pattern":{"q_proj":500}}}`:                    `lora.rank_pattern.q_proj`,
		`{"batch_size":0}`:                                            `batch_size`,
		`{"block_size":64}`:                                           `block_size: 64 is out of range; it goes from 128 to 32768`,
		`{"steps":0}`:                                                 `steps`,
		`{"learning_rate":2}`:                                         `learning_rate`,
		`{"prior_sigma":0}`:                                           `prior_sigma`,
		`{"gradient_accumulation_steps":101}`:                         `gradient_accumulation_steps`,
		`{"gpu_id":-1}`:                                               `gpu_id`,
		`{"val_fraction":0.9}`:                                        `val_fraction`,
		`{"hub_adapter_name":"a/b/c"}`:                                `hub_adapter_name: "a/b/c" is no repository's name`,
		`{"hub_adapter_name":"../etc"}`:                               `hub_adapter_name`,
		`{"hub_adapter_name":"mine/"}`:                                `hub_adapter_name`,
		`{"train_on":"prompt"}`:                                       `train_on`,
		`{"text_documents":"line"}`:                                   `text_documents`,
	} {
		c := scu.DefaultConfig()
		if err := c.Merge(object(t, in)); err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", in, err, want)
		}
	}
}

// FuzzMerge: whatever JSON a user sends, Merge and Check answer and never panic,
// and what passes both survives its own JSON.
func FuzzMerge(f *testing.F) {
	for _, s := range []string{`{}`, `{"lora":{"r":2}}`, `{"control":{"law":"log_pi"}}`, `{"steps":null}`, `{"lora":{"target_modules":"all-linear"}}`, `[]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var m map[string]any
		if json.Unmarshal([]byte(s), &m) != nil {
			return
		}
		c := scu.DefaultConfig()
		if c.Merge(m) != nil || c.Check() != nil {
			return
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var d scu.Config
		if err := json.Unmarshal(b, &d); err != nil || d.Check() != nil {
			t.Fatalf("%s doesn't survive its JSON: %v", b, err)
		}
	})
}

func object(t *testing.T, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatal(err)
	}
	return m
}
