package model_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"scu"
	"scu/trainer/model"
)

const llamaConfig = `{"model_type":"llama","vocab_size":100,"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":4,
"intermediate_size":80,"max_position_embeddings":64`

// What would change the result and isn't done is refused by name; what is wrong
// is refused with what was wanted.
func TestParseSpecRefuses(t *testing.T) {
	for _, c := range []struct{ json, says string }{
		{`[]`, "not a JSON object"},
		{`{"model_type":`, "not a JSON object"},
		{`{}`, `model_type "" is not supported`},
		{`{"model_type":"bert"}`, "supported: blenderbot, gemma"},
		{`{"model_type":"reformer"}`, "LSH-attention"},
		{`{"model_type":"gemma3"}`, "gemma3_text"},
		{`{"model_type":"llama"}`, "vocab_size is missing"},
		{llamaConfig + `,"num_key_value_heads":3}`, "not a multiple of num_key_value_heads"},
		{llamaConfig + `,"hidden_size":50}`, "hidden_size 50 is not a multiple"},
		{llamaConfig + `,"head_dim":-1}`, "head_dim is -1; want a whole number"},
		{llamaConfig + `,"vocab_size":1e300}`, "vocab_size is 1e300"},
		{llamaConfig + `,"vocab_size":"many"}`, "vocab_size is many"},
		{llamaConfig + `,"num_hidden_layers":100000}`, "at most 1024"},
		{llamaConfig + `,"hidden_act":"mish"}`, "hidden_act = mish is not supported"},
		{llamaConfig + `,"attention_bias":1}`, "attention_bias is 1; want true or false"},
		{llamaConfig + `,"rope_scaling":{"type":"spiral","factor":2}}`, `rope scaling "spiral"`},
		{llamaConfig + `,"rope_scaling":{"type":"linear"}}`, "needs a positive factor"},
		{llamaConfig + `,"rope_scaling":{"type":"linear","factor":2,"twist":3}}`, "rope_parameters.twist = 3 is not supported"},
		{llamaConfig + `,"rope_scaling":{"type":"longrope","factor":2,"short_factor":[1],"long_factor":[1]}}`, "short_factor has 1 numbers; want 6"},
		{llamaConfig + `,"rope_scaling":3}`, "rope_scaling is not an object"},
		{llamaConfig + `,"partial_rotary_factor":1.5}`, "partial_rotary_factor"},
		{llamaConfig + `,"partial_rotary_factor":1e300}`, "a partial_rotary_factor of 1e+300"},
		{llamaConfig + `,"num_attention_heads":65536,"head_dim":65536}`, "65536 heads of 65536 are more than"},
		{llamaConfig + `,"residual_multiplier":0.22}`, "residual_multiplier = 0.22 is not supported for model_type llama"},
		{llamaConfig + `,"layer_types":["sliding_attention","full_attention"]}`, "layer_types"},
		{llamaConfig + `,"is_encoder_decoder":true}`, "is_encoder_decoder = true is not supported"},
		{strings.Replace(llamaConfig, `"llama"`, `"qwen2"`, 1) + `,"layer_types":["full_attention"]}`, "layer_types has 1 entries"},
		{strings.Replace(llamaConfig, `"llama"`, `"qwen2"`, 1) + `,"layer_types":["full_attention","linear_attention"]}`, "layer_types[1] = linear_attention"},
		{strings.Replace(llamaConfig, `"llama"`, `"gemma2"`, 1) + `,"use_bidirectional_attention":true}`, "use_bidirectional_attention"},
		{`{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":2,"n_head":5}`, "not a multiple of the 5 heads"},
		{`{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":2,"n_head":4,"add_cross_attention":true}`, "add_cross_attention"},
		{`{"model_type":"gpt_neo","vocab_size":100,"hidden_size":48,"num_layers":2,"num_heads":4,"attention_types":[[["global"],1]]}`, "names 1 layers; there are 2"},
		{`{"model_type":"gpt_neo","vocab_size":100,"hidden_size":48,"num_layers":1,"num_heads":4,"attention_types":[[["sparse"],1]]}`, "sparse"},
	} {
		_, err := model.ParseSpec([]byte(c.json))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s\n got  %v\n want %q", c.json, err, c.says)
			continue
		}
		if code := scu.CodeOf(err); code != scu.CodeInvalid && code != scu.CodeUnsupported {
			t.Errorf("%s: code %s", c.json, code)
		}
	}
}

// Base dropout is told of, not silently left out.
func TestParseSpecNotesDropout(t *testing.T) {
	s, err := model.ParseSpec([]byte(`{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":1,"n_head":4,"attn_pdrop":0.1}`))
	if err != nil || len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "attn_pdrop 0.1 is not applied") {
		t.Fatalf("notes %q, error %v", s.Notes, err)
	}
}

// FuzzParseSpec: no config.json makes the parser panic, and a spec that it gives
// is consistent.
func FuzzParseSpec(f *testing.F) {
	configs, err := filepath.Glob("../testdata/goldens/*/model/config.json")
	if err != nil || len(configs) < 10 {
		f.Fatalf("%d seeds: %v", len(configs), err)
	}
	for _, c := range configs {
		b, err := os.ReadFile(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := model.ParseSpec(b)
		if err != nil {
			return
		}
		if s.Parameters() <= 0 || len(s.Layers) == 0 {
			t.Fatalf("a spec of %d parameters and %d layers", s.Parameters(), len(s.Layers))
		}
		for _, l := range s.Layers {
			if l.Attn.Q.N%l.Attn.K.N != 0 || l.Attn.K.N != l.Attn.V.N {
				t.Fatalf("heads %d, %d, %d", l.Attn.Q.N, l.Attn.K.N, l.Attn.V.N)
			}
			if r := l.Attn.RoPE; r != nil && 2*r.Pairs() > l.Attn.HeadDim {
				t.Fatalf("%d pairs in heads of %d", r.Pairs(), l.Attn.HeadDim)
			}
		}
	})
}
