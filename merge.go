package scu

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Merge lays overrides, a decoded JSON object, over c: nested objects are merged
// key by key, so {"lora":{"r":2}} keeps alpha; null means "not given". Each unknown
// key and each value of the wrong type is an Invalid error with the field's path (see
// [Errors]), and c is left as it was.
func (c *Config) Merge(overrides map[string]any) error {
	if len(overrides) == 0 {
		return nil
	}
	n := c.clone()
	var unlawful error
	if control, ok := overrides["control"].(map[string]any); ok {
		unlawful = n.Control.lawful(control)
	}
	if err := Join(unlawful, merge(reflect.ValueOf(&n).Elem(), overrides, "")); err != nil {
		return err
	}
	n.asked = maps.Clone(c.asked)
	for field, value := range overrides {
		if value != nil {
			if n.asked == nil {
				n.asked = map[string]bool{}
			}
			n.asked[field] = true
		}
	}
	*c = n
	return nil
}

// clone copies what Merge may write through.
func (c Config) clone() Config {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // a Config is plain data
	}
	var n Config
	if err := json.Unmarshal(b, &n); err != nil {
		panic(err)
	}
	return n
}

// refused are fields that config_overrides may not set, and why.
var refused = map[string]string{
	"adapter_output_dir": "storage is the server's; fetch the adapter with GET /jobs/{id}/adapter",
	"base_model":         "set base_model beside config_overrides, not in it",
	"base_revision":      "name it in base_model, as owner/name@revision",
	"train_data_path":    "set train_data_path beside config_overrides, not in it",
	"train_data":         "set train_data beside config_overrides, not in it",
	"from_adapter":       "set from_adapter beside config_overrides, not in it",
	"from_adapter_file":  "set from_adapter beside config_overrides",
	"other_data_path":    "set other_data_path beside config_overrides, not in it",
	"val_data_path":      "set val_data_path beside config_overrides, not in it",
}

func merge(dst reflect.Value, src map[string]any, path string) error {
	fields := map[string]reflect.Value{}
	for i := 0; i < dst.NumField(); i++ {
		if name, _, _ := strings.Cut(dst.Type().Field(i).Tag.Get("json"), ","); name != "" {
			fields[name] = dst.Field(i)
		}
	}
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(src)) {
		at := path + k
		if why, ok := refused[at]; ok {
			errs = append(errs, Errorf(CodeInvalid, "can't be set").At(at).WithHint("%s", why))
		} else if f, ok := fields[k]; !ok {
			errs = append(errs, Errorf(CodeInvalid, "unknown field").At(at).WithHint("%s", suggest(path, k, fields)))
		} else if src[k] != nil { // null: not given
			errs = append(errs, assign(f, src[k], at))
		}
	}
	return Join(errs...)
}

// aliases are names that other trainers have for our fields.
var aliases = map[string]string{
	"lora.rank": "r", "lora.lora_r": "r", "lora.lora_alpha": "alpha", "lora.lora_dropout": "dropout",
	"lora_r": "lora.r", "lora_rank": "lora.r", "rank": "lora.r", "r": "lora.r", "lora_alpha": "lora.alpha",
	"lora_dropout": "lora.dropout", "target_modules": "lora.target_modules", "target_s": "control.target_s",
	"lr": "learning_rate", "learning_rate_multiplier": "learning_rate", "n_epochs": "epochs",
	"num_epochs": "epochs", "num_train_epochs": "epochs", "max_steps": "steps", "max_seq_length": "block_size",
	"max_seq_len": "block_size", "sequence_len": "block_size", "per_device_train_batch_size": "batch_size",
	"micro_batch_size": "batch_size", "grad_accum": "gradient_accumulation_steps",
	"load_in_4bit": "use_4bit", "fp16": "use_fp16", "bf16": "use_fp16", "packing_mode": "packing",
	"train_on_inputs": "train_on",
}

// absent are settings of other trainers that this one hasn't, and what it does instead.
var absent = map[string]string{
	"warmup_steps":               "warmup is a tenth of the steps",
	"warmup_ratio":               "warmup is a tenth of the steps",
	"lr_scheduler_type":          "the rate falls linearly to 0 after warmup",
	"weight_decay":               "there is none: the controller's lambda regularises",
	"optim":                      "the optimiser is AdamW",
	"save_steps":                 "keep_checkpoints keeps adapters at validations, every eval_every steps",
	"logging_steps":              "every step is reported",
	"per_device_eval_batch_size": "validation uses batch_size",
	"load_best_model_at_end":     "keep is best by default",
	"push_to_hub":                "set auto_upload_to_hub and hub_adapter_name",
	"hub_model_id":               "set hub_adapter_name",
	"evaluation_strategy":        "eval_every is the steps between validations",
	"eval_strategy":              "eval_every is the steps between validations",
	"dataloader_num_workers":     "the server chooses its threads",
	"ddp_find_unused_parameters": "a job runs on one device",
}

