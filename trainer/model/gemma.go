package model

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
)

// gemmaSpec is what the three Gemmas share: embeddings times sqrt(hidden),
// RMSNorm scaled by 1 + weight, a gated MLP with tanh-GELU.
func (c *configReader) gemmaSpec(positions, kvHeads int, act kernels.Activation, layer func(i int, path string, d llamaDims, l *Layer)) *Spec {
	d := c.llamaDims(llamaDefaults{positions: positions, kvHeads: kvHeads, headDim: 256, eps: 1e-6})
	s := c.llamaSpec(d, true)
	s.EmbedScale = float32(math.Sqrt(float64(d.hidden)))
	s.FinalNorm.UnitOffset = true
	bias := c.flag(false, "attention_bias")
	c.refuse("use_bidirectional_attention")
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("model.layers.%d", i)
		l := Layer{
			PreAttn: d.unit(path + ".input_layernorm.weight"),
			Attn:    d.attention(path+".self_attn", bias, bias), MLP: d.mlp(path+".mlp", false),
		}
		l.MLP.Act = act
		layer(i, path, d, &l)
		s.Layers = append(s.Layers, l)
	}
	return s
}

func (d llamaDims) unit(weight string) *Norm {
	return &Norm{Weight: weight, Eps: d.eps, UnitOffset: true}
}

// gemma's published config.json has hidden_act "gelu" but means the tanh form, which
// Transformers corrects too. It doesn't read hidden_activation.
func gemma(c *configReader) *Spec {
	act := c.activation("gelu_pytorch_tanh", "hidden_act")
	if c.raw["hidden_act"] == "gelu" {
		act = kernels.GELUTanh
	}
	c.ignore("hidden_activation")
	var rope *RoPE
	return c.gemmaSpec(8192, 16, act, func(i int, path string, d llamaDims, l *Layer) {
		if rope == nil {
			rope = c.rope(d)
		}
		l.PreMLP = d.unit(path + ".post_attention_layernorm.weight")
		l.Attn.RoPE = rope
	})
}

// gemmaActivation is that of Gemma 2 and 3, which don't read hidden_act.
func (c *configReader) gemmaActivation() kernels.Activation {
	c.ignore("hidden_act")
	return c.activation("gelu_pytorch_tanh", "hidden_activation")
}

// gemma2 adds norms after attention and MLP, soft-capped scores and logits, and a
// window on every second layer.
func gemma2(c *configReader) *Spec {
	types, window := c.layerTypes(), c.slidingWindow(4096)
	var rope *RoPE
	s := c.gemmaSpec(8192, 4, c.gemmaActivation(), func(i int, path string, d llamaDims, l *Layer) {
		if rope == nil {
			rope = c.rope(d)
		}
		c.gemmaBlock(path, d, l)
		l.Attn.Softcap = c.softcap("attn_logit_softcapping", 50)
		l.Attn.RoPE = rope
		if types == nil && i%2 == 0 || types != nil && types[i] {
			l.Attn.Window = window
		}
	})
	s.LogitSoftcap = c.softcap("final_logit_softcapping", 30)
	return s
}

// gemma3 adds norms on query and key heads and gives windowed layers their own
// rotation. Its attn_logit_softcapping is read by no model code of Transformers.
func gemma3(c *configReader) *Spec {
	types, window := c.layerTypes(), c.slidingWindow(4096)
	pattern := c.dim(6, "sliding_window_pattern")
	c.ignore("_sliding_window_pattern", "attn_logit_softcapping")
	var global, sliding *RoPE
	s := c.gemmaSpec(131072, 4, c.gemmaActivation(), func(i int, path string, d llamaDims, l *Layer) {
		if global == nil {
			global, sliding = c.gemma3Ropes(d)
		}
		c.gemmaBlock(path, d, l)
		l.Attn.QNorm, l.Attn.KNorm = d.unit(path+".self_attn.q_norm.weight"), d.unit(path+".self_attn.k_norm.weight")
		l.Attn.RoPE = global
		if types == nil && (i+1)%pattern != 0 || types != nil && types[i] {
			l.Attn.RoPE, l.Attn.Window = sliding, window
		}
	})
	s.LogitSoftcap = c.softcap("final_logit_softcapping", 0)
	return s
}

// gemmaBlock is the block of Gemma 2 and 3: four norms, a scale of its own.
func (c *configReader) gemmaBlock(path string, d llamaDims, l *Layer) {
	l.PostAttn = d.unit(path + ".post_attention_layernorm.weight")
	l.PreMLP = d.unit(path + ".pre_feedforward_layernorm.weight")
	l.PostMLP = d.unit(path + ".post_feedforward_layernorm.weight")
	scalar := c.num(256, "query_pre_attn_scalar")
	if !(scalar > 0) {
		c.fail(scu.CodeInvalid, "query_pre_attn_scalar is %v; want a positive number", scalar)
	}
	l.Attn.Scale = float32(1 / math.Sqrt(scalar))
}

// softcap reads a soft-cap; null means none, absent the family's default (0: none).
func (c *configReader) softcap(name string, def float64) float32 {
	if v, _ := c.get(name); v == nil && (c.null(name) || def == 0) {
		return 0
	}
	limit := c.num(def, name)
	if !(limit > 0) {
		c.fail(scu.CodeInvalid, "%s is %v; want a positive number or null", name, limit)
	}
	return float32(limit)
}
