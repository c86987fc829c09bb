package trainer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/examples"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
)

// Texts that the jobs below train on, by name.
var validationData = map[string]string{
	"keeper.txt": string(examples.Keeper),
	"long.txt":   strings.Repeat(string(examples.Keeper), 12),
	"line.txt":   "One short line.",
	"empty.txt":  "",
	"binary.txt": "PK\x03\x04\x00\x00\x08\x00\x00\x00",
	"latin.txt":  "Caf\xe9 au lait, tr\xe8s bien.",
	"rows.jsonl": manyRows(400, `{"prompt": "What is %d plus one?", "completion": " It is %d."}`),
	"few.jsonl":  manyRows(20, `{"prompt": "What is %d plus one?", "completion": " It is %d."}`),
	"text.jsonl": manyRows(400, `{"text": "Row %d says that the number after it is %d, and nothing else."}`),
	"typo.jsonl": manyRows(20, `{"promt": "What is %d?", "completion": " It is %d."}`),
	"json.jsonl": manyRows(20, `{"prompt": "What is %d?", "completion": " It is %d."`),
	"chat.jsonl": manyRows(400, `{"messages": [{"role": "user", "content": "And %d?"}, {"role": "assistant", "content": "Then %d."}]}`),
	"table.txt":  "a,b,c\n" + strings.Repeat("1,2,3\n", 400),
	"lfs.txt":    "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("0", 64) + "\nsize 12345\n",
}

func manyRows(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i, i+1)
	}
	return b.String()
}

// sane are settings under which the texts above can be trained on without a word.
const sane = `{"epochs": 12, "learning_rate": 1e-3, "block_size": 128, "batch_size": 4, "control": {"target_s": 0.05}}`

// validated is what is said of a job: overrides laid over the sane settings.
func validated(t *testing.T, train, val, overrides string) (v scu.Validation) {
	t.Helper()
	cfg := scu.DefaultConfig()
	cfg.BaseModel = models.BuiltIn
	for _, text := range []string{sane, overrides} {
		var m map[string]any
		must(t, json.Unmarshal([]byte(text), &m))
		if err := cfg.Merge(m); err != nil {
			v.Errors = scu.AllErrors(err)
			return v
		}
	}
	if err := cfg.Check(); err != nil {
		v.Errors = scu.AllErrors(err)
		return v
	}
	store, err := files.Open(t.TempDir())
	must(t, err)
	put := func(name string) scu.File {
		f, err := store.Put(t.Context(), name, strings.NewReader(validationData[name]), 1<<20)
		if err != nil {
			v.Errors = append(v.Errors, scu.AsError(err))
		}
		return f
	}
	file := put(train)
	var valFile *scu.File
	if val != "" {
		f := put(val)
		valFile = &f
	}
	if len(v.Errors) > 0 {
		return v
	}
	p := &Preflight{Bases: &base.Finder{Dir: t.TempDir()}, Files: store, CacheDir: t.TempDir(), Calibration: calibration()}
	return p.Validate(t.Context(), &cfg, one(file), valFile)
}

