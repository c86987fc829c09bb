package trainer

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
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

// artifacts are an adapter's files. They are a function of the job's config, data (with
// its name) and model alone: no times, no names of jobs or machines.
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
	training := base.Training{Config: cfg, BaseFingerprint: base.WeightsID(r.base.Weights), TrainData: dataFile(r.job.TrainData)}
	for i, x := range r.sources {
		f := r.job.Sources[i].File
		training.Sources = append(training.Sources, base.DataSource{SourceReport: x, SHA256: f.ID, Size: f.Size})
	}
	if r.job.ValData != nil {
		val := dataFile(*r.job.ValData)
		training.ValData = &val
	}
	settings, err := json.MarshalIndent(training, "", "  ")
	if err != nil {
		return nil, err
	}
	out := []artifact{
		{lora.WeightsFile, weights}, {lora.ConfigFile, config},
		{base.TrainingFile, append(settings, '\n')}, {metricsFile, r.csv.Bytes()}, {modelCardFile, r.card(summary, note)},
	}
	tokenizer, err := r.base.TokenizerCopy()
	if err != nil {
		return nil, err
	}
	for _, f := range tokenizer {
		out = append(out, artifact{f.Name, f.Data})
	}
	return out, nil
}

func dataFile(f scu.File) base.DataFile {
	return base.DataFile{Name: f.Name, SHA256: f.ID, Size: f.Size}
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
	otherLast, otherKept, err := r.otherLosses(ctx, param, step)
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
	summary.OtherLossBefore, summary.OtherLossAfter, summary.OtherLossLast = r.losses.OtherBefore, otherKept, otherLast
	summary.Warnings = verdict(r.job.Config.Control, summary, r.bound)
	files, err := r.artifacts(param, summary, "")
	if err != nil {
		return err
	}
	size, sum, err := r.putAdapter(ctx, files)
	if err != nil {
		return err
	}
	r.adapter = scu.Adapter{
		JobID: r.job.ID, BaseModel: r.job.BaseModel, Name: r.job.ID + "_adapter.zip", Size: size, SHA256: sum, Files: describe(files),
		Metrics: summary, CreatedAt: time.Now().UTC(),
	}
	r.adapter.Metrics.Seconds = r.job.RanSeconds + took.Seconds()
	if !r.job.Config.AutoUploadToHub {
		return nil
	}
	if err := r.begin(ctx, scu.Uploading, nil); err != nil {
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
