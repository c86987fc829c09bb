package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// submission is what scu train was asked for.
type submission struct {
	baseModel, valData, otherData, fromAdapter, name, configFile, notBefore string
	trainData                                                               []string // one, or several that may have a share each
	targetS                                                                 float64
	targetSet                                                               bool
	priority                                                                int
	key                                                                     string
	set                                                                     []string
	recommend, wait                                                         bool
}

func (a *app) trainCommand() *cobra.Command {
	var t submission
	var batch string
	c := &cobra.Command{
		Use:   "train",
		Short: "Submit a training job",
		Long: `Submits a training job and prints its id. Local files are uploaded; an http(s)
address, a file of a Hub data set (hf://datasets/OWNER/NAME/PATH), the id of an
upload, or server:PATH (a path on the server, below its data-dirs) are sent as
they are. Several sources are mixed: without shares each is read once an epoch;
with FILE=SHARE, a share being the relative weight of a source's tokens in an
epoch, the source with the most tokens for its share is read once and the others
over and over until they have theirs.

  scu train --base-model bookworm-2m --train-data book.txt --wait
  scu train --base-model gpt2 --train-data chat.jsonl --set epochs=3 --set lora.r=8
  scu train --base-model gpt2 --train-data own.jsonl=3 --train-data general.jsonl=1`,
		Args: cobra.NoArgs,
	}
	t.flags(c)
	f := c.Flags()
	f.StringVar(&t.key, "idempotency-key", "", "a name of your own for this submission: for a day, the same one again is the same job")
	f.BoolVar(&t.wait, "wait", false, "show progress and wait for the job to end; the exit code reports how it ended")
	f.StringVar(&batch, "batch", "", "submit many jobs instead, all or none: a JSONL file, each line as POST /jobs/submit takes it")
	notRequired(c, "batch", "base-model", "train-data")
	c.RunE = a.call(func(ctx context.Context, api *client.Client, _ []string) error {
		if batch != "" {
			return a.trainBatch(ctx, api, batch, t.key)
		}
		t.targetSet = f.Changed("target-s")
		return a.train(ctx, api, t)
	})
	return c
}

// flags gives a command the flags that describe a job.
func (t *submission) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.baseModel, "base-model", "", `"bookworm-2m" (built in), a model folder on the server's machine, or a Hugging Face model id`)
	completes(c, "base-model", completeModels)
	f.StringArrayVar(&t.trainData, "train-data", nil, trainDataUsage)
	f.StringVar(&t.valData, "val-data", "", "validation data; default: a share of the training data is held out")
	f.StringVar(&t.otherData, "other-data", "", "text of another kind: its loss before and after tells what is kept of the base")
	f.Float64Var(&t.targetS, "target-s", 0.01, "share of information that the adapter should hold")
	f.StringVar(&t.name, "name", "", "a name for people")
	f.StringVar(&t.fromAdapter, "from-adapter", "", "adapter to begin from: a job, JOB@STEP, a folder, a zip, or a Hub id")
	f.IntVar(&t.priority, "priority", 0, "higher runs first, -100 to 100")
	f.StringVar(&t.notBefore, "not-before", "", "queue the job at this time and not earlier, as 2026-12-01T22:00:00Z")
	f.StringVar(&t.configFile, "config", "", "JSON file of configuration fields that differ from their defaults")
	f.StringArrayVar(&t.set, "set", nil, "one configuration field, such as lora.r=8; overrides --config, may be repeated")
	f.BoolVar(&t.recommend, "recommend", false, "start from the settings of scu recommend-config instead of the defaults; --config and --set override them")
	required(c, "base-model", "train-data")
	if err := c.RegisterFlagCompletionFunc("set", completeSet); err != nil {
		panic(err) // no such flag, or registered twice
	}
}

// train submits a job and, where asked, waits for its end.
func (a *app) train(ctx context.Context, api *client.Client, t submission) error {
	req, err := t.request()
	if err != nil {
		return err
	}
	if err := a.uploadAll(ctx, api, &req); err != nil {
		return err
	}
	req.IdempotencyKey = t.key
	res, err := api.Submit(ctx, req)
	if err != nil {
		return err
	}
	if !a.json {
		for _, w := range res.Warnings {
			fmt.Fprintln(a.err, "scu: warning:", w)
		}
		fmt.Fprintf(a.out, "Job submitted: %s\n", res.JobID)
	}
	if t.wait {
		return a.wait(ctx, api, res.JobID, res.Warnings)
	}
	if a.json {
		return printJSON(a.out, res)
	}
	fmt.Fprintf(a.out, "Status: %s\nFollow it with: scu watch %s\n", res.Status, res.JobID)
	return nil
}

