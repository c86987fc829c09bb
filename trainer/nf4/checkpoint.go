package nf4

// Reading what bitsandbytes saved: a weight's codes under its own name, and beside
// it, under that name and a suffix, its scales and a description.

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// Lookup finds a tensor of a checkpoint by name.
type Lookup func(name string) (safetensors.Tensor, bool)

const (
	stateSuffix    = ".quant_state.bitsandbytes__nf4"
	stateSuffixFP4 = ".quant_state.bitsandbytes__fp4"
)

// IsStored reports whether the checkpoint holds the weight in 4 bits: whether a
// description lies beside it. Open refuses those that aren't NF4.
func IsStored(find Lookup, weight string) bool {
	_, nf4 := find(weight + stateSuffix)
	_, fp4 := find(weight + stateSuffixFP4)
	return nf4 || fp4
}

// State is a weight's description in a checkpoint, a JSON object. What
// bitsandbytes' own reader requires is required.
type State struct {
	QuantType string `json:"quant_type"`
	BlockSize int    `json:"blocksize"` // weights that share a scale
	DType     string `json:"dtype"`     // of the weights before: float32, float16 or bfloat16
	Shape     []int  `json:"shape"`

	// Of the scales, where they are quantised too.
	NestedBlockSize int      `json:"nested_blocksize"`
	NestedDType     string   `json:"nested_dtype"`
	NestedOffset    *float64 `json:"nested_offset"`
}

var typesBefore = map[string]safetensors.DType{"float32": safetensors.F32, "float16": safetensors.F16, "bfloat16": safetensors.BF16}

const (
	maxState = 1 << 16 // bytes of a description: real ones have about 200
	maxBlock = 4096    // weights that share a scale, in bitsandbytes
)

