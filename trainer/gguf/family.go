package gguf

import (
	"math"
	"slices"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/model"
)

// family is what llama.cpp makes of a model family: what its graph computes is fixed, but
// for what the metadata says.
type family struct {
	arch       string // llama.cpp's name
	acts       []kernels.Activation
	scalers    []string // of rotary positions
	bias       presence // of queries, keys and values
	scoreCap   presence
	logitCap   presence
	neighbours bool // rotates neighbouring elements of a head, not those half a head apart
	windows    bool // knows layers that attend within a window
	unscaled   bool // doesn't scale the rotary positions of those layers
	embedHead  bool // the head is the embedding
	ownHead    bool // the head is a tensor, even if it is the embedding
	square     bool // all heads together are as wide as the model
	largest    int  // layers of the one size whose scores are scaled by hidden/heads, not by a head's width
}

// presence is which models of a family have something.
type presence int

const (
	never presence = iota
	always
	either
)

func (p presence) admits(there bool) bool { return p == either || there == (p == always) }

// families by config.json's model_type. llama.cpp computes GPT-NeoX's GELU by its tanh form
// too; the two differ by less than 5e-4.
var families = map[string]family{
	"llama":       {arch: "llama", acts: silu, scalers: []string{"linear", "llama3"}, bias: either, neighbours: true},
	"mistral":     {arch: "llama", acts: silu, scalers: []string{"linear", "llama3"}, neighbours: true},
	"qwen2":       {arch: "qwen2", acts: silu, scalers: linear, bias: always, square: true},
	"qwen3":       {arch: "qwen3", acts: silu, scalers: linear},
	"gemma":       {arch: "gemma", acts: geluTanh, scalers: linear, embedHead: true},
	"gemma2":      {arch: "gemma2", acts: geluTanh, scalers: linear, scoreCap: always, logitCap: always, windows: true, embedHead: true, largest: 46},
	"gemma3_text": {arch: "gemma3", acts: geluTanh, scalers: linear, logitCap: either, windows: true, unscaled: true, largest: 62},
	"phi3":        {arch: "phi3", acts: silu, scalers: []string{"linear", "longrope"}, square: true},
	"olmo2":       {arch: "olmo2", acts: silu, scalers: linear, ownHead: true, square: true},
	"gpt2":        {arch: "gpt2", acts: geluTanh, bias: always, square: true},
	"gpt_neox":    {arch: "gptneox", acts: []kernels.Activation{kernels.GELU, kernels.GELUTanh}, scalers: linear, bias: always, ownHead: true, square: true},
}

var (
	silu     = []kernels.Activation{kernels.SiLU}
	geluTanh = []kernels.Activation{kernels.GELUTanh}
	linear   = []string{"linear"}
)

// computes refuses a model that llama.cpp would compute otherwise, or wouldn't load.
func (f family) computes(s *model.Spec) error {
	if f.embedHead && !s.TiedHead {
		return unsupported("an output head of its own in the family %s", s.Family)
	}
	if !f.logitCap.admits(s.LogitSoftcap != 0) {
		return unsupported("final_logit_softcapping %v in the family %s", s.LogitSoftcap, s.Family)
	}
	for i := range s.Layers {
		if err := f.computesLayer(s, &s.Layers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f family) computesLayer(s *model.Spec, l *model.Layer) error {
	a := &l.Attn
	scale := 1 / math.Sqrt(float64(a.HeadDim))
	if f.largest > 0 && len(s.Layers) == f.largest {
		scale = 1 / math.Sqrt(float64(s.Hidden/a.Q.N))
	}
	switch {
	case !slices.Contains(f.acts, l.MLP.Act):
		return unsupported("this activation in the family %s", s.Family)
	case math.Abs(float64(a.Scale)/scale-1) > 1e-6:
		return unsupported("attention whose scores are scaled by %.6g, not %.6g,", a.Scale, scale)
	case !f.scoreCap.admits(a.Softcap != 0):
		return unsupported("attn_logit_softcapping %v in the family %s", a.Softcap, s.Family)
	case f.square && a.Q.N*a.HeadDim != s.Hidden:
		return unsupported("%d heads of %d in a model of width %d", a.Q.N, a.HeadDim, s.Hidden)
	case !f.bias.admits(a.Proj[0].Bias), f.bias == never && (a.Out.Bias || l.MLP.Down.Bias):
		return unsupported("attention_bias %v in the family %s", a.Proj[0].Bias, s.Family)
	}
	if r := a.RoPE; r != nil {
		kind := r.Scaler.Type
		if kind != "" && (!slices.Contains(f.scalers, kind) || f.unscaled && a.Window > 0) {
			return unsupported("rotary positions scaled by %s in the family %s", kind, s.Family)
		}
		if r.Dim%2 != 0 {
			return unsupported("a rotation of %d elements, an odd number,", r.Dim)
		}
	}
	return nil
}
