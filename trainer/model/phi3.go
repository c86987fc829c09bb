package model

import "fmt"

// phi3: Llama's block with q, k, v and gate, up packed into one projection each,
// a partial rotation and longrope.
func phi3(c *configReader) *Spec {
	d := c.llamaDims(llamaDefaults{positions: 4096, eps: 1e-5})
	s := c.llamaSpec(d, false)
	s.DefaultTargets = []string{"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
	c.noDropout("resid_pdrop", "embd_pdrop")
	act := c.activation("silu", "hidden_act")
	rope := c.phi3Rope(d)
	window := c.slidingWindow(0)
	q, kv := d.heads*d.headDim, d.kvHeads*d.headDim
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("model.layers.%d", i)
		l := Layer{
			PreAttn: d.rms(path + ".input_layernorm.weight"), PreMLP: d.rms(path + ".post_attention_layernorm.weight"),
			Attn: d.attention(path+".self_attn", false, false), MLP: d.mlp(path+".mlp", false),
		}
		a := &l.Attn
		a.Proj = []Linear{{Path: path + ".self_attn.qkv_proj", In: d.hidden, Out: q + 2*kv}}
		a.Q, a.K, a.V = View{0, 0, d.heads, d.headDim}, View{0, q, d.kvHeads, d.headDim}, View{0, q + kv, d.kvHeads, d.headDim}
		a.RoPE, a.Window = rope, window
		m := &l.MLP
		m.Proj = []Linear{{Path: path + ".mlp.gate_up_proj", In: d.hidden, Out: 2 * d.inner}}
		m.Gate, m.Up, m.UpOff, m.Act = 0, 0, d.inner, act
		s.Layers = append(s.Layers, l)
	}
	return s
}