// suggest names the field that a misspelt key most likely meant.
func suggest(path, key string, fields map[string]reflect.Value) string {
	if instead, ok := absent[path+key]; ok {
		return instead
	}
	if known, ok := aliases[path+key]; ok {
		return fmt.Sprintf("did you mean %q?", known)
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(fields)), func(n string) bool { return refused[n] != "" })
	fold := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	for _, n := range names {
		if a, b := fold(n), fold(key); a == b || len(b) > 3 && (strings.Contains(a, b) || strings.Contains(b, a) && len(a) > 2) {
			return fmt.Sprintf("did you mean %q?", n)
		}
	}
	near, least := "", 3 // this many letters make another name
	for _, n := range names {
		if d := levenshtein.ComputeDistance(fold(n), fold(key)); len(key) > 3 && d < least {
			near, least = n, d
		}
	}
	if near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known here: " + strings.Join(names, ", ")
}

// assign puts the JSON value v into f, or returns what was wanted.
func assign(f reflect.Value, v any, at string) error {
	if n, ok := v.(json.Number); ok {
		x, err := n.Float64()
		if err != nil {
			return Errorf(CodeInvalid, "%s is out of range", n).At(at)
		}
		v = x
	}
	want := func(what string) error {
		b, _ := json.Marshal(v)
		if len(b) > 60 {
			b = append(b[:57], "..."...)
		}
		return Errorf(CodeInvalid, "want %s, got %s", what, b).At(at)
	}
	switch f.Kind() {
	case reflect.Pointer:
		if v == nil {
			f.SetZero()
			return nil
		}
		p := reflect.New(f.Type().Elem())
		if err := assign(p.Elem(), v, at); err != nil {
			return err
		}
		f.Set(p)
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			return want("an object")
		}
		return merge(f, m, at+".")
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			return want("an object of numbers")
		}
		return assignMap(f, m, at)
	case reflect.Slice:
		of := "a list of whole numbers"
		if f.Type().Elem().Kind() == reflect.String {
			of = "a list of strings"
			if s, ok := v.(string); ok { // "all-linear" alone, as PEFT allows
				v = []any{s}
			}
		}
		list, ok := v.([]any)
		if !ok {
			return want(of)
		}
		return assignList(f, list, at)
	case reflect.Int, reflect.Int64:
		x, ok := v.(float64)
		if !ok || x != math.Trunc(x) || math.Abs(x) > 1<<53 {
			return want("a whole number")
		}
		f.SetInt(int64(x))
	case reflect.Float64:
		x, ok := v.(float64)
		if !ok {
			return want("a number")
		}
		f.SetFloat(x)
	case reflect.Bool:
		x, ok := v.(bool)
		if !ok {
			return want("true or false")
		}
		f.SetBool(x)
	case reflect.String:
		x, ok := v.(string)
		if !ok && v != nil {
			return want("a string")
		}
		f.SetString(x)
	}
	return nil
}

// assignMap puts the values of an object into f.
func assignMap(f reflect.Value, m map[string]any, at string) error {
	out := reflect.MakeMap(f.Type())
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(m)) {
		x := reflect.New(f.Type().Elem()).Elem()
		errs = append(errs, assign(x, m[k], at+"."+k))
		out.SetMapIndex(reflect.ValueOf(k), x)
	}
	f.Set(out)
	return Join(errs...)
}

// assignList puts the items of a list into f.
func assignList(f reflect.Value, list []any, at string) error {
	out := reflect.MakeSlice(f.Type(), len(list), len(list))
	for i, e := range list {
		if err := assign(out.Index(i), e, fmt.Sprintf("%s[%d]", at, i)); err != nil {
			return err // of a long list of something else one is enough
		}
	}
	f.Set(out)
	return nil
}

// lawful chooses c's law, with its gains and bounds, by the overrides of control.
// A gain or bound without its law is refused: it would be laid over another law's.
func (c *ControlConfig) lawful(overrides map[string]any) error {
	if law, ok := overrides["law"].(string); ok {
		if target := c.TargetS; law != c.Law {
			*c = DefaultControl(law)
			c.TargetS = target
		}
		return nil
	}
	for _, name := range []string{"Kp", "Ki", "deadband", "lambda_min", "lambda_max"} {
		if _, ok := overrides[name]; ok {
			return Errorf(CodeInvalid, "gains and bounds belong to a law, and control.law isn't set").At("control."+name).
				WithHint("set control.law beside control.%s: %q (default) or %q", name, LawLogPI, LawSCU)
		}
	}
	return nil
}
