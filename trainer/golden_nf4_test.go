package trainer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// misreadNF4 is the base model of a reference run with NF4 as bitsandbytes' code
// for AVX-512 reads it; ok is false where that is no different.
//
// That code (dequantizeBlockwise4bitCpu, in 0.50 at least) takes a row's scales
// from row*(columns/64) on. Where the columns are a multiple of 16, which it is
// made for, and not of 64, those are the scales of other blocks: the weights are
// three times as far from what they were. bitsandbytes' other code and CUDA read
// each block's own, and so does the trainer; no model in use has such columns. But
// reference runs made on such a machine have them, and what follows is compared
// with their weights: those matrices are kept in F32, misread, and the others as
// bitsandbytes stores them.
func misreadNF4(t *testing.T, base string) (folder string, ok bool) {
	spec, err := model.ReadSpec(base)
	must(t, err)
	files, err := safetensors.OpenModel(base)
	must(t, err)
	defer files.Close()
	var tensors []safetensors.Tensor
	for _, name := range files.Names() {
		w, _ := files.Tensor(name)
		if !isLinear(spec, name) {
			tensors = append(tensors, w)
			continue
		}
		m, err := nf4.Quantize(w)
		must(t, err)
		if cols := w.Shape[1]; cols%16 == 0 && cols%kernels.NF4Block != 0 {
			ok = true
			tensors = append(tensors, safetensors.FromFloat32(name, w.Shape, misread(m.Quantized(), cols)))
			continue
		}
		tensors = append(tensors, stored(t, w, m)...)
	}
	folder = t.TempDir()
	config, err := os.ReadFile(filepath.Join(base, "config.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(folder, "config.json"), config, 0o644))
	f, err := os.Create(filepath.Join(folder, safetensors.SingleFile))
	must(t, err)
	defer f.Close()
	must(t, safetensors.Write(f, nil, tensors))
	return folder, ok
}

// isLinear reports whether a tensor is the weight of a linear layer of the blocks.
func isLinear(spec *model.Spec, name string) bool {
	for _, l := range spec.Linears() {
		full := l.Path + ".weight"
		if !l.Conv1D && (full == name || strings.HasSuffix(full, "."+name)) {
			return true
		}
	}
	return false
}

func misread(q kernels.Quantized, cols int) []float32 {
	scales := q.Absmax
	q.Absmax = make([]float32, len(scales))
	for i := range q.Absmax {
		q.Absmax[i] = 1
	}
	w := make([]float32, q.N)
	for i := range w {
		row, col := i/cols, i%cols
		w[i] = q.At(i) * scales[row*(cols/kernels.NF4Block)+col/kernels.NF4Block]
	}
	return w
}

// stored is what bitsandbytes saves for a quantised weight.
func stored(t *testing.T, w safetensors.Tensor, m *nf4.Matrix) []safetensors.Tensor {
	state, err := json.Marshal(nf4.State{QuantType: "nf4", BlockSize: kernels.NF4Block, DType: "float32", Shape: w.Shape,
		NestedBlockSize: 256, NestedDType: "float32", NestedOffset: new(float64(m.Scales.Offset))})
	must(t, err)
	raw := func(suffix string, data []byte, shape ...int) safetensors.Tensor {
		return safetensors.Tensor{Name: w.Name + suffix, DType: safetensors.U8, Shape: shape, Data: data}
	}
	floats := func(suffix string, v []float32) safetensors.Tensor {
		return safetensors.FromFloat32(w.Name+suffix, []int{len(v)}, v)
	}
	return []safetensors.Tensor{
		raw("", m.Packed, len(m.Packed), 1),
		raw(".absmax", m.Scales.Codes, len(m.Scales.Codes)),
		raw(".quant_state.bitsandbytes__nf4", state, len(state)),
		floats(".quant_map", kernels.NF4Levels[:]),
		floats(".nested_absmax", m.Scales.Absmax),
		floats(".nested_quant_map", m.Scales.Map[:]),
	}
}
