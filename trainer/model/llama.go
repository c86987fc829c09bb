package model

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu"
)

// llamaDims are the sizes that Llama's descendants share, under Llama's names.
type llamaDims struct {
	vocab, hidden, layers, heads, kvHeads, headDim, inner, positions int
	eps                                                              float32
}

// llamaDefaults are a family's values for fields that config.json may lack.
type llamaDefaults struct {
	positions int
	kvHeads   int // 0: as many as heads; null always means that
	headDim   int // 0: hidden / heads; null always means that
	eps       float64
}

func (c *configReader) llamaDims(def llamaDefaults) llamaDims {
	d := llamaDims{
		vocab: c.dim(-1, "vocab_size"), hidden: c.dim(-1, "hidden_size"), layers: c.dim(-1, "num_hidden_layers"),
		heads: c.dim(-1, "num_attention_heads"), inner: c.dim(-1, "intermediate_size"),
		positions: c.dim(def.positions, "max_position_embeddings"), eps: c.eps(def.eps, "rms_norm_eps"),
	}
	if def.kvHeads == 0 || c.null("num_key_value_heads") {
		def.kvHeads = d.heads
	}
	d.kvHeads = c.dim(def.kvHeads, "num_key_value_heads")
	if def.headDim == 0 || c.null("head_dim") {
		def.headDim = max(d.hidden/d.heads, 1)
		if v, _ := c.get("head_dim"); v == nil && d.hidden%d.heads != 0 {
			c.fail(scu.CodeInvalid, "hidden_size %d is not a multiple of num_attention_heads %d", d.hidden, d.heads)
		}
	}
	d.headDim = c.dim(def.headDim, "head_dim")
	c.headDim(d.headDim)
	if d.heads*d.headDim > maxDim {
		c.fail(scu.CodeInvalid, "%d heads of %d are more than %d", d.heads, d.headDim, maxDim)
	}
	if d.heads%d.kvHeads != 0 {
		c.fail(scu.CodeInvalid, "num_attention_heads %d is not a multiple of num_key_value_heads %d", d.heads, d.kvHeads)
	}
	if d.layers > 1024 {
		c.fail(scu.CodeInvalid, "num_hidden_layers is %d; at most 1024 are supported", d.layers)
		d.layers = 1
	}
	c.noDropout("attention_dropout")
	return d
}

func (d llamaDims) rms(weight string) *Norm { return &Norm{Weight: weight, Eps: d.eps} }

// attention is separate q, k, v and o projections below path.
func (d llamaDims) attention(path string, bias, outBias bool) Attention {
	q, kv := d.heads*d.headDim, d.kvHeads*d.headDim
	return Attention{
		Proj: []Linear{
			{Path: path + ".q_proj", In: d.hidden, Out: q, Bias: bias},
			{Path: path + ".k_proj", In: d.hidden, Out: kv, Bias: bias},
			{Path: path + ".v_proj", In: d.hidden, Out: kv, Bias: bias},
		},
		Q: View{0, 0, d.heads, d.headDim}, K: View{1, 0, d.kvHeads, d.headDim}, V: View{2, 0, d.kvHeads, d.headDim},
		HeadDim: d.headDim, Scale: float32(1 / math.Sqrt(float64(d.headDim))),
		Out: Linear{Path: path + ".o_proj", In: q, Out: d.hidden, Bias: outBias},
	}
}

// mlp is separate gate, up and down projections below path.
func (d llamaDims) mlp(path string, bias bool) MLP {
	return MLP{
		Proj: []Linear{
			{Path: path + ".gate_proj", In: d.hidden, Out: d.inner, Bias: bias},
			{Path: path + ".up_proj", In: d.hidden, Out: d.inner, Bias: bias},
		},
		Gated: true, Gate: 0, Up: 1, Width: d.inner,
		Down: Linear{Path: path + ".down_proj", In: d.inner, Out: d.hidden, Bias: bias},
	}
}

// llamaSpec is the model around the layers: embedding, final norm, head.
func (c *configReader) llamaSpec(d llamaDims, tied bool) *Spec {
	s := &Spec{
		Vocab: d.vocab, Hidden: d.hidden, Positions: d.positions,
		Embed: "model.embed_tokens", EmbedScale: 1,
		FinalNorm: d.rms("model.norm.weight"), DefaultTargets: scu.DefaultTargetModules(),
		Prefixes: []Prefix{{"model.", ""}},
	}
	s.Embed += ".weight"
	s.Head, s.TiedHead = Linear{Path: "lm_head", In: d.hidden, Out: d.vocab}, c.flag(tied, "tie_word_embeddings")
	return s
}

