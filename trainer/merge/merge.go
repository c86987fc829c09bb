// Package merge folds a LoRA adapter into its base model: W + scale B A for each
// adapted module, in the base's own types, so that what comes out is an ordinary
// model folder that needs no PEFT.
package merge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// ShardBytes is the most bytes of weights in one file, but for a single tensor
// with more: as Transformers writes them.
const ShardBytes = 5_000_000_000

// Options of a merge.
type Options struct {
	Base, Adapter string // folders
	Out           string // a folder that doesn't exist yet, or is empty
	ShardBytes    int64  // 0: ShardBytes
}

// Result says what was written.
type Result struct {
	Modules int   `json:"modules"` // that the adapter changed
	Tensors int   `json:"tensors"` // in all
	Files   int   `json:"files"`   // of weights
	Bytes   int64 `json:"bytes"`   // of weights
}

// besides are the files of the base that the merged model takes over.
var besides = slices.Concat([]string{"config.json", "generation_config.json", "added_tokens.json", "tokenizer.model"}, base.TokenizerFiles)

// Run merges. Out appears whole or not at all. The merged weights of one file are
// held in memory at a time.
func Run(ctx context.Context, dev kernels.Device, o Options) (r Result, err error) {
	if o.ShardBytes == 0 {
		o.ShardBytes = ShardBytes
	}
	spec, err := model.ReadSpec(o.Base)
	if err != nil {
		return r, base.Within("base_model", err)
	}
	files, err := safetensors.OpenModel(o.Base)
	if err != nil {
		return r, scu.Errorf(scu.CodeInvalid, "the model's weights can't be read: %w", err).At("base_model")
	}
	defer files.Close()
	if err := model.CheckFiles(spec, files); err != nil {
		return r, base.Within("base_model", err)
	}
	if err := base.SameBase(o.Adapter, files); err != nil {
		return r, err
	}
	g := &merger{dev: dev, spec: spec, files: files, byWeight: map[string]lora.Module{}, wide: map[string]wide{}}
	if err := g.findWide(); err != nil {
		return r, base.Within("base_model", err)
	}
	if err := g.readAdapter(o.Adapter); err != nil {
		return r, base.Within("adapter", err)
	}
	if err := vacant(o.Out); err != nil {
		return r, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(o.Out)), ".merge-*")
	if err != nil {
		return r, scu.Errorf(scu.CodeInvalid, "the output folder can't be made: %w", err).At("out")
	}
	defer os.RemoveAll(tmp) // once renamed there is none
	if r, err = g.write(ctx, tmp, o.ShardBytes); err != nil {
		return r, err
	}
	for _, name := range besides {
		if err := copyFile(filepath.Join(tmp, name), filepath.Join(o.Base, name)); err != nil {
			return r, err
		}
	}
	if err := g.editConfig(filepath.Join(tmp, "config.json")); err != nil {
		return r, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return r, err
	}
	if err := os.Remove(o.Out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	return r, os.Rename(tmp, o.Out)
}

// vacant refuses an output folder that holds something.
func vacant(out string) error {
	entries, err := os.ReadDir(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return scu.Errorf(scu.CodeInvalid, "not a folder: %w", err).At("out")
	case len(entries) > 0:
		return scu.Errorf(scu.CodeConflict, "%s is not empty", out).At("out").WithHint("choose another folder")
	}
	return nil
}

type merger struct {
	dev      kernels.Device
	spec     *model.Spec
	files    *safetensors.Model
	param    []float32
	byWeight map[string]lora.Module // by the name that the files have the weight under
	wide     map[string]wide        // likewise, those in 4 bits
	merged   int

	// untied are embedding and output head by the names that the merged model has them
	// under, where they are one weight of the base and the adapter is on the head.
	untied map[string]safetensors.Tensor
}

func (g *merger) readAdapter(dir string) error {
	modules, param, err := lora.Read(dir, g.spec.Targets(), g.spec.DefaultTargets)
	if err != nil {
		return err
	}
	g.param = param
	for _, x := range modules {
		name := x.Path + ".weight"
		if t, ok := g.spec.Tensor(g.files, name); ok {
			name = t.Name
		} else if x.Head {
			for _, p := range g.spec.Prefixes { // checkpoints hold it under its old name
				if rest, has := strings.CutPrefix(name, p.Full); has {
					name = p.Stored + rest
				}
			}
		}
		if x.Head && g.spec.TiedHead {
			g.untie(name)
		}
		g.byWeight[name] = x
	}
	return nil
}

// untie makes two weights of the one that the files hold, for the embedding and for the
// head of that name.
func (g *merger) untie(head string) {
	one, _ := g.spec.Tensor(g.files, g.spec.Embed)
	embed := one.Name
	if embed == head { // they may hold the one weight under the head's name alone
		embed = g.spec.Embed
	}
	g.untied = map[string]safetensors.Tensor{}
	for _, name := range []string{embed, head} {
		one.Name = name
		g.untied[name] = one
	}
}