// request checks what can be checked here, before anything is uploaded.
func (t *submission) request() (client.SubmitRequest, error) {
	req, err := t.unchecked()
	if err != nil {
		return req, err
	}
	cfg := scu.DefaultConfig()
	if req.TargetS != nil {
		cfg.Control.TargetS = *req.TargetS
	}
	if err := cfg.Merge(req.ConfigOverrides); err != nil {
		return req, err
	}
	return req, cfg.Check()
}

// unchecked is the request as it was asked for.
func (t *submission) unchecked() (client.SubmitRequest, error) {
	if t.priority < -100 || t.priority > 100 {
		return client.SubmitRequest{}, scu.Errorf(scu.CodeInvalid, "--priority: %d is not from -100 to 100", t.priority)
	}
	overrides, err := t.overrides()
	if err != nil {
		return client.SubmitRequest{}, err
	}
	req := client.SubmitRequest{
		BaseModel: t.baseModel, ValDataPath: t.valData, OtherDataPath: t.otherData, FromAdapter: t.fromAdapter,
		Name: t.name, Priority: t.priority, ConfigOverrides: overrides, Recommend: t.recommend,
	}
	if t.notBefore != "" {
		at, err := time.Parse(time.RFC3339, t.notBefore)
		if err != nil {
			return req, scu.Errorf(scu.CodeInvalid, "--not-before: %.40q is no time", t.notBefore).WithHint("write it as 2026-12-01T22:00:00Z")
		}
		req.NotBefore = &at
	}
	if err := setSources(t.trainData, &req.TrainDataPath, &req.TrainData); err != nil {
		return req, err
	}
	if t.targetSet {
		if control, ok := overrides["control"].(map[string]any); ok && control["target_s"] != nil {
			return req, scu.Errorf(scu.CodeInvalid, "set twice, by --target-s and by the configuration").At("control.target_s").WithHint("leave one out")
		}
		req.TargetS = &t.targetS
	}
	if info, err := os.Stat(t.baseModel); err == nil && info.IsDir() {
		if req.BaseModel, err = filepath.Abs(t.baseModel); err != nil {
			return req, err
		}
	}
	return req, nil
}

// overrides reads --config and lays each --set over it.
func (t *submission) overrides() (map[string]any, error) {
	out := map[string]any{}
	if t.configFile != "" {
		b, err := os.ReadFile(t.configFile)
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "--config: %w", err)
		}
		if err := decodeObject("--config "+t.configFile, b, &out); err != nil {
			return nil, err
		}
	}
	return out, t.lay(out)
}

// lay puts each --set over m.
func (t *submission) lay(m map[string]any) error {
	for _, set := range t.set {
		path, text, ok := strings.Cut(set, "=")
		if !ok || path == "" {
			return scu.Errorf(scu.CodeInvalid, "--set %q is not of the form field=value", set).WithHint("for example --set lora.r=8")
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text // a plain word
		}
		if err := put(m, path, value); err != nil {
			return err
		}
	}
	return nil
}

// decodeObject reads configuration fields from a JSON text called name, which Windows' editors
// may have begun with a byte order mark.
func decodeObject(name string, text []byte, out *map[string]any) error {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if err := json.Unmarshal(text, out); err != nil {
		return scu.Errorf(scu.CodeInvalid, "%s: %s", name, where(text, err)).WithHint(`it is one JSON object, as {"epochs": 3, "lora": {"r": 8}}`)
	}
	if field, repeated := scu.RepeatedField(text); repeated {
		return scu.Errorf(scu.CodeInvalid, "%s: set more than once", name).At(field).WithHint("leave one, with all that you want: of two the last alone would count")
	}
	return nil
}

// where says on which line of a JSON text an error lies.
func where(text []byte, err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + strings.Count(string(text[:min(int(syntax.Offset), len(text))]), "\n")
		if strings.HasPrefix(err.Error(), "unexpected end") {
			return fmt.Sprintf("line %d: the JSON breaks off", line)
		}
		return fmt.Sprintf("line %d: %v", line, err)
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return "it holds a JSON " + kind.Value
	}
	return err.Error()
}

// put sets the field at a dotted path.
func put(m map[string]any, path string, value any) error {
	for {
		key, rest, deeper := strings.Cut(path, ".")
		if !deeper {
			m[key] = value
			return nil
		}
		next, ok := m[key].(map[string]any)
		if !ok {
			if m[key] != nil {
				return scu.Errorf(scu.CodeInvalid, "%s is not an object", key).At(key)
			}
			next = map[string]any{}
			m[key] = next
		}
		m, path = next, rest
	}
}