// llamaLike is the block that Llama, Mistral and Qwen share; change adapts each
// layer.
func (c *configReader) llamaLike(def llamaDefaults, qkvBias, outBias, mlpBias bool, change func(i int, d llamaDims, l *Layer)) *Spec {
	d := c.llamaDims(def)
	s := c.llamaSpec(d, false)
	act := c.activation("silu", "hidden_act")
	rope := c.rope(d)
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("model.layers.%d", i)
		l := Layer{
			PreAttn: d.rms(path + ".input_layernorm.weight"), PreMLP: d.rms(path + ".post_attention_layernorm.weight"),
			Attn: d.attention(path+".self_attn", qkvBias, outBias), MLP: d.mlp(path+".mlp", mlpBias),
		}
		l.Attn.RoPE, l.MLP.Act = rope, act
		if change != nil {
			change(i, d, &l)
		}
		s.Layers = append(s.Layers, l)
	}
	return s
}

// llama: Llama 2, 3 and 3.x.
func llama(c *configReader) *Spec {
	bias := c.flag(false, "attention_bias")
	return c.llamaLike(llamaDefaults{positions: 2048, eps: 1e-6}, bias, bias, c.flag(false, "mlp_bias"), nil)
}

// mistral: Llama with a sliding window on every layer.
func mistral(c *configReader) *Spec {
	window := c.slidingWindow(4096)
	def := llamaDefaults{positions: 131072, kvHeads: 8, eps: 1e-6}
	return c.llamaLike(def, false, false, false, func(_ int, _ llamaDims, l *Layer) { l.Attn.Window = window })
}

// qwen2: Llama with biases on q, k and v, and optionally a window on the upper layers.
func qwen2(c *configReader) *Spec {
	windows := c.qwenWindows()
	def := llamaDefaults{positions: 32768, kvHeads: 32, eps: 1e-6}
	return c.llamaLike(def, true, false, false, func(i int, _ llamaDims, l *Layer) { l.Attn.Window = windows(i) })
}

// qwen3: Llama with an RMSNorm on each query and key head.
func qwen3(c *configReader) *Spec {
	windows := c.qwenWindows()
	bias := c.flag(false, "attention_bias")
	def := llamaDefaults{positions: 32768, kvHeads: 32, headDim: 128, eps: 1e-6}
	return c.llamaLike(def, bias, bias, false, func(i int, d llamaDims, l *Layer) {
		path := fmt.Sprintf("model.layers.%d.self_attn", i)
		l.Attn.QNorm, l.Attn.KNorm = d.rms(path+".q_norm.weight"), d.rms(path+".k_norm.weight")
		l.Attn.Window = windows(i)
	})
}

// slidingWindow reads the window; null means none, absent the family's default.
func (c *configReader) slidingWindow(def int) int {
	if c.null("sliding_window") {
		return 0
	}
	if def == 0 {
		if v, _ := c.get("sliding_window"); v == nil {
			return 0
		}
	}
	return c.dim(max(def, 1), "sliding_window")
}

// qwenWindows returns each layer's window: use_sliding_window turns it on for layers
// from max_window_layers on, or for those that layer_types names.
func (c *configReader) qwenWindows() func(int) int {
	on := c.flag(false, "use_sliding_window")
	window := 0
	if on {
		window = c.slidingWindow(4096)
	} else {
		c.ignore("sliding_window")
	}
	from := c.num(28, "max_window_layers")
	types := c.layerTypes()
	return func(i int) int {
		if types != nil {
			if i < len(types) && types[i] {
				if !on {
					c.fail(scu.CodeInvalid, "layer_types[%d] is sliding_attention while use_sliding_window is false", i)
				}
				return window
			}
			return 0
		}
		if float64(i) >= from {
			return window
		}
		return 0
	}
}

// layerTypes reads layer_types: true for a layer with a window; nil if absent.
func (c *configReader) layerTypes() []bool {
	v, _ := c.get("layer_types")
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	n := c.dim(-1, "num_hidden_layers", "num_layers", "n_layer")
	if !ok || len(list) != n {
		c.fail(scu.CodeInvalid, "layer_types has %d entries; want one for each of the %d layers", len(list), n)
		return make([]bool, n)
	}
	out := make([]bool, n)
	for i, e := range list {
		switch e {
		case "full_attention":
		case "sliding_attention":
			out[i] = true
		default:
			c.fail(scu.CodeUnsupported, "layer_types[%d] = %v is not supported; full_attention and sliding_attention are", i, e)
		}
	}
	return out
}
