package model

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu"
)

// gptDims are the sizes of a GPT-2-like model with multi-head attention.
type gptDims struct {
	vocab, hidden, layers, heads, inner, positions int
	eps                                            float32
}

func (c *configReader) checkGPT(d *gptDims) {
	if d.hidden%d.heads != 0 {
		c.fail(scu.CodeInvalid, "the hidden size %d is not a multiple of the %d heads", d.hidden, d.heads)
	}
	c.headDim(d.hidden / d.heads)
	if d.layers > 1024 {
		c.fail(scu.CodeInvalid, "%d layers; at most 1024 are supported", d.layers)
		d.layers = 1
	}
}

func (d gptDims) norm(path string) *Norm {
	return &Norm{Weight: path + ".weight", Bias: path + ".bias", Eps: d.eps, LayerNorm: true}
}

// gpt2: GPT-2, DialoGPT, DistilGPT-2, BioMedLM. Linear weights are stored
// transposed (Conv1D), q, k and v as one projection.
func gpt2(c *configReader) *Spec {
	d := gptDims{
		vocab: c.dim(-1, "vocab_size"), hidden: c.dim(-1, "n_embd", "hidden_size"), layers: c.dim(-1, "n_layer", "num_hidden_layers"),
		heads: c.dim(-1, "n_head", "num_attention_heads"), positions: c.dim(1024, "n_positions", "max_position_embeddings"),
		eps: c.eps(1e-5, "layer_norm_epsilon"),
	}
	d.inner = c.dim(4*d.hidden, "n_inner")
	c.checkGPT(&d)
	c.noDropout("resid_pdrop", "embd_pdrop", "attn_pdrop")
	c.refuse("add_cross_attention")
	// Upcasting attention changes nothing: everything is fp32.
	c.ignore("reorder_and_upcast_attn", "n_ctx", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj")
	act := c.activation("gelu_new", "activation_function")
	scaled, byLayer := c.flag(true, "scale_attn_weights"), c.flag(false, "scale_attn_by_inverse_layer_idx")

	s := &Spec{
		Vocab: d.vocab, Hidden: d.hidden, Positions: d.positions, EmbedScale: 1,
		Embed: "transformer.wte.weight", PositionEmbed: "transformer.wpe.weight",
		FinalNorm: d.norm("transformer.ln_f"), Head: Linear{Path: "lm_head", In: d.hidden, Out: d.vocab},
		DefaultTargets: []string{"c_attn", "c_proj", "c_fc"},
		Prefixes:       []Prefix{{"transformer.", ""}},
	}
	s.TiedHead = c.flag(true, "tie_word_embeddings")
	dim := d.hidden / d.heads
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("transformer.h.%d", i)
		scale := 1.0
		if scaled {
			scale = 1 / math.Sqrt(float64(dim))
		}
		if byLayer {
			scale /= float64(i + 1)
		}
		s.Layers = append(s.Layers, Layer{
			PreAttn: d.norm(path + ".ln_1"), PreMLP: d.norm(path + ".ln_2"),
			Attn: Attention{
				Proj: []Linear{{Path: path + ".attn.c_attn", In: d.hidden, Out: 3 * d.hidden, Bias: true, Conv1D: true}},
				Q:    View{0, 0, d.heads, dim}, K: View{0, d.hidden, d.heads, dim}, V: View{0, 2 * d.hidden, d.heads, dim},
				HeadDim: dim, Scale: float32(scale),
				Out: Linear{Path: path + ".attn.c_proj", In: d.hidden, Out: d.hidden, Bias: true, Conv1D: true},
			},
			MLP: MLP{
				Proj:  []Linear{{Path: path + ".mlp.c_fc", In: d.hidden, Out: d.inner, Bias: true, Conv1D: true}},
				Width: d.inner, Act: act,
				Down: Linear{Path: path + ".mlp.c_proj", In: d.inner, Out: d.hidden, Bias: true, Conv1D: true},
			},
		})
	}
	return s
}