// Of the mistakes that people make, at least 38 of 40 are told before the job starts, by
// the field that they are in.
func TestMistakesAreCaught(t *testing.T) {
	const most = 2 // that may be missed
	mistakes := []struct {
		what, train, val, overrides, field string
	}{
		{"a learning rate of full training's habits", "keeper.txt", "", `{"learning_rate": 0.1}`, "learning_rate"},
		{"a learning rate as a word", "keeper.txt", "", `{"learning_rate": "1e-3x"}`, "learning_rate"},
		{"lr", "keeper.txt", "", `{"lr": 1e-3}`, "lr"},
		{"lora_alpha at the top", "keeper.txt", "", `{"lora_alpha": 32}`, "lora_alpha"},
		{"lora.rank", "keeper.txt", "", `{"lora": {"rank": 8}}`, "lora.rank"},
		{"num_train_epochs", "keeper.txt", "", `{"num_train_epochs": 3}`, "num_train_epochs"},
		{"epochs 0", "keeper.txt", "", `{"epochs": 0}`, "epochs"},
		{"half an epoch", "keeper.txt", "", `{"epochs": 0.5}`, "epochs"},
		{"10,000 epochs of 17 KB", "keeper.txt", "", `{"epochs": 10000}`, "epochs"},
		{"one epoch of a page", "line.txt", "", `{"epochs": 1}`, "epochs"},
		{"one step from twenty rows", "few.jsonl", "", `{"epochs": 1}`, "epochs"},
		{"a step of 25,600 blocks", "keeper.txt", "", `{"batch_size": 256, "gradient_accumulation_steps": 100}`, "gradient_accumulation_steps"},
		{"a batch of none", "keeper.txt", "", `{"batch_size": 0}`, "batch_size"},
		{"a batch of 1,000", "keeper.txt", "", `{"batch_size": 1000}`, "batch_size"},
		{"a block beyond the model's positions", "keeper.txt", "", `{"block_size": 2048}`, "block_size"},
		{"a block of 64", "keeper.txt", "", `{"block_size": 64}`, "block_size"},
		{"rank 128 on a model 128 wide", "keeper.txt", "", `{"lora": {"r": 128, "alpha": 256}}`, "lora.r"},
		{"rank 96 on a small model", "keeper.txt", "", `{"lora": {"r": 96, "alpha": 192}}`, "lora.r"},
		{"rank 0", "keeper.txt", "", `{"lora": {"r": 0}}`, "lora.r"},
		{"alpha of 256 for a rank of 8", "keeper.txt", "", `{"lora": {"r": 8, "alpha": 256}}`, "lora.alpha"},
		{"a dropout of 0.9", "keeper.txt", "", `{"lora": {"dropout": 0.9}}`, "lora.dropout"},
		{"modules of another family", "keeper.txt", "", `{"lora": {"target_modules": ["c_attn"]}}`, "lora.target_modules"},
		{"no modules", "keeper.txt", "", `{"lora": {"target_modules": []}}`, "lora.target_modules"},
		{"a target of 5 (per cent)", "keeper.txt", "", `{"control": {"target_s": 5}}`, "control.target_s"},
		{"a target of 0.3", "keeper.txt", "", `{"control": {"target_s": 0.3}}`, "control.target_s"},
		{"a target out of reach of five steps", "keeper.txt", "", `{"steps": 5, "control": {"target_s": 0.002}}`, "control.target_s"},
		{"the prior that was published", "keeper.txt", "", `{"prior_sigma": 0.01}`, "prior_sigma"},
		{"a gain without its law", "keeper.txt", "", `{"control": {"Kp": 2}}`, "control.Kp"},
		{"bounds the wrong way round", "keeper.txt", "", `{"control": {"law": "scu", "lambda_min": 0.5, "lambda_max": 0.2}}`, "control.lambda_min"},
		{"4 bits on the CPU", "keeper.txt", "", `{"use_4bit": true}`, "use_4bit"},
		{"16 bits on the CPU", "keeper.txt", "", `{"use_fp16": true}`, "use_fp16"},
		{"a GPU where there is none", "keeper.txt", "", `{"gpu_id": 0}`, "gpu_id"},
		{"validation on the training data", "rows.jsonl", "rows.jsonl", `{}`, "val_data_path"},
		{"validation on some of the training data", "rows.jsonl", "few.jsonl", `{}`, "val_data_path"},
		{"a misspelt key in every row", "typo.jsonl", "", `{}`, "train_data_path"},
		{"JSON that doesn't end", "json.jsonl", "", `{}`, "train_data_path"},
		{"a ZIP called text", "binary.txt", "", `{}`, "train_data_path"},
		{"Latin-1", "latin.txt", "", `{}`, "train_data_path"},
		{"a table as text", "table.txt", "", `{}`, "train_data_path"},
		{"a git-lfs pointer", "lfs.txt", "", `{}`, "train_data_path"},
		{"an upload without a token", "keeper.txt", "", `{"auto_upload_to_hub": true}`, "auto_upload_to_hub"},
		{"patience without validation", "keeper.txt", "", `{"val_fraction": 0, "early_stopping_patience": 3}`, "early_stopping_patience"},
	}
	if len(mistakes) < 40 {
		t.Fatalf("only %d mistakes", len(mistakes))
	}
	missed := 0
	for _, c := range mistakes {
		v := validated(t, c.train, c.val, c.overrides)
		report := v.Report()
		found := false
		for _, f := range append(report.Errors, report.Warnings...) {
			field, _, _ := strings.Cut(f.Field, "[") // an entry of a list is in the list
			found = found || field == c.field
		}
		if !found {
			missed++
			t.Logf("missed: %s: %+v", c.what, report)
		}
	}
	if missed > most {
		t.Errorf("%d of %d mistakes were missed", missed, len(mistakes))
	}
}

// A target that S can't come down to is advised to be raised to one that is allowed, or not at all.
func TestAdvisedTargetIsAllowed(t *testing.T) {
	for overrides, want := range map[string]string{
		`{"steps": 5, "control": {"target_s": 0.002}}`: "raise epochs or learning_rate, or the target to about 0.16",
		`{"steps": 5, "lora": {"r": 128}}`:             "raise epochs or learning_rate",
	} {
		v := validated(t, "keeper.txt", "", overrides)
		report := v.Report()
		i := slices.IndexFunc(report.Warnings, func(f scu.Finding) bool { return f.Field == "control.target_s" })
		if i < 0 || report.Warnings[i].Suggestion != want {
			t.Errorf("%s: %+v, want %q", overrides, report.Warnings, want)
		}
	}
}

// Jobs without a mistake are neither refused nor warned of.
func TestGoodJobsPass(t *testing.T) {
	var jobs [][3]string // training data, validation data, overrides
	for _, train := range []string{"keeper.txt", "long.txt", "rows.jsonl", "text.jsonl", "chat.jsonl"} {
		for _, overrides := range []string{
			`{}`,
			`{"learning_rate": 5e-4, "epochs": 20}`,
			`{"lora": {"r": 4, "alpha": 8}}`,
			`{"lora": {"r": 16, "alpha": 32, "dropout": 0}}`,
			`{"batch_size": 2, "gradient_accumulation_steps": 2}`,
			`{"steps": 300}`,
			`{"val_fraction": 0.2, "eval_every": 10, "early_stopping_patience": 3}`,
			`{"lora": {"target_modules": "all-linear", "use_rslora": true, "alpha": 16}}`,
			`{"control": {"target_s": 0.08}, "seed": 7}`,
		} {
			jobs = append(jobs, [3]string{train, "", overrides})
		}
	}
	jobs = append(jobs, [3]string{"long.txt", "rows.jsonl", `{}`}, [3]string{"rows.jsonl", "text.jsonl", `{"train_on": "completion"}`})
	if len(jobs) < 40 {
		t.Fatalf("only %d jobs", len(jobs))
	}
	for _, c := range jobs {
		v := validated(t, c[0], c[1], c[2])
		if len(v.Errors) > 0 || len(v.Warnings) > 0 {
			t.Errorf("%v: errors %v, warnings %v", c, v.Errors, v.Warnings)
		}
	}
}
