// Package merge folds a LoRA adapter into its base model: W + scale B A for each
// adapted module, in the base's own types, so that what comes out is an ordinary
// model folder that needs no PEFT.
package merge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"scu"
	"scu/kernels"
	"scu/trainer/base"
	"scu/trainer/lora"
	"scu/trainer/model"
	"scu/trainer/safetensors"
)

// ShardBytes is the most bytes of weights in one file: Transformers' own limit.
const ShardBytes = 5_000_000_000

// Options of a merge.
type Options struct {
	Base, Adapter string // folders
	Out           string // a folder that doesn't exist yet, or is empty
	ShardBytes    int64  // 0: ShardBytes
}

// Run merges. Nothing is left at Out after an error.
func Run(ctx context.Context, dev kernels.Device, o Options) (err error) {
	if o.ShardBytes == 0 {
		o.ShardBytes = ShardBytes
	}
	m, err := base.Open(o.Base)
	if err != nil {
		return err
	}
	defer m.Close()
	cfg, _, err := lora.ReadConfig(o.Adapter)
	if err != nil {
		return err
	}
	modules, err := m.Modules(cfg)
	if err != nil {
		return err
	}
	param, err := lora.ReadWeights(o.Adapter, modules)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(o.Out); err == nil && len(entries) > 0 {
		return scu.Errorf(scu.CodeConflict, "%s is not empty", o.Out).WithHint("choose another folder")
	}
	tmp := strings.TrimRight(o.Out, "/") + ".partial"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return scu.Errorf(scu.CodeInvalid, "the output folder can't be made: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	g := merger{dev: dev, spec: m.Spec, files: m.Files, param: param, byWeight: map[string]lora.Module{}}
	for _, x := range modules {
		g.byWeight[x.Path+".weight"] = x
	}
	if err := g.write(ctx, tmp, o.ShardBytes); err != nil {
		return err
	}
	for _, name := range append([]string{"config.json", "generation_config.json"}, base.TokenizerFiles...) {
		if err := copyFile(filepath.Join(tmp, name), filepath.Join(o.Base, name)); err != nil {
			return err
		}
	}
	if err := os.Remove(o.Out); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Rename(tmp, o.Out)
}

type merger struct {
	dev      kernels.Device
	spec     *model.Spec
	files    *safetensors.Model
	param    []float32
	byWeight map[string]lora.Module
	merged   int
}

// write puts the tensors into as few files as the limit allows, with the merged
// weights of one file in memory at a time.
func (g *merger) write(ctx context.Context, dir string, limit int64) error {
	names := g.files.Names()
	var shards [][]string
	var size int64
	for _, n := range names {
		t, _ := g.files.Tensor(n)
		if len(shards) == 0 || size+int64(len(t.Data)) > limit {
			shards, size = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], n)
		size += int64(len(t.Data))
	}
	index := struct {
		Metadata  map[string]int64  `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int64{}, map[string]string{}}
	for i, names := range shards {
		file := safetensors.SingleFile
		if len(shards) > 1 {
			file = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		var tensors []safetensors.Tensor
		for _, n := range names {
			t, err := g.tensor(ctx, n)
			if err != nil {
				return err
			}
			tensors = append(tensors, t)
			index.WeightMap[n] = file
			index.Metadata["total_size"] += int64(len(t.Data))
		}
		if err := writeFile(filepath.Join(dir, file), tensors); err != nil {
			return err
		}
	}
	if g.merged != len(g.byWeight) {
		return scu.Errorf(scu.CodeInvalid, "the adapter has %d modules, the checkpoint weights for %d of them", len(g.byWeight), g.merged)
	}
	if len(shards) == 1 {
		return nil
	}
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, safetensors.IndexFile), append(b, '\n'), 0o644)
}

// tensor is a tensor of the merged model: the base's own bytes where no adapter
// touches it.
func (g *merger) tensor(ctx context.Context, name string) (safetensors.Tensor, error) {
	t, _ := g.files.Tensor(name)
	if err := ctx.Err(); err != nil {
		return t, err
	}
	full := name
	x, ok := g.byWeight[full]
	for _, p := range g.spec.Prefixes { // a checkpoint saved without the outer module
		if !ok && strings.HasPrefix(name, p.Stored) {
			full = p.Full + strings.TrimPrefix(name, p.Stored)
			x, ok = g.byWeight[full]
		}
	}
	if !ok {
		return t, nil
	}
	g.merged++
	w, err := t.Float32()
	if err != nil {
		return t, err
	}
	if err := g.add(w, x); err != nil {
		return t, err
	}
	return safetensors.FromFloat32As(t.DType, name, t.Shape, w)
}

// add is w += scale B A, or its transpose where the weight is stored [In,Out].
func (g *merger) add(w []float32, x lora.Module) error {
	upload := func(v []float32) (kernels.Buffer, error) {
		b, err := g.dev.Alloc(kernels.F32, len(v))
		if err == nil {
			g.dev.WriteF32(b, v)
		}
		return b, err
	}
	wb, err := upload(w)
	if err != nil {
		return err
	}
	defer g.dev.Free(wb)
	ab, err := upload(g.param[x.AOff:x.BOff])
	if err != nil {
		return err
	}
	defer g.dev.Free(ab)
	bb, err := upload(g.param[x.BOff : x.BOff+x.Out*x.R])
	if err != nil {
		return err
	}
	defer g.dev.Free(bb)
	a, b := kernels.Matrix(ab, x.R, x.In), kernels.Matrix(bb, x.Out, x.R)
	if x.Conv1D {
		g.dev.MatMul(kernels.MatMul{Dst: kernels.Matrix(wb, x.In, x.Out), A: a, B: b, TransA: true, TransB: true, Alpha: x.Scale, Beta: 1})
	} else {
		g.dev.MatMul(kernels.MatMul{Dst: kernels.Matrix(wb, x.Out, x.In), A: b, B: a, Alpha: x.Scale, Beta: 1})
	}
	return g.dev.ReadF32(w, wb)
}

func writeFile(path string, tensors []safetensors.Tensor) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := safetensors.Write(w, map[string]string{"format": "pt"}, tensors); err != nil {
		return err
	}
	return w.Flush()
}

// copyFile copies a file that may be missing.
func copyFile(dst, src string) error {
	b, err := os.ReadFile(src)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o644)
}
