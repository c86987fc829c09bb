package gguf

import (
	"math"

	"github.com/shannon-control/scu/trainer/model"
)

// meta is a model's metadata but for its tokenizer.
func (l *layout) meta(name string, to Type) []Pair {
	s, a, windowed := l.spec, l.attention(false), l.attention(true)
	arch := l.family.arch
	meta := []Pair{{"general.architecture", arch}, {"general.type", "model"}, {"general.name", name}}
	add := func(key string, value any) { meta = append(meta, Pair{arch + "." + key, value}) }
	add("block_count", uint32(len(s.Layers)))
	add("context_length", uint32(l.context()))
	add("embedding_length", uint32(s.Hidden))
	add("feed_forward_length", uint32(s.Layers[0].MLP.Width))
	add("attention.head_count", uint32(a.Q.N))
	add("attention.head_count_kv", uint32(a.K.N))
	if s.FinalNorm.LayerNorm {
		add("attention.layer_norm_epsilon", s.FinalNorm.Eps)
	} else {
		add("attention.layer_norm_rms_epsilon", s.FinalNorm.Eps)
	}
	add("attention.key_length", uint32(a.HeadDim))
	add("attention.value_length", uint32(a.HeadDim))
	add("vocab_size", uint32(s.Vocab))
	if r := a.RoPE; r != nil {
		add("rope.freq_base", float32(r.Theta))
		add("rope.dimension_count", uint32(r.Dim))
		switch k := r.Scaler; k.Type {
		case "linear":
			add("rope.scaling.type", "linear")
			add("rope.scaling.factor", float32(k.Factor))
		case "longrope":
			add("rope.scaling.original_context_length", uint32(k.Original))
			add("rope.scaling.attn_factor", float32(k.AttentionFactor()))
		}
	}
	if arch == "gptneox" {
		add("use_parallel_residual", s.Layers[0].Parallel)
	}
	if l.family.windows {
		pattern := make([]bool, len(s.Layers))
		for i := range s.Layers {
			pattern[i] = s.Layers[i].Attn.Window > 0
		}
		if w := windowed.Window; w > 0 {
			add("attention.sliding_window", uint32(w))
			add("rope.freq_base_swa", float32(windowed.RoPE.Theta))
		}
		add("attention.sliding_window_pattern", pattern)
	}
	if a.Softcap != 0 {
		add("attn_logit_softcapping", a.Softcap)
	}
	if s.LogitSoftcap != 0 {
		add("final_logit_softcapping", s.LogitSoftcap)
	}
	return append(meta, Pair{"general.file_type", fileTypes[to]}, Pair{"general.quantization_version", uint32(2)})
}

// attention is that of the first layer that has a window, or has none; of the first of all
// if there is no such layer.
func (l *layout) attention(window bool) *model.Attention {
	for i := range l.spec.Layers {
		if a := &l.spec.Layers[i].Attn; (a.Window > 0) == window {
			return a
		}
	}
	return &l.spec.Layers[0].Attn
}

// context is how many tokens llama.cpp computes as they are computed here. A window that it
// doesn't know makes no difference to a text that fits into it.
func (l *layout) context() int {
	n := l.spec.Positions
	if l.family.windows {
		return n
	}
	for i := range l.spec.Layers {
		if w := l.spec.Layers[i].Attn.Window; w > 0 {
			n = min(n, w)
		}
	}
	return n
}

// ropeTensors divide the frequencies of a rotation that is scaled as Llama 3's, or as
// Phi-3's for long texts; llama.cpp takes short or long by the context it is given.
func (l *layout) ropeTensors() []Tensor {
	r := l.attention(false).RoPE
	if r == nil {
		return nil
	}
	tensor := func(name string, factors []float32) Tensor {
		return Tensor{Name: name, Type: F32, Shape: []int{len(factors)}, Data: func() ([]byte, error) { return f32Bytes(factors), nil }}
	}
	switch r.Scaler.Type {
	case "llama3":
		return []Tensor{tensor("rope_freqs.weight", llama3Factors(r))}
	case "longrope":
		return []Tensor{tensor("rope_factors_long.weight", narrowed(r.Scaler.Long)), tensor("rope_factors_short.weight", narrowed(r.Scaler.Short))}
	}
	return nil
}

func narrowed(w []float64) []float32 {
	out := make([]float32, len(w))
	for i, x := range w {
		out[i] = float32(x)
	}
	return out
}

func llama3Factors(r *model.RoPE) []float32 {
	s := r.Scaler
	low, high := float64(s.Original)/s.LowFreq, float64(s.Original)/s.HighFreq
	out := make([]float32, r.Pairs())
	for i := range out {
		wave := 2 * math.Pi * math.Pow(r.Theta, float64(2*i)/float64(r.Dim))
		switch {
		case wave < high:
			out[i] = 1
		case wave > low:
			out[i] = float32(s.Factor)
		default:
			smooth := (float64(s.Original)/wave - s.LowFreq) / (s.HighFreq - s.LowFreq)
			out[i] = float32(1 / ((1-smooth)/s.Factor + smooth))
		}
	}
	return out
}
