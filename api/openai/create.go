package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// hpPath is where hyperparameters are in a request today.
const hpPath = "method.supervised.hyperparameters"

// jobFields are the fields of a job by the names that they have here.
var jobFields = map[string]string{
	"base_model":               "model",
	"from_adapter":             "model",
	"train_data_path":          "training_file",
	"val_data_path":            "validation_file",
	"name":                     "suffix",
	"epochs":                   hpPath + ".n_epochs",
	"batch_size":               hpPath + ".batch_size",
	"learning_rate":            hpPath + ".learning_rate_multiplier",
	"learning_rate_multiplier": hpPath + ".learning_rate_multiplier",
}

func (h *handler) createJob(c echo.Context) error {
	f, err := readFields(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	req, named, err := h.readJob(ctx, f)
	if err != nil {
		return err
	}
	id, err := h.Submit(ctx, c.Request().Header.Get("Idempotency-Key"), req)
	if err != nil {
		return renamed(err, named)
	}
	return h.show(c, id)
}

// suffixForm is what a suffix is made of; it is part of a model's name.
var suffixForm = regexp.MustCompile(`^[\w.-]*$`)

// readJob makes a submission of a request. named are the names that its fields have in
// the request, for what the service finds wrong with them.
func (h *handler) readJob(ctx context.Context, f fields) (req client.SubmitRequest, named map[string]string, err error) {
	req.Recommend = true
	req.ConfigOverrides = map[string]any{}
	named = maps.Clone(jobFields)
	var training, validation string
	var integrations []json.RawMessage
	err = scu.Join(
		f.needed("model", &req.BaseModel),
		f.needed("training_file", &training),
		f.take("validation_file", "a string", &validation),
		f.take("suffix", "a string", &req.Name),
		f.take("metadata", "an object of strings", &req.Metadata),
		f.take("integrations", "an array", &integrations),
		f.take("priority", "a whole number from -100 to 100", &req.Priority),
		f.take("target_s", "a number", &req.TargetS),
		f.take("config_overrides", "an object", &req.ConfigOverrides),
	)
	errs := []error{err}
	if len(integrations) > 0 {
		errs = append(errs, scu.Errorf(scu.CodeUnsupported, "the server sends metrics to nobody").At("integrations").WithHint("list the job's events, or fetch its result file, and send them on"))
	}
	if utf8.RuneCountInString(req.Name) > 64 || !suffixForm.MatchString(req.Name) {
		errs = append(errs, scu.Errorf(scu.CodeInvalid, "must be at most 64 letters, digits, '-', '_' and '.'").At("suffix"))
	}
	errs = append(errs,
		trainingFile("training_file", training, &req.TrainDataPath),
		trainingFile("validation_file", validation, &req.ValDataPath),
		f.readMethod(&req, named),
	)
	// What is left, seed among it, are settings of the job, as config_overrides have them.
	for name, v := range f {
		if _, twice := req.ConfigOverrides[name]; twice {
			errs = append(errs, scu.Errorf(scu.CodeInvalid, "is given twice").At(name))
			continue
		}
		var value any
		if err := json.Unmarshal(v, &value); err != nil {
			return req, nil, err // it was read before
		}
		req.ConfigOverrides[name] = value
	}
	if err := scu.Join(errs...); err != nil {
		return req, nil, err
	}
	err = h.goOn(ctx, &req)
	return req, named, err
}

// trainingFile reads a file's id into path.
func trainingFile(field, named string, path *string) error {
	if named == "" {
		return nil
	}
	id, err := fileID(named)
	if err != nil {
		e := scu.AsError(err)
		e.Code = scu.CodeInvalid
		return e.At(field)
	}
	*path = id
	return nil
}

// goOn makes a submission for the model of an adapter one that goes on from it, with
// weights of the same shape.
func (h *handler) goOn(ctx context.Context, req *client.SubmitRequest) error {
	id, step, ok := readModel(req.BaseModel)
	if !ok {
		return nil
	}
	j, _, err := h.adapterOf(ctx, req.BaseModel, id, step)
	if err != nil {
		return err
	}
	req.BaseModel, req.FromAdapter = h.NameOf(j.BaseModel), j.ID
	if r := j.Config.BaseRevision; r != "" { // the Hub's default may be another by now
		req.BaseModel += "@" + r
	}
	if step > 0 {
		req.FromAdapter = fmt.Sprintf("%s@%d", j.ID, step)
	}
	if _, given := req.ConfigOverrides["lora"]; !given {
		b, err := json.Marshal(j.Config.LoRA)
		if err != nil {
			return err
		}
		var shape map[string]any
		if err := json.Unmarshal(b, &shape); err != nil {
			return err
		}
		req.ConfigOverrides["lora"] = shape
	}
	return nil
}

// readMethod reads how to train. Hyperparameters may be in their old place, beside the
// method, but not differ from those in the new one.
func (f fields) readMethod(req *client.SubmitRequest, named map[string]string) error {
	var old, now, method, supervised fields
	var kind string
	if err := scu.Join(f.take("method", "an object", &method), f.take("hyperparameters", "an object", &old)); err != nil {
		return err
	}
	if err := inside("method", method.given().take("type", "a string", &kind)); err != nil {
		return err
	}
	if kind != "" && kind != "supervised" {
		return scu.Errorf(scu.CodeUnsupported, "%.40q can't be done here", kind).At("method.type").WithHint("use supervised")
	}
	err := inside("method", method.take("supervised", "an object", &supervised), method.rest())
	if err := scu.Join(err, inside("method.supervised", supervised.given().take("hyperparameters", "an object", &now), supervised.rest())); err != nil {
		return err
	}
	at := hpPath
	if now == nil && old != nil {
		now, at = old, "hyperparameters"
		for _, field := range []string{"epochs", "batch_size", "learning_rate", "learning_rate_multiplier"} {
			named[field] = strings.Replace(named[field], hpPath, at, 1)
		}
	} else {
		for k, v := range old {
			if !same(v, now[k]) {
				return scu.Errorf(scu.CodeInvalid, "is not what %s.%s is", hpPath, k).At("hyperparameters." + k).WithHint("give one of them")
			}
		}
	}
	var errs []error
	for k, v := range now {
		if s := string(v); s == "null" || s == `"auto"` {
			continue
		}
		var err error
		switch k {
		case "n_epochs":
			err = override(req, "epochs", v)
		case "batch_size":
			if err = override(req, "batch_size", v); err == nil {
				err = override(req, "gradient_accumulation_steps", []byte("1"))
			}
		case "learning_rate_multiplier":
			var m float64
			if json.Unmarshal(v, &m) != nil || !(m > 0) {
				err = scu.Errorf(scu.CodeInvalid, `must be "auto" or a number above 0`)
			}
			req.LearningRateMultiplier = m
		default:
			err = scu.Errorf(scu.CodeInvalid, "unknown field")
		}
		if err != nil {
			errs = append(errs, scu.AsError(err).At(at+"."+k))
		}
	}
	return scu.Join(errs...)
}

func same(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// override sets a field of the configuration to a whole number.
func override(req *client.SubmitRequest, field string, v []byte) error {
	var n json.Number
	d := json.NewDecoder(bytes.NewReader(v))
	d.UseNumber()
	if err := d.Decode(&n); err != nil {
		return scu.Errorf(scu.CodeInvalid, `must be "auto" or a number`)
	}
	if _, twice := req.ConfigOverrides[field]; twice {
		return scu.Errorf(scu.CodeInvalid, "is given again in config_overrides, as %s", field)
	}
	x, err := n.Float64()
	if err != nil {
		return scu.Errorf(scu.CodeInvalid, `must be "auto" or a number`)
	}
	req.ConfigOverrides[field] = x
	return nil
}
