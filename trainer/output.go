package trainer

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// Names of the files beside PEFT's own.
const (
	metricsFile   = "training_metrics.csv"
	modelCardFile = "README.md"
)

// artifact is one file of an adapter's folder.
type artifact struct {
	name string
	data []byte
}

// artifacts are an adapter's files. They are a function of the job's config, data
// and model alone: no times, no names of jobs or machines.
func (r *run) artifacts(param []float32, summary scu.Summary, note string) ([]artifact, error) {
	weights, err := lora.Weights(r.modules, param)
	if err != nil {
		return nil, err
	}
	cfg := r.job.Config
	names := lora.Names(r.base.Spec.Targets(), r.base.Spec.DefaultTargets, cfg.LoRA)
	config, err := lora.PEFTConfig(cfg.Base(), names, r.modules, cfg.LoRA)
	if err != nil {
		return nil, err
	}
	training, err := json.MarshalIndent(base.Training{Config: cfg, BaseFingerprint: base.WeightsID(r.base.Files)}, "", "  ")
	if err != nil {
		return nil, err
	}
	out := []artifact{
		{lora.WeightsFile, weights}, {lora.ConfigFile, config},
		{base.TrainingFile, append(training, '\n')}, {metricsFile, r.csv.Bytes()}, {modelCardFile, r.card(summary, note)},
	}
	for _, name := range base.TokenizerFiles {
		b, err := os.ReadFile(filepath.Join(r.base.Dir, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, artifact{name, b})
	}
	return out, nil
}

// zipped writes files as a zip: weights stored, since they don't compress, and no
// times, so that the same files give the same bytes.
func zipped(w io.Writer, files []artifact) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		method := zip.Deflate
		if strings.HasSuffix(f.name, ".safetensors") {
			method = zip.Store
		}
		e, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: method})
		if err != nil {
			return err
		}
		if _, err := e.Write(f.data); err != nil {
			return err
		}
	}
	return z.Close()
}

func describe(files []artifact) []scu.AdapterFile {
	out := make([]scu.AdapterFile, len(files))
	for i, f := range files {
		sum := sha256.Sum256(f.data)
		out[i] = scu.AdapterFile{Name: f.name, Size: int64(len(f.data)), SHA256: hex.EncodeToString(sum[:])}
	}
	return out
}

// card is the model card, README.md, with the front matter that the Hub reads.
func (r *run) card(summary scu.Summary, note string) []byte {
	var b bytes.Buffer
	cfg, name := r.job.Config, r.job.BaseModel
	fmt.Fprintf(&b, "---\nlibrary_name: peft\nbase_model: %s\npipeline_tag: text-generation\ntags:\n- lora\n- transformers\n- base_model:adapter:%s\n---\n\n", yamlString(name), yamlString(name))
	fmt.Fprintf(&b, "# LoRA adapter for %s\n\n", name)
	fmt.Fprintf(&b, "Trained under a Shannon Control Unit: a controller that adapts the regularisation strength lambda so that the adapter's share of the information, S, stays at its target.\n\n")
	if note != "" {
		fmt.Fprintf(&b, "**%s**\n\n", note)
	}
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	row := func(k, format string, args ...any) { fmt.Fprintf(&b, "| %s | %s |\n", k, fmt.Sprintf(format, args...)) }
	row("rank, alpha", "%d, %g", cfg.LoRA.R, cfg.LoRA.Alpha)
	row("trainable parameters", "%d", lora.Count(r.modules))
	row("steps, tokens", "%d, %d", summary.Steps, r.tokens)
	row("weights", "after step %d of %d", summary.KeptStep, r.steps)
	if summary.EndedEarly != "" {
		row("ended early", "%s", summary.EndedEarly)
	}
	row("block size, batch, accumulation", "%d, %d, %d", cfg.BlockSize, cfg.BatchSize, cfg.GradientAccumulationSteps)
	row("learning rate", "%g", cfg.LearningRate)
	row("control law", "%s", cfg.Control.Law)
	row("target S, S at the end", "%g, %.4g", summary.TargetS, summary.S)
	row("lambda at the end", "%s", lambdaText(summary))
	if before, after := summary.ValLossBefore, summary.ValLossAfter; before != nil && after != nil {
		row("validation loss before, after, of the last step", "%.4f, %.4f, %.4f nats a token", *before, *after, *summary.ValLossLast)
	}
	if len(summary.Warnings) > 0 {
		fmt.Fprintf(&b, "\n")
	}
	for _, w := range summary.Warnings {
		fmt.Fprintf(&b, "- **Warning**: %s\n", w)
	}
	fmt.Fprintf(&b, "\nEvery step is in `%s`, every setting in `%s`.\n\n", metricsFile, base.TrainingFile)
	fmt.Fprintf(&b, "```python\nfrom transformers import AutoModelForCausalLM\nfrom peft import PeftModel\n\nmodel = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(%q), \"path/to/this/folder\")\n```\n", name)
	return b.Bytes()
}

