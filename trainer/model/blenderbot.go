package model

import (
	"fmt"
	"math"
)

// blenderbot is the decoder of an encoder-decoder, run as a causal model as
// Transformers' BlenderbotForCausalLM does: without an encoder the
// cross-attention is never run, but its modules exist and PEFT adapts them.
func blenderbot(c *configReader) *Spec {
	d := gptDims{
		vocab: c.dim(-1, "vocab_size"), hidden: c.dim(-1, "d_model", "hidden_size"), layers: c.dim(-1, "decoder_layers"),
		heads: c.dim(-1, "decoder_attention_heads"), inner: c.dim(-1, "decoder_ffn_dim"),
		positions: c.dim(128, "max_position_embeddings"), eps: 1e-5,
	}
	c.checkGPT(&d)
	c.noDropout("dropout", "attention_dropout", "activation_dropout", "decoder_layerdrop")
	c.ignore("is_encoder_decoder", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "encoder_layerdrop",
		"encoder_no_repeat_ngram_size", "num_hidden_layers", "normalize_before", "normalize_embedding", "add_final_layer_norm", "add_bias_logits",
		"do_blenderbot_90_layernorm", "extra_pos_embeddings", "static_position_embeddings", "extra_layer_norm", "force_bos_token_to_be_generated",
		"classif_dropout", "layernorm_variant")
	delete(c.raw, "is_encoder_decoder")
	act := c.activation("gelu", "activation_function")

	s := &Spec{
		Vocab: d.vocab, Hidden: d.hidden, Positions: d.positions, EmbedScale: 1,
		Embed: "model.decoder.embed_tokens.weight", PositionEmbed: "model.decoder.embed_positions.weight",
		FinalNorm: d.norm("model.decoder.layer_norm"), Head: Linear{Path: "lm_head", In: d.hidden, Out: d.vocab},
		DefaultTargets: []string{"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
		Prefixes:       []Prefix{{"model.decoder.embed_tokens.", "model.shared."}, {"model.", ""}, {"model.decoder.embed_tokens.", "shared."}},
	}
	if c.flag(false, "scale_embedding") {
		s.EmbedScale = float32(math.Sqrt(float64(d.hidden)))
	}
	s.TiedHead = c.flag(true, "tie_word_embeddings")
	dim := d.hidden / d.heads
	linear := func(path string, in, out int) Linear { return Linear{Path: path, In: in, Out: out, Bias: true} }
	for i := 0; i < d.layers; i++ {
		path := fmt.Sprintf("model.decoder.layers.%d", i)
		self, cross := path+".self_attn", path+".encoder_attn"
		s.Layers = append(s.Layers, Layer{
			PreAttn: d.norm(path + ".self_attn_layer_norm"), PreMLP: d.norm(path + ".final_layer_norm"),
			Attn: Attention{
				Proj: []Linear{linear(self+".q_proj", d.hidden, d.hidden), linear(self+".k_proj", d.hidden, d.hidden), linear(self+".v_proj", d.hidden, d.hidden)},
				Q:    View{0, 0, d.heads, dim}, K: View{1, 0, d.heads, dim}, V: View{2, 0, d.heads, dim},
				HeadDim: dim, Scale: float32(1 / math.Sqrt(float64(dim))),
				Out: linear(self+".out_proj", d.hidden, d.hidden),
			},
			MLP: MLP{
				Proj:  []Linear{linear(path+".fc1", d.hidden, d.inner)},
				Width: d.inner, Act: act,
				Down: linear(path+".fc2", d.inner, d.hidden),
			},
		})
		for _, name := range []string{".k_proj", ".v_proj", ".q_proj", ".out_proj"} {
			s.Idle = append(s.Idle, linear(cross+name, d.hidden, d.hidden))
		}
	}
	return s
}
