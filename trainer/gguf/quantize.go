package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/shannon-control/scu/trainer/safetensors"
)

// encode narrows elements to a type. Q8_0 is ggml's: of each block of 32 the greatest
// magnitude becomes 127, and halves are rounded away from zero.
func encode(to Type, w []float32) ([]byte, error) {
	dtype := safetensors.F32
	switch to {
	case Q8_0:
		return q8(w), nil
	case F16:
		dtype = safetensors.F16
	case BF16:
		dtype = safetensors.BF16
	}
	t, err := safetensors.FromFloat32As(dtype, "", []int{len(w)}, w)
	if err != nil {
		return nil, err
	}
	if to == F16 {
		for i, x := range w {
			if x >= 65520 || x <= -65520 {
				return nil, fmt.Errorf("element %d is %v, which F16 can't hold", i, x)
			}
		}
	}
	return t.Data, nil
}

func q8(w []float32) []byte {
	scales := make([]float32, len(w)/32)
	inverse := make([]float32, len(scales))
	for b := range scales {
		var most float32
		for _, x := range w[32*b : 32*b+32] {
			most = max(most, float32(math.Abs(float64(x))))
		}
		if scales[b] = most / 127; scales[b] != 0 {
			inverse[b] = 1 / scales[b]
		}
	}
	halves, err := safetensors.FromFloat32As(safetensors.F16, "", []int{len(scales)}, scales)
	if err != nil {
		panic(err) // F16 is a type that it knows
	}
	out := make([]byte, 0, len(scales)*34)
	for b := range scales {
		out = append(out, halves.Data[2*b:2*b+2]...)
		for _, x := range w[32*b : 32*b+32] {
			out = append(out, byte(int8(math.Round(float64(float32(x*inverse[b]))))))
		}
	}
	return out
}

// f32Bytes are elements as F32.
func f32Bytes(w []float32) []byte {
	out := make([]byte, 0, 4*len(w))
	for _, x := range w {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}