func lambdaText(s scu.Summary) string {
	if s.LambdaMin == nil || s.LambdaMax == nil {
		return fmt.Sprintf("%.4g", s.Lambda)
	}
	return fmt.Sprintf("%.4g, at a bound (%g to %g)", s.Lambda, *s.LambdaMin, *s.LambdaMax)
}

// yamlString quotes what plain YAML would read otherwise.
func yamlString(s string) string {
	if strings.ContainsAny(s, ":#{}[]&*!|>'\"%@`\n\\ ") {
		b, _ := json.Marshal(s)
		return string(b)
	}
	return s
}

// summary is what the run amounts to so far, of an adapter with the weights of a step,
// whose S and validation loss these are.
func (r *run) summary(params, step int, s float64, loss *float64) scu.Summary {
	m := r.last
	return scu.Summary{
		Steps: m.Step, Tokens: r.tokens, Loss: m.Loss, CE: m.CE, KeptStep: step, KeptS: s,
		ValLossBefore: r.losses.Before, ValLossAfter: loss, ValLossLast: r.losses.Last,
		S: m.S, TargetS: m.TargetS, Lambda: m.LambdaNext, LambdaMin: m.LambdaMin, LambdaMax: m.LambdaMax, TrainableCount: int64(params),
	}
}

// save stores the adapter and uploads it where that is asked.
func (r *run) save(ctx context.Context, took time.Duration) error {
	param, step, s, err := r.kept()
	if err != nil {
		return err
	}
	r.release() // the copies of the weights that follow don't come on top of it
	for i, x := range param {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return scu.Errorf(scu.CodeInvalid, "training diverged: weight %d of the adapter is %v", i, x).WithHint("lower learning_rate")
		}
	}
	loss := r.losses.Last
	if r.best != nil && step == r.best.Step {
		loss = &r.best.ValLoss
	}
	summary := r.summary(len(param), step, s, loss)
	summary.EndedEarly = r.early
	summary.Warnings = verdict(r.job.Config.Control, summary, r.bound)
	files, err := r.artifacts(param, summary, "")
	if err != nil {
		return err
	}
	size, sum, err := r.put(ctx, scu.AdapterKey{Job: r.job.ID, Attempt: r.job.Attempt}, files)
	if err != nil {
		return err
	}
	r.adapter = scu.Adapter{
		JobID: r.job.ID, BaseModel: r.job.BaseModel, Name: r.job.ID + "_adapter.zip", Size: size, SHA256: sum, Files: describe(files),
		Summary: summary, CreatedAt: time.Now().UTC(),
	}
	r.adapter.Summary.Seconds = took.Seconds()
	if !r.job.Config.AutoUploadToHub {
		return nil
	}
	if err := r.begin(ctx, scu.Uploading, 0, nil); err != nil {
		return err
	}
	r.adapter.HubID, err = r.upload(ctx, files)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.adapter.HubError = err.Error()
		r.t.Log.Warn("adapter not uploaded", "job", r.job.ID, "error", err)
	}
	return nil
}
