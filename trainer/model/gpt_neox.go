package model

import (
	"fmt"
	"math"
)

// gptNeoX: GPT-NeoX and Pythia. Attention and MLP read the same residual if
// use_parallel_residual is set; q, k and v are packed head by head.
func gptNeoX(c *configReader) *Spec {
	d := gptDims{
		vocab: c.dim(-1, "vocab_size"), hidden: c.dim(-1, "hidden_size"), layers: c.dim(-1, "num_hidden_layers"),
		heads: c.dim(-1, "num_attention_heads"), inner: c.dim(-1, "intermediate_size"),
		positions: c.dim(2048, "max_position_embeddings"), eps: c.eps(1e-5, "layer_norm_eps"),
	}
	c.checkGPT(&d)
	c.noDropout("attention_dropout", "hidden_dropout")
	bias := c.flag(true, "attention_bias")
	parallel := c.flag(true, "use_parallel_residual")
	act := c.activation("gelu", "hidden_act")
	dim := d.hidden / d.heads
	rope := c.neoxRope(dim, d.positions)

	s := &Spec{
		Vocab: d.vocab, Hidden: d.hidden, Positions: d.positions, EmbedScale: 1,
		Embed: "gpt_neox.embed_in.weight", FinalNorm: d.norm("gpt_neox.final_layer_norm"), Head: Linear{Path: "lm_head", In: d.hidden, Out: d.vocab},
		DefaultTargets: []string{"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
		Prefixes:       []Prefix{{"gpt_neox.", ""}, {"lm_head.", "embed_out."}}, // the head's name before Transformers 5
	}
	if s.TiedHead = c.flag(false, "tie_word_embeddings"); s.TiedHead {
		s.Prefixes = append(s.Prefixes, Prefix{"gpt_neox.embed_in.", "embed_out."})
	}
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("gpt_neox.layers.%d", i)
		s.Layers = append(s.Layers, Layer{
			PreAttn: d.norm(path + ".input_layernorm"), PreMLP: d.norm(path + ".post_attention_layernorm"),
			Parallel: parallel,
			Attn: Attention{
				Proj: []Linear{{Path: path + ".attention.query_key_value", In: d.hidden, Out: 3 * d.hidden, Bias: bias}},
				Q:    View{0, 0, d.heads, 3 * dim}, K: View{0, dim, d.heads, 3 * dim}, V: View{0, 2 * dim, d.heads, 3 * dim},
				HeadDim: dim, Scale: float32(1 / math.Sqrt(float64(dim))), RoPE: rope,
				Out: Linear{Path: path + ".attention.dense", In: d.hidden, Out: d.hidden, Bias: bias},
			},
			MLP: MLP{
				Proj:  []Linear{{Path: path + ".mlp.dense_h_to_4h", In: d.hidden, Out: d.inner, Bias: true}},
				Width: d.inner, Act: act,
				Down: Linear{Path: path + ".mlp.dense_4h_to_h", In: d.inner, Out: d.hidden, Bias: true},
			},
		})
	}
	return s
}
