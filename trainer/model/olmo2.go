package model

import "fmt"

// olmo2: Llama's block with its norms after attention and MLP instead of before,
// and an RMSNorm over all query and all key heads together.
func olmo2(c *configReader) *Spec {
	d := c.llamaDims(llamaDefaults{positions: 2048, eps: 1e-5})
	s := c.llamaSpec(d, false)
	bias := c.flag(false, "attention_bias")
	act := c.activation("silu", "hidden_act")
	rope := c.rope(d)
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("model.layers.%d", i)
		l := Layer{
			PostAttn: d.rms(path + ".post_attention_layernorm.weight"), PostMLP: d.rms(path + ".post_feedforward_layernorm.weight"),
			Attn: d.attention(path+".self_attn", bias, bias), MLP: d.mlp(path+".mlp", false),
		}
		l.Attn.QNorm, l.Attn.KNorm = d.rms(path+".self_attn.q_norm.weight"), d.rms(path+".self_attn.k_norm.weight")
		l.Attn.WholeNorm, l.Attn.RoPE, l.MLP.Act = true, rope, act
		s.Layers = append(s.Layers, l)
	}
	return s
}
