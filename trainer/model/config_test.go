package model_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
)

const llamaConfig = `{"model_type":"llama","vocab_size":100,"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":4,
"intermediate_size":80,"max_position_embeddings":64`

const neoxConfig = `{"model_type":"gpt_neox","vocab_size":100,"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":80`

const gemma3Config = `{"model_type":"gemma3_text","vocab_size":100,"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":80`

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
		{llamaConfig + `,"rope_scaling":{"type":"spiral","factor":2}}`, `rope_scaling.rope_type = "spiral" is not supported`},
		{llamaConfig + `,"rope_scaling":{"type":"linear"}}`, `rope_scaling.factor is 0; rope_type "linear" needs a positive number`},
		{llamaConfig + `,"rope_scaling":{"type":"linear","factor":2,"twist":3}}`, "rope_scaling.twist = 3 is not supported"},
		{llamaConfig + `,"rope_scaling":{"type":"longrope","factor":2,"short_factor":[1],"long_factor":[1]}}`, "short_factor has 1 numbers; want 6"},
		{llamaConfig + `,"rope_scaling":3}`, "rope_scaling is not an object"},
		{llamaConfig + `,"rope_parameters":{"rope_type":"linear","factor":2,"partial_rotary_factor":0.5}}`, `rope_parameters.partial_rotary_factor = 0.5 is not supported beside rope_type "linear"`},
		{llamaConfig + `,"rope_parameters":{"rope_type":"yarn","factor":2,"attention_factor":0}}`, "rope_parameters.attention_factor is 0"},
		{neoxConfig + `,"rope_scaling":{"type":"yarn","factor":2}}`, `partial_rotary_factor = 0.25 is not supported beside rope_type "yarn": it rotates 3 elements`},
		{neoxConfig + `,"rotary_pct":1.5}`, "partial_rotary_factor is 1.5"},
		{neoxConfig + `,"rotary_pct":1e300}`, "partial_rotary_factor is 1e+300"},
		{gemma3Config + `,"rope_parameters":{"rope_type":"linear","factor":8.0}}`, "rope_parameters.factor = 8.0 is not supported"},
		{gemma3Config + `,"rope_scaling":{"type":"linear","factor":8.0}}`, "rope_parameters.full_attention.factor = 8.0 is not supported"}, // Transformers doesn't apply it either
		{gemma3Config + `,"query_pre_attn_scalar":0}`, "query_pre_attn_scalar is 0"},
		{gemma3Config + `,"final_logit_softcapping":0}`, "final_logit_softcapping is 0"},
		{strings.Replace(llamaConfig, `"llama"`, `"mistral"`, 1) + `}`, "num_attention_heads 4 is not a multiple of num_key_value_heads 8"},
		{llamaConfig + `,"num_attention_heads":65536,"head_dim":1024}`, "65536 heads of 1024 are more than"},
		{llamaConfig + `,"num_attention_heads":1,"head_dim":16777216}`, "a head has 16777216 elements; at most 1024 are supported"},
		{strings.Replace(neoxConfig, "48", "4096", 1) + `,"num_attention_heads":1}`, "a head has 4096 elements"},
		{llamaConfig + `,"residual_multiplier":0.22}`, "residual_multiplier = 0.22 is not supported for model_type llama"},
		{llamaConfig + `,"layer_types":["sliding_attention","full_attention"]}`, "layer_types"},
		{llamaConfig + `,"is_encoder_decoder":true}`, "is_encoder_decoder = true is not supported"},
		{strings.Replace(llamaConfig, `"llama"`, `"qwen2"`, 1) + `,"layer_types":["full_attention"]}`, "layer_types has 1 entries"},
		{strings.Replace(llamaConfig, `"llama"`, `"qwen2"`, 1) + `,"layer_types":["full_attention","linear_attention"]}`, "layer_types[1] = linear_attention"},
		{strings.Replace(llamaConfig, `"llama"`, `"gemma2"`, 1) + `,"use_bidirectional_attention":true}`, "use_bidirectional_attention"},
		{`{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":2,"n_head":5}`, "not a multiple of the 5 heads"},
		{`{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":2,"n_head":4,"num_attention_heads":2}`, "n_head is 4 and num_attention_heads is 2; they mean the same"},
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

