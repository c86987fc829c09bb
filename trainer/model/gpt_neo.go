package model

import (
	"encoding/json"
	"fmt"

	"github.com/shannon-control/scu"
)

// gptNeo: GPT-2's block with separate, unscaled projections, and a window on the
// layers that config.json calls local.
func gptNeo(c *configReader) *Spec {
	d := gptDims{
		vocab: c.dim(-1, "vocab_size"), hidden: c.dim(-1, "hidden_size"), layers: c.dim(-1, "num_layers", "num_hidden_layers"),
		heads: c.dim(-1, "num_heads", "num_attention_heads"), positions: c.dim(2048, "max_position_embeddings"),
		eps: c.eps(1e-5, "layer_norm_epsilon"),
	}
	d.inner = c.dim(4*d.hidden, "intermediate_size")
	c.checkGPT(&d)
	c.noDropout("resid_dropout", "embed_dropout", "attention_dropout")
	c.ignore("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj", "gradient_checkpointing")
	act := c.activation("gelu_new", "activation_function")
	window := c.dim(256, "window_size")
	local := c.neoLayers(d.layers)

	s := &Spec{
		Vocab: d.vocab, Hidden: d.hidden, Positions: d.positions, EmbedScale: 1,
		Embed: "transformer.wte.weight", PositionEmbed: "transformer.wpe.weight",
		FinalNorm: d.norm("transformer.ln_f"), Head: Linear{Path: "lm_head", In: d.hidden, Out: d.vocab},
		DefaultTargets: []string{"q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"},
		Prefixes:       []Prefix{{"transformer.", ""}},
	}
	s.TiedHead = c.flag(true, "tie_word_embeddings")
	dim := d.hidden / d.heads
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("transformer.h.%d", i)
		attn := path + ".attn.attention"
		l := Layer{
			PreAttn: d.norm(path + ".ln_1"), PreMLP: d.norm(path + ".ln_2"),
			Attn: Attention{
				Proj: []Linear{
					{Path: attn + ".q_proj", In: d.hidden, Out: d.hidden},
					{Path: attn + ".k_proj", In: d.hidden, Out: d.hidden},
					{Path: attn + ".v_proj", In: d.hidden, Out: d.hidden},
				},
				Q: View{0, 0, d.heads, dim}, K: View{1, 0, d.heads, dim}, V: View{2, 0, d.heads, dim},
				HeadDim: dim, Scale: 1,
				Out: Linear{Path: attn + ".out_proj", In: d.hidden, Out: d.hidden, Bias: true},
			},
			MLP: MLP{
				Proj:  []Linear{{Path: path + ".mlp.c_fc", In: d.hidden, Out: d.inner, Bias: true}},
				Width: d.inner, Act: act,
				Down: Linear{Path: path + ".mlp.c_proj", In: d.inner, Out: d.hidden, Bias: true},
			},
		}
		if local[i] {
			l.Attn.Window = window
		}
		s.Layers = append(s.Layers, l)
	}
	return s
}

// neoLayers reports which layers are local: attention_layers names each, or
// attention_types lists [[names], repeats] pairs.
func (c *configReader) neoLayers(n int) []bool {
	var names []any
	if v, _ := c.get("attention_types"); v != nil {
		pairs, _ := v.([]any)
		for _, p := range pairs {
			pair, _ := p.([]any)
			if len(pair) != 2 {
				c.fail(scu.CodeInvalid, "attention_types is not a list of [[names], repeats]")
				return make([]bool, n)
			}
			block, _ := pair[0].([]any)
			repeats, _ := pair[1].(json.Number)
			r, err := repeats.Int64()
			if err != nil || r < 0 || r > maxDim {
				c.fail(scu.CodeInvalid, "attention_types repeats %v times", pair[1])
			}
			for ; r > 0 && len(block) > 0 && len(names) <= n; r-- {
				names = append(names, block...)
			}
		}
	}
	if v, _ := c.get("attention_layers"); v != nil {
		names, _ = v.([]any)
	}
	local := make([]bool, n)
	if len(names) != n {
		c.fail(scu.CodeInvalid, "attention_types names %d layers; there are %d", len(names), n)
		return local
	}
	for i, name := range names {
		switch name {
		case "global":
		case "local":
			local[i] = true
		default:
			c.fail(scu.CodeUnsupported, "attention type %v of layer %d is not supported; global and local are", name, i)
		}
	}
	return local
}
