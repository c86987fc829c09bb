package trainer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/reference"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
	"github.com/shannon-control/scu/trainer/session"
)

// What rows come to in Transformers, one at a time: testdata/rows.json, made by
// scripts/interop/rows.py.
type rowsAlone struct {
	Models map[string]struct {
		Rows []struct {
			IDs    []int32
			Prompt int     // tokens that don't count
			Loss   float64 // nats, of all targets
		}
		Gradients map[string][2]float64 // norm, and product with the weights
	}
}

const (
	tolRow     = 1e-5 // nats a token
	tolRowGrad = 5e-5 // of a tensor's gradient, relative
)

// TestRows: a row's loss in any packing is that of the row alone in Transformers,
// and so is the gradient of all of them, in every family and with every window.
func TestRows(t *testing.T) {
	var want rowsAlone
	b, err := os.ReadFile("testdata/rows.json")
	must(t, err)
	must(t, json.Unmarshal(b, &want))
	if len(want.Models) < 15 {
		t.Fatalf("%d models", len(want.Models))
	}
	for name, device := range map[string]func() (kernels.Device, error){
		"reference": func() (kernels.Device, error) { return reference.New(kernels.F32), nil },
		"cpu":       func() (kernels.Device, error) { return cpu.New(2) },
	} {
		for family := range want.Models {
			t.Run(family+"/"+name, func(t *testing.T) {
				t.Parallel()
				dev, err := device()
				must(t, err)
				defer dev.Close()
				testRows(t, dev, family, want)
			})
		}
	}
}

func testRows(t *testing.T, dev kernels.Device, family string, want rowsAlone) {
	rows, gradients := want.Models[family].Rows, want.Models[family].Gradients
	dir := filepath.Join("testdata/goldens", family)
	spec, err := model.ReadSpec(filepath.Join(dir, "model"))
	must(t, err)
	// Rows beyond a model's positions are in no job: there the rotation depends on the
	// length of the whole input.
	length, fit := min(64, spec.Positions), 0
	for fit < len(rows) && len(rows[fit].IDs) <= length {
		fit++
	}
	all := fit == len(rows)
	rows = rows[:fit]
	var file strings.Builder
	targets := map[string]int{} // of each row, by its text
	for _, r := range rows {
		prompt, completion := words(r.IDs[:r.Prompt]), words(r.IDs[r.Prompt:])
		line, err := json.Marshal(map[string]string{"prompt": prompt, "completion": completion})
		must(t, err)
		file.Write(append(line, '\n'))
		targets[prompt+completion] = len(r.IDs) - max(1, r.Prompt)
	}
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	must(t, os.WriteFile(path, []byte(file.String()), 0o600))

	files, err := safetensors.OpenModel(filepath.Join(dir, "model"))
	must(t, err)
	defer files.Close()
	weights, err := model.Load(dev, spec, files, length)
	must(t, err)
	defer weights.Close()
	modules, init, err := lora.Read(filepath.Join(dir, "adapter_init"), spec.Targets(), spec.DefaultTargets)
	must(t, err)

	for _, packing := range []string{scu.PackRows, scu.PackOff} {
		for _, batch := range []int{1, 3} {
			set, _, err := data.Open(context.Background(), path, "rows.jsonl", wordTokens{}, data.Options{BlockSize: length, TrainOn: scu.TrainOnCompletion, Packing: packing})
			must(t, err)
			defer set.Close()
			if packing == scu.PackRows && set.Blocks() > 5 {
				t.Errorf("%d rows lie in %d blocks", len(rows), set.Blocks())
			}
			s, err := session.New(dev, weights, modules, init, session.Config{
				Control: scu.DefaultConfig().Control, PriorSigma: 0.1, EpochTokens: set.Tokens(), Steps: 1, MicroBatches: set.Blocks(),
				Workspace: model.WorkspaceOptions{Batch: batch, Len: length, Training: true},
			})
			must(t, err)
			defer s.Close()

			got := map[string]float64{}
			var micros []model.Batch
			for b, err := range set.Batches(batch) {
				must(t, err)
				micros = append(micros, model.Batch(b))
				must(t, s.Decoder.Loss(context.Background(), s.Work, model.Batch(b)))
				losses := make([]float32, b.Rows*b.Len)
				must(t, dev.ReadF32(losses, s.Work.Losses.Slice(0, len(losses))))
				for text, loss := range byRow(b, losses) {
					got[text] += loss
				}
			}
			for _, r := range rows {
				text := words(r.IDs)
				loss, ok := got[text]
				if e := math.Abs(loss-r.Loss) / float64(targets[text]); !ok || !(e <= tolRow) {
					t.Errorf("packing %s, %d a batch: a row of %d tokens, %d of them the prompt's, has a loss of %v; alone %v: off by %.1e nats a token", packing, batch, len(r.IDs), r.Prompt, loss, r.Loss, e)
				}
			}

			var result session.Result
			must(t, s.Gradient(context.Background(), micros, &result))
			grad := make([]float32, lora.Count(modules))
			must(t, dev.ReadF32(grad, s.Grad))
			if all {
				compareGradients(t, modules, grad, init, float64(result.Targets), gradients)
			}
		}
	}
}

// compareGradients holds the gradient of the mean loss against that of the sum.
func compareGradients(t *testing.T, modules []lora.Module, grad, param []float32, targets float64, want map[string][2]float64) {
	t.Helper()
	seen := 0
	for _, m := range modules {
		for part, at := range map[string][2]int{"lora_A": {m.AOff, m.BOff}, "lora_B": {m.BOff, m.BOff + m.Out*m.R}} {
			name := "base_model.model." + m.Path + "." + part + ".weight"
			w, ok := want[name]
			if ok { // otherwise nothing reads the module there, and its gradient is 0
				seen++
			}
			var squares, product, weights float64
			for i := at[0]; i < at[1]; i++ {
				g, p := float64(grad[i])*targets, float64(param[i])
				squares, product, weights = squares+g*g, product+g*p, weights+p*p
			}
			if norm := math.Sqrt(squares); !(math.Abs(norm-w[0]) <= tolRowGrad*w[0]) || !(math.Abs(product-w[1]) <= tolRowGrad*w[0]*math.Sqrt(weights)) {
				t.Errorf("%s: a gradient of norm %v and product %v, want %v", name, norm, product, w)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d tensors, want %d", seen, len(want))
	}
}

// byRow sums the losses of each row of a batch, by its text.
func byRow(b data.Batch, losses []float32) map[string]float64 {
	got := map[string]float64{}
	for row := range b.Rows {
		at := row * b.Len
		for from := 0; from < b.Len; {
			to := from + 1
			for to < b.Len && (b.Starts == nil || b.Starts[at+to] == b.Starts[at+from]) {
				to++
			}
			sum := 0.0
			for i := from; i < to; i++ {
				if b.Targets[at+i] >= 0 {
					sum += float64(losses[at+i])
				}
			}
			ids := b.IDs[at+from : at+to]
			if end := slices.Index(ids, 0); end >= 0 {
				ids = ids[:end+1] // padding is more of the end-of-text
			}
			got[words(ids)] += sum
			from = to
		}
	}
	return got
}

// words is a text of ids.
func words(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "%d ", id)
	}
	return b.String()
}

// wordTokens reads ids.
type wordTokens struct{}

func (wordTokens) AppendEncode(dst []int32, text string) []int32 {
	for _, w := range strings.Fields(text) {
		id, err := strconv.Atoi(w)
		if err != nil {
			panic(err)
		}
		dst = append(dst, int32(id))
	}
	return dst
}

func (wordTokens) Decode(ids []int32, _ bool) string { return words(ids) }