// Which of two fields Transformers reads, and what it takes where there is none.
func TestParseSpecReadsWhatTransformersReads(t *testing.T) {
	rope := func(s *model.Spec) any { return *s.Layers[0].Attn.RoPE }
	dims := func(s *model.Spec) any { return [2]int{s.Layers[0].Attn.HeadDim, s.Layers[0].Attn.K.N} }
	act := func(s *model.Spec) any { return s.Layers[0].MLP.Act }
	as := func(kind string) string { return strings.Replace(llamaConfig, `"llama"`, `"`+kind+`"`, 1) }
	yarn := model.Scaler{Type: "yarn", Factor: 4, Original: 16, Positions: 64, BetaFast: 32, BetaSlow: 1, Truncate: true}
	for _, c := range []struct {
		json string
		of   func(*model.Spec) any
		want any
	}{
		{llamaConfig + `}`, dims, [2]int{12, 4}},
		{as("qwen3") + `,"num_key_value_heads":2}`, dims, [2]int{128, 2}},
		{as("gemma2") + `}`, dims, [2]int{256, 4}},
		{as("mistral") + `,"num_key_value_heads":null,"head_dim":null}`, dims, [2]int{12, 4}},
		{as("gemma") + `,"num_key_value_heads":2,"hidden_act":"gelu","hidden_activation":"relu"}`, act, kernels.GELUTanh},
		{as("gemma2") + `,"hidden_act":"relu","hidden_activation":"gelu"}`, act, kernels.GELU},
		{llamaConfig + `,"hidden_act":"gelu_accurate"}`, act, kernels.GELUTanh},

		{llamaConfig + `,"rope_theta":500}`, rope, model.RoPE{Dim: 12, Theta: 500}},
		{llamaConfig + `,"rope_theta":500,"rope_parameters":{"rope_theta":25,"partial_rotary_factor":0.5}}`, rope, model.RoPE{Dim: 12, Theta: 25}},
		{llamaConfig + `,"rope_parameters":{"rope_theta":25},"rope_scaling":{"type":"linear","factor":2}}`, rope, model.RoPE{Dim: 12, Theta: 10000, Scaler: model.Scaler{Type: "linear", Factor: 2, Original: 64, Positions: 64}}},
		{llamaConfig + `,"rope_parameters":{"rope_type":"yarn","factor":null,"beta_fast":0,"original_max_position_embeddings":32},"original_max_position_embeddings":16}`, rope, model.RoPE{Dim: 12, Theta: 10000, Scaler: yarn}},
		{neoxConfig + `,"rotary_emb_base":500,"rope_theta":25,"rotary_pct":0.5}`, rope, model.RoPE{Dim: 6, Theta: 500}},
		{neoxConfig + `}`, rope, model.RoPE{Dim: 3, Theta: 10000}},
		{as("phi3") + `,"rope_scaling":{"type":"yarn","short_factor":[1,1,1],"long_factor":[2,2,2],"partial_rotary_factor":0.5},"original_max_position_embeddings":16}`, rope,
			model.RoPE{Dim: 6, Theta: 10000, Scaler: model.Scaler{Type: "longrope", Factor: 4, Original: 16, Positions: 64, Short: []float64{1, 1, 1}, Long: []float64{2, 2, 2}}}},
		{gemma3Config + `,"rope_local_base_freq":500}`, rope, model.RoPE{Dim: 256, Theta: 500}},
		{gemma3Config + `,"sliding_window_pattern":1,"rope_theta":500,"rope_scaling":{"rope_type":"linear","factor":8}}`, rope,
			model.RoPE{Dim: 256, Theta: 500, Scaler: model.Scaler{Type: "linear", Factor: 8, Original: 131072, Positions: 131072}}},
	} {
		s, err := model.ParseSpec([]byte(c.json))
		if err != nil {
			t.Errorf("%s: %v", c.json, err)
		} else if got := c.of(s); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n got  %+v\n want %+v", c.json, got, c.want)
		}
	}
}

// Fields of well-known models that no code reads are not in the way.
func TestParseSpecTakesModelsOfTheHub(t *testing.T) {
	const gpt2 = `{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":2,"n_head":4,"n_positions":64,"n_ctx":1024`
	for name, json := range map[string]string{
		"distilgpt2":              gpt2 + `,"_num_labels":1,"id2label":{"0":"LABEL_0"},"summary_use_proj":true}`,
		"gpt2-medium":             gpt2 + `,"n_special":0,"predict_special_tokens":true,"output_past":true}`,
		"huggyllama/llama-7b":     llamaConfig + `,"max_sequence_length":2048,"pad_token_id":-1}`,
		"SmolLM2":                 llamaConfig + `,"is_llama_config":true,"rope_interleaved":false,"rope_scaling":null,"transformers.js_config":{"dtype":"q4"}}`,
		"gemma-2-9b":              strings.Replace(llamaConfig, `"llama"`, `"gemma2"`, 1) + `,"sliding_window":4096,"sliding_window_size":4096,"cache_implementation":"hybrid"}`,
		"Phi-4-mini":              strings.Replace(llamaConfig, `"llama"`, `"phi3"`, 1) + `,"full_attn_mod":1,"interpolate_factor":1,"lm_head_bias":false,"auto_map":{"AutoConfig":"c.P"}}`,
		"blenderbot-400M":         `{"model_type":"blenderbot","vocab_size":100,"d_model":48,"decoder_layers":1,"decoder_attention_heads":4,"decoder_ffn_dim":80,"encoder_layers":1,"is_encoder_decoder":true,"num_beams":10,"length_penalty":0.65,"encoder_no_repeat_ngram_size":3,"layernorm_variant":"prelayernorm","unk_token_id":3}`,
		"saved by Transformers 4": llamaConfig + `,"_attn_implementation":"eager","num_return_sequences":1,"typical_p":1.0,"diversity_penalty":0.0,"num_beam_groups":1,"tie_encoder_decoder":false,"use_bfloat16":false}`,
	} {
		if _, err := model.ParseSpec([]byte(json)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
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

// A head that is the embedding too is warned of where an adapter is on it.
func TestWarnsOfTiedHead(t *testing.T) {
	for text, want := range map[string]int{
		`{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":1,"n_head":4,"resid_pdrop":0,"embd_pdrop":0,"attn_pdrop":0}`:                             1,
		`{"model_type":"gpt2","vocab_size":100,"n_embd":48,"n_layer":1,"n_head":4,"resid_pdrop":0,"embd_pdrop":0,"attn_pdrop":0,"tie_word_embeddings":false}`: 0,
	} {
		s, err := model.ParseSpec([]byte(text))
		must(t, err)
		modules, err := lora.Plan(s.Targets(), nil, scu.LoRAConfig{R: 1, Alpha: 1, TargetModules: []string{"lm_head"}})
		must(t, err)
		if w := s.Warnings(modules); len(w) != want {
			t.Errorf("%s: %q", text, w)
		}
		if w := s.Warnings(nil); len(w) != 0 {
			t.Errorf("without the head: %q", w)
		}
	}
}