// names are those of the merged model's tensors.
func (g *merger) names() []string {
	names := slices.DeleteFunc(slices.Clone(g.files.Names()), g.besideWide)
	for _, n := range slices.Sorted(maps.Keys(g.untied)) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// source is the tensor of the base that becomes the merged model's of that name.
func (g *merger) source(name string) safetensors.Tensor {
	t, ok := g.untied[name]
	if !ok {
		t, _ = g.files.Tensor(name)
	}
	return t
}

// write puts the tensors into as few files as the limit allows.
func (g *merger) write(ctx context.Context, dir string, limit int64) (r Result, err error) {
	shards := g.shards(limit)
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
				return r, err
			}
			tensors = append(tensors, t)
			index.WeightMap[n] = file
			r.Bytes += int64(len(t.Data))
		}
		if err := writeFile(filepath.Join(dir, file), tensors); err != nil {
			return r, scu.Errorf(scu.CodeStorage, "the merged model can't be written: %w", err).At("out")
		}
	}
	if g.merged != len(g.byWeight) {
		return r, scu.Errorf(scu.CodeInvalid, "the adapter has %d modules, the checkpoint weights for %d of them", len(g.byWeight), g.merged).At("adapter")
	}
	r.Modules, r.Tensors, r.Files = g.merged, len(index.WeightMap), len(shards)
	if len(shards) == 1 {
		return r, nil
	}
	index.Metadata["total_size"] = r.Bytes
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return r, err
	}
	return r, os.WriteFile(filepath.Join(dir, safetensors.IndexFile), append(b, '\n'), 0o644)
}

// shards are the names of each file's tensors.
func (g *merger) shards(limit int64) (shards [][]string) {
	var size int64
	for _, n := range g.names() {
		if len(shards) == 0 || size+g.size(n) > limit {
			shards, size = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], n)
		size += g.size(n)
	}
	return shards
}

// tensor is a tensor of the merged model: the base's own bytes where no adapter
// touches it, unless they are 4 bits.
func (g *merger) tensor(ctx context.Context, name string) (safetensors.Tensor, error) {
	t := g.source(name)
	if err := ctx.Err(); err != nil {
		return t, err
	}
	x, adapted := g.byWeight[name]
	packed, isWide := g.wide[name]
	var w []float32
	var err error
	switch {
	case isWide:
		t, w, err = packed.widened(name)
	case adapted:
		w, err = t.Float32()
	default:
		return t, nil
	}
	if err != nil {
		return t, err
	}
	if adapted {
		g.merged++
		if err := g.add(w, x); err != nil {
			return t, err
		}
	}
	out, err := safetensors.FromFloat32As(t.DType, name, t.Shape, w)
	if err != nil {
		return t, scu.Errorf(scu.CodeUnsupported, "%w", err).At("base_model")
	}
	if t.DType == safetensors.F16 {
		for i, x := range w {
			if x >= 65520 || x <= -65520 || x != x { // rounds to an infinity
				return t, scu.Errorf(scu.CodeInvalid, "tensor %s: element %d is %v with the adapter, which F16 can't hold", name, i, x).At("adapter")
			}
		}
	}
	return out, nil
}

// add is w += scale B A, or its transpose where the weight is stored [In,Out].
func (g *merger) add(w []float32, x lora.Module) error {
	var owned []kernels.Buffer
	defer func() {
		for _, b := range owned {
			g.dev.Free(b)
		}
	}()
	var failed error
	upload := func(v []float32, rows, cols int) kernels.Mat {
		b, err := g.dev.Alloc(kernels.F32, len(v))
		if err != nil {
			failed = err
			return kernels.Mat{}
		}
		owned = append(owned, b)
		g.dev.WriteF32(b, v)
		return kernels.Matrix(b, rows, cols)
	}
	a, b := upload(g.param[x.AOff:x.BOff], x.R, x.In), upload(g.param[x.BOff:x.BOff+x.Out*x.R], x.Out, x.R)
	sum := kernels.MatMul{A: b, B: a, Alpha: x.Scale, Beta: 1}
	if x.Conv1D {
		sum.Dst = upload(w, x.In, x.Out)
		sum.A, sum.B, sum.TransA, sum.TransB = a, b, true, true
	} else {
		sum.Dst = upload(w, x.Out, x.In)
	}
	if failed != nil {
		return failed
	}
	g.dev.MatMul(sum)
	return g.dev.ReadF32(w, sum.Dst.Buf)
}

// editConfig makes a config.json say what else than the base's the merged model's weights
// are: those of a head that was the embedding, and those that were in 4 bits.
func (g *merger) editConfig(path string) error {
	if g.untied == nil && len(g.wide) == 0 {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(b, &config); err != nil {
		return err
	}
	if g.untied != nil {
		config["tie_word_embeddings"] = json.RawMessage("false")
	}
	if len(g.wide) > 0 {
		delete(config, "quantization_config")
	}
	if b, err = json.MarshalIndent(config, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
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
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o644)
}
