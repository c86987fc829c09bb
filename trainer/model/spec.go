// Package model runs causal language models: one configurable decoder with an
// explicit forward and backward pass over a kernels.Device.
//
// A family (one file each: llama.go, gpt2.go, ...) reads a checkpoint's
// config.json into a Spec: the shapes, the order of operations and the names of
// the weights. Decoder does the arithmetic and knows no family's name. A field of
// config.json that would change the result and that a family doesn't implement is
// an error which names it, never ignored.
//
// docs/adding-a-model.md shows how a family is added.
package model

import (
	"slices"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/lora"
)

// Spec is a causal decoder: what is computed, in which order, from which tensors.
type Spec struct {
	Family    string // model_type of config.json
	Vocab     int
	Hidden    int
	Positions int // the most tokens the model was made for

	Embed         string  // [Vocab, Hidden] token embedding
	EmbedScale    float32 // multiplies the embedding; usually 1
	PositionEmbed string  // [Positions + PositionOffset, Hidden] learned positions, or ""
	PositionShift int     // row of PositionEmbed that position 0 reads

	Layers    []Layer
	FinalNorm *Norm

	Head         Linear  // output head
	TiedHead     bool    // its weight is Embed
	LogitSoftcap float32 // 0: none

	// Idle are linear modules of the checkpoint that a causal decoder never runs (the
	// cross-attention of an encoder-decoder). PEFT gives them adapters too, which
	// only the regulariser moves.
	Idle []Linear

	// DefaultTargets are the family's names for the seven default LoRA targets.
	DefaultTargets []string

	// Notes tell users which parts of config.json are not applied, and why.
	Notes []string

	// Prefixes are other names of modules, for checkpoints that were saved without
	// the outer module, or by an older Transformers.
	Prefixes []Prefix
}

// Prefix maps tensor names that start with Full to a checkpoint where they start
// with Stored.
type Prefix struct{ Full, Stored string }

// Layer is one block:
//
//	sequential: x += PostAttn(attention(PreAttn(x))); x += PostMLP(mlp(PreMLP(x)))
//	parallel:   x += attention(PreAttn(x)) + mlp(PreMLP(x))
//
// A nil norm is the identity.
type Layer struct {
	PreAttn, PostAttn *Norm
	PreMLP, PostMLP   *Norm
	Parallel          bool
	Attn              Attention
	MLP               MLP
}

// Norm is a normalisation over the last axis and the names of its tensors.
type Norm struct {
	Weight, Bias string // Weight may be "" (scale 1)
	Eps          float32
	LayerNorm    bool // else RMSNorm
	UnitOffset   bool // scales by 1 + weight
}

// Linear is a linear module: its path in the model, which is also its name for
// LoRA; Path+".weight" and, with Bias, Path+".bias" are its tensors.
type Linear struct {
	Path    string
	In, Out int
	Bias    bool
	Conv1D  bool // the weight is stored [In, Out], as GPT-2 does
}

// Attention is a block's self-attention. The projections Proj are computed side
// by side from the same input; Q, K and V are views into their results, which
// covers separate and packed projections alike.
type Attention struct {
	Proj    []Linear
	Q, K, V View
	HeadDim int
	// QNorm and KNorm normalise queries and keys before the rotation, each head by
	// itself, or all heads as one row if WholeNorm is set.
	QNorm, KNorm *Norm
	WholeNorm    bool
	RoPE         *RoPE // nil: none
	Scale        float32
	Softcap      float32
	Window       int // 0: none
	Out          Linear
}

// View is N heads in the result of projection Proj: head h starts at column
// Off + h*Stride.
type View struct{ Proj, Off, N, Stride int }

// MLP is Down(act(Gate) * Up), or Down(act(Up)) if Gated is not set. Gate and
// Up are columns of the projections' results, from GateOff and UpOff on.
type MLP struct {
	Proj          []Linear
	Gated         bool
	Gate, GateOff int // projection and first column
	Up, UpOff     int
	Width         int
	Act           kernels.Activation
	Down          Linear
}

// Linears lists every linear module except the output head in the order of the
// forward pass, Idle last.
func (s *Spec) Linears() []Linear {
	var out []Linear
	for i := range s.Layers {
		l := &s.Layers[i]
		out = append(out, l.Attn.Proj...)
		out = append(out, l.Attn.Out)
		out = append(out, l.MLP.Proj...)
		out = append(out, l.MLP.Down)
	}
	return append(out, s.Idle...)
}

// Targets returns the model's linear modules as LoRA's targets.
func (s *Spec) Targets() []lora.Target {
	linears := s.Linears()
	out := make([]lora.Target, 0, len(linears)+1)
	for _, l := range linears {
		out = append(out, lora.Target{Path: l.Path, In: l.In, Out: l.Out, Conv1D: l.Conv1D})
	}
	return append(out, lora.Target{Path: s.Head.Path, In: s.Head.In, Out: s.Head.Out, Head: true})
}

// Warnings returns Notes, and the limits of an adapter on these modules.
func (s *Spec) Warnings(modules []lora.Module) []string {
	if s.TiedHead && slices.ContainsFunc(modules, func(m lora.Module) bool { return m.Head }) {
		return append(slices.Clone(s.Notes), "the adapter is on the output head, which shares its weight with the embedding: PEFT loads it; for llama.cpp, merge it with scu merge")
	}
	return s.Notes
}