// ParseState reads a description and checks that it is one of NF4 weights that
// can be computed with. Errors name the field.
func ParseState(text []byte) (State, error) {
	var s State
	if len(text) > maxState {
		return s, scu.Errorf(scu.CodeInvalid, "%d bytes are too many", len(text))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, scu.Errorf(scu.CodeInvalid, "%w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s, scu.Errorf(scu.CodeInvalid, "something follows the JSON object")
	}
	switch {
	case s.QuantType != "nf4":
		return s, scu.Errorf(scu.CodeUnsupported, "quant_type is %q; nf4 is supported", s.QuantType)
	case s.BlockSize < 1 || s.BlockSize > maxBlock || s.BlockSize&(s.BlockSize-1) != 0:
		return s, scu.Errorf(scu.CodeInvalid, "blocksize is %d; want a power of two up to %d", s.BlockSize, maxBlock)
	case s.BlockSize < kernels.NF4Block:
		return s, scu.Errorf(scu.CodeUnsupported, "blocksize %d is not supported; %d and more are", s.BlockSize, kernels.NF4Block)
	case typesBefore[s.DType] == "":
		return s, scu.Errorf(scu.CodeInvalid, "dtype is %q; want float32, float16 or bfloat16", s.DType)
	case s.NestedOffset == nil && (s.NestedBlockSize != 0 || s.NestedDType != ""):
		return s, scu.Errorf(scu.CodeInvalid, "nested_offset is missing")
	case s.NestedOffset == nil:
		return s, nil
	case s.NestedBlockSize != scalesBlock:
		return s, scu.Errorf(scu.CodeUnsupported, "nested_blocksize %d is not supported; %d is", s.NestedBlockSize, scalesBlock)
	case s.NestedDType != "float32":
		return s, scu.Errorf(scu.CodeUnsupported, "nested_dtype %q is not supported; float32 is", s.NestedDType)
	case math.Abs(*s.NestedOffset) > math.MaxFloat32:
		return s, scu.Errorf(scu.CodeInvalid, "nested_offset %v is not a float32", *s.NestedOffset)
	}
	return s, nil
}

// Stored is a quantised matrix in a checkpoint: checked, and not yet read.
type Stored struct {
	state        State
	n            int
	weight       safetensors.Tensor
	absmax       safetensors.Tensor // a scale, or a scale's code, for each block
	nestedMap    safetensors.Tensor
	nestedAbsmax safetensors.Tensor
}

// Open finds what belongs to a 4-bit weight of rows x cols and checks types,
// shapes and lengths; of the data only the description and the levels are read,
// where they are there: a checkpoint of headers alone (safetensors.Outline) has
// neither. What can't be read exactly is CodeUnsupported. Errors name the tensor.
func Open(find Lookup, weight safetensors.Tensor, rows, cols int) (*Stored, error) {
	if _, fp4 := find(weight.Name + stateSuffixFP4); fp4 {
		return nil, scu.Errorf(scu.CodeUnsupported, "tensor %s is stored in bitsandbytes' fp4; of 4-bit weights only nf4 is supported", weight.Name)
	}
	s := &Stored{weight: weight, n: rows * cols}
	description, err := column(find, weight.Name+stateSuffix, -1, safetensors.U8)
	if err != nil {
		return nil, err
	}
	if description.Data != nil {
		s.state, err = ParseState(description.Data)
	} else {
		s.state, err = stateOf(find, weight.Name, rows, cols)
	}
	if err != nil {
		return nil, scu.Errorf(scu.CodeOf(err), "tensor %s: %w", description.Name, err)
	}
	if !slices.Equal(s.state.Shape, []int{rows, cols}) {
		return nil, scu.Errorf(scu.CodeInvalid, "tensor %s says shape %v; config.json says %v", description.Name, s.state.Shape, []int{rows, cols})
	}
	// The codes may be stored as bytes or as wider elements that hold them.
	size := max(weight.DType.Size(), 1)
	if n := int(weight.Size()); n != kernels.NF4.Bytes(s.n) || !slices.Equal(weight.Shape, []int{n / size, 1}) {
		return nil, scu.Errorf(scu.CodeInvalid, "tensor %s has %d bytes in shape %v; the codes of %d weights are %d in one column", weight.Name, n, weight.Shape, s.n, kernels.NF4.Bytes(s.n))
	}
	levels, err := column(find, weight.Name+".quant_map", len(kernels.NF4Levels), floats...)
	if err != nil {
		return nil, err
	}
	if levels.Data != nil {
		if v, err := levels.Float32(); err != nil || !slices.Equal(v, kernels.NF4Levels[:]) {
			return nil, scu.Errorf(scu.CodeUnsupported, "tensor %s holds other values than NF4's", levels.Name)
		}
	}
	scales := blocks(s.n, s.state.BlockSize)
	if s.state.NestedOffset == nil {
		s.absmax, err = column(find, weight.Name+".absmax", scales, floats...)
		return s, err
	}
	if s.absmax, err = column(find, weight.Name+".absmax", scales, safetensors.U8); err != nil {
		return nil, err
	}
	if s.nestedMap, err = column(find, weight.Name+".nested_quant_map", len(dynamicMap), floats...); err != nil {
		return nil, err
	}
	s.nestedAbsmax, err = column(find, weight.Name+".nested_absmax", blocks(scales, scalesBlock), floats...)
	return s, err
}

var floats = []safetensors.DType{safetensors.F32, safetensors.F16, safetensors.BF16}

// column finds a tensor of one dimension: n elements, or any number where n < 0,
// of one of the types.
func column(find Lookup, name string, n int, types ...safetensors.DType) (safetensors.Tensor, error) {
	t, ok := find(name)
	if !ok {
		return t, scu.Errorf(scu.CodeInvalid, "the checkpoint has no tensor %s, which the 4-bit weight needs", name)
	}
	if !slices.Contains(types, t.DType) {
		return t, scu.Errorf(scu.CodeInvalid, "tensor %s has type %s; want one of %v", name, t.DType, types)
	}
	size := int(t.Size())
	if n < 0 {
		n = size / t.DType.Size()
	}
	if !slices.Equal(t.Shape, []int{n}) || size != n*t.DType.Size() {
		return t, scu.Errorf(scu.CodeInvalid, "tensor %s has shape %v and %d bytes; want %d elements in one dimension", name, t.Shape, size, n)
	}
	return t, nil
}

// stateOf is what the types and shapes beside a weight tell of its description:
// whether the scales are quantised, and how many weights share one.
func stateOf(find Lookup, weight string, rows, cols int) (State, error) {
	s := State{QuantType: "nf4", BlockSize: kernels.NF4Block, Shape: []int{rows, cols}}
	absmax, ok := find(weight + ".absmax")
	if !ok {
		return s, nil // Open says so
	}
	if absmax.DType == safetensors.U8 {
		s.NestedOffset, s.NestedBlockSize = new(float64), scalesBlock
	}
	scales := int(absmax.Size()) / max(absmax.DType.Size(), 1)
	if scales > blocks(rows*cols, kernels.NF4Block) {
		return s, scu.Errorf(scu.CodeUnsupported, "%d scales are of blocks of fewer than %d weights, which are not supported", scales, kernels.NF4Block)
	}
	for s.BlockSize < maxBlock && blocks(rows*cols, s.BlockSize) > scales {
		s.BlockSize *= 2
	}
	return s, nil
}

// Before is the type of the weights before they were quantised.
func (s *Stored) Before() safetensors.DType { return typesBefore[s.state.DType] }

// Read gives the matrix with its scales widened. The codes stay where they are in
// the checkpoint. Weights aren't rounded to the dtype that they had before, as
// bitsandbytes' dequantize_4bit does. And each block has its own scale, also where
// that function errs on AVX-512 (rows of a multiple of 16 weights, not of 64).
func (s *Stored) Read() (kernels.Quantized, error) {
	q := kernels.Quantized{Packed: s.weight.Data, N: s.n}
	scales, err := s.scales()
	if err != nil {
		return q, err
	}
	// A larger block is several of ours with the same scale.
	each := s.state.BlockSize / kernels.NF4Block
	q.Absmax = make([]float32, blocks(s.n, kernels.NF4Block))
	for i := range q.Absmax {
		q.Absmax[i] = scales[i/each]
	}
	return q, nil
}

func (s *Stored) scales() ([]float32, error) {
	if s.state.NestedOffset == nil {
		return s.absmax.Float32()
	}
	values, err := s.nestedMap.Float32()
	if err != nil {
		return nil, err
	}
	absmax, err := s.nestedAbsmax.Float32()
	if err != nil {
		return nil, err
	}
	nested := Scales{Codes: s.absmax.Data, Map: [256]float32(values), Absmax: absmax, Offset: float32(*s.state.NestedOffset)}
	return nested.Widen(), nil
}