// uploadAll sends the local files that a request names, and names the uploads instead.
func (a *app) uploadAll(ctx context.Context, api *client.Client, req *client.SubmitRequest) (err error) {
	if err := a.uploadData(ctx, api, req); err != nil {
		return err
	}
	if req.OtherDataPath, err = a.upload(ctx, api, req.OtherDataPath); err != nil {
		return err
	}
	req.FromAdapter, err = a.uploadAdapter(ctx, api, req.FromAdapter)
	return err
}

// upload sends a local file and returns what the server is told of it.
func (a *app) upload(ctx context.Context, api *client.Client, data string) (string, error) {
	if path, ok := strings.CutPrefix(data, "server:"); ok {
		return path, nil
	}
	if id := scu.OwnID(data); scu.ValidFileID(id) {
		return id, nil
	}
	if data == "" || strings.HasPrefix(data, "http://") || strings.HasPrefix(data, "https://") || strings.HasPrefix(data, "hf://") {
		return data, nil
	}
	progress, done := a.bytesBar("uploading " + filepath.Base(data))
	f, err := api.UploadFile(ctx, data, progress)
	done()
	return f.ID, err
}

// wait shows a job until its end, and says how it ended. told are the warnings that
// were shown before.
func (a *app) wait(ctx context.Context, api *client.Client, id string, told []string) error {
	show := a.newDisplay(told...)
	if a.json {
		show = silent{}
	}
	last, err := follow(ctx, api, id, show)
	if err != nil {
		if ctx.Err() != nil && !a.json {
			fmt.Fprintf(a.err, "scu: the job goes on; follow it with: scu watch %s, end it with: scu stop %s (keeps what it has learned) or: scu cancel %s\n", id, id, id)
		}
		return err
	}
	if a.json {
		if err := printJSON(a.out, last); err != nil {
			return err
		}
		return outcome(last)
	}
	if err := outcome(last); err != nil {
		return err
	}
	return a.tellResult(ctx, api, id)
}

// tellResult prints what a completed job amounts to.
func (a *app) tellResult(ctx context.Context, api *client.Client, id string) error {
	job, err := api.Job(ctx, id)
	if err != nil {
		return err
	}
	if job.Adapter == nil {
		return scu.Errorf(scu.CodeInternal, "job %s is completed without an adapter", id)
	}
	s := job.Adapter.Metrics
	fmt.Fprintf(a.out, "Completed: %s, %s in %.1f s\n", thousandsOf(int64(s.Steps), "step"), thousandsOf(s.Tokens, "token"), s.Seconds)
	if s.EndedEarly != "" {
		fmt.Fprintf(a.out, "Ended early %s\n", s.EndedEarly)
	}
	if s.ValLossBefore != nil && s.ValLossAfter != nil {
		fmt.Fprintf(a.out, "Validation loss: %.4f before, %.4f after (nats a token)\n", *s.ValLossBefore, *s.ValLossAfter)
	}
	if s.OtherLossBefore != nil && s.OtherLossAfter != nil {
		fmt.Fprintf(a.out, "Loss on the text of another kind: %.4f before, %.4f after\n", *s.OtherLossBefore, *s.OtherLossAfter)
	}
	if s.KeptStep != s.Steps && s.ValLossLast != nil {
		fmt.Fprintf(a.out, "Kept: the weights of step %d; the last, of step %d, have a validation loss of %.4f\n", s.KeptStep, s.Steps, *s.ValLossLast)
	}
	fmt.Fprintf(a.out, "At the end: loss %.4f with the regulariser, CE %.4f, %s, lambda %s\n", s.Loss, s.CE, shareText(s.S, s.TargetS), lambdaText(s.Lambda, s.LambdaMin, s.LambdaMax))
	if job.Adapter.HubID != "" {
		fmt.Fprintf(a.out, "On the Hub: %s\n", job.Adapter.HubID)
	} else if job.Adapter.HubError != "" {
		fmt.Fprintln(a.err, "scu: warning: not uploaded to the Hub:", job.Adapter.HubError)
	}
	fmt.Fprintf(a.out, "Draw its steps with: scu plot %s\nFetch the adapter with: scu download %s --output-dir adapters\n", id, id)
	return nil
}

// outcome is the error of a job that ended otherwise than completed.
func outcome(s client.JobStatus) error {
	switch s.Status {
	case scu.Failed:
		if s.Error != nil {
			return &jobFailed{s.Error}
		}
		return &jobFailed{scu.Errorf(scu.CodeInternal, "job %s failed", s.JobID)}
	case scu.Cancelled:
		return scu.Errorf(scu.CodeCancelled, "job %s was cancelled", s.JobID)
	}
	return nil
}
