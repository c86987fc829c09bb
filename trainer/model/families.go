package model

import "sort"

// families maps model_type to the reader of its config.json.
var families = map[string]func(*configReader) *Spec{
	"gpt2":        gpt2,
	"gpt_neo":     gptNeo,
	"gpt_neox":    gptNeoX,
	"llama":       llama,
	"mistral":     mistral,
	"qwen2":       qwen2,
	"qwen3":       qwen3,
	"gemma":       gemma,
	"gemma2":      gemma2,
	"gemma3_text": gemma3,
	"phi3":        phi3,
	"olmo2":       olmo2,
	"blenderbot":  blenderbot,
}

// refusals explains why a model that people ask for is not supported.
var refusals = map[string]string{
	"reformer": "google/reformer-enwik8 reads bytes through reversible LSH-attention layers and is not published as safetensors",
	"gemma3":   "it is the vision-and-text wrapper; use the text model (model_type gemma3_text)",
}

// Families lists the supported values of model_type.
func Families() []string {
	var out []string
	for k := range families {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// harmless lists fields of config.json that don't affect the losses of a training run.
// Any other field that a family doesn't read is refused if it is set.
var harmless = setOf(
	"_name_or_path", "_attn_implementation_autoset", "architectures", "auto_map", "model_type", "transformers_version", "torch_dtype",
	"dtype", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "initializer_range",
	"init_std", "init_device", "name_or_path", "tokenizer_class", "task_specific_params", "id2label", "label2id", "num_labels", "problem_type", "prefix",
	"finetuning_task", "gradient_checkpointing", "cache_implementation", "pretraining_tp", "output_attentions", "output_hidden_states", "output_past",
	"return_dict", "is_decoder", "torchscript", "chunk_size_feed_forward", "classifier_dropout", "unsloth_version", "unsloth_fixed",
	"_attn_implementation", "attn_implementation", "_commit_hash", "_flash_attn_2_enabled", "tf_legacy_loss", "use_bfloat16", "pruned_heads",
	"tie_encoder_decoder", "decoder_start_token_id", "max_window_layers", "rope_interleaved",
	// Present in some models on the Hub, read by no code: DistilGPT-2, GPT-2 medium, Llama 1, SmolLM2, Gemma 2, Phi-4 mini.
	"_num_labels", "predict_special_tokens", "max_sequence_length", "is_llama_config", "transformers.js_config", "sliding_window_size",
	"full_attn_mod", "interpolate_factor",
	// Settings of text generation.
	"bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
	"encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id",
	"length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
	"remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
)

func setOf(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
