"""Writes small random models of families beside bookworm-2m's Llama, with its tokenizer: for checks of names and layouts.

usage: random_bases.py TOKENIZER_DIR OUT_DIR        writes OUT_DIR/gpt2, OUT_DIR/phi and so on, one for each of CONFIGS

gpt2 keeps its weights transposed (Conv1D), phi (Phi-3; llama.cpp takes a model called phi3 to have the tokenizer of the
real one) packs its projections, gpt_neox packs them head by head, qwen2 has biases, qwen3 norms on queries and keys and
heads that are wider than the model, the Gemmas norms that scale by 1 + weight and layers that see a window alone, olmo2
norms behind attention and MLP. The models are the same in every run.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GemmaConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, Olmo2Config,
    Phi3Config, Qwen2Config, Qwen3Config,
)

TOKENIZER_DIR, OUT_DIR = map(Path, sys.argv[1:])
VOCABULARY = {"vocab_size": 4096, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
LLAMA_LIKE = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "initializer_range": 0.15, **VOCABULARY,
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CONFIGS = {
    "gpt2": GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=512, initializer_range=0.15, **VOCABULARY),
    "phi": Phi3Config(**LLAMA_LIKE),
    "qwen2": Qwen2Config(**LLAMA_LIKE),
    "qwen3": Qwen3Config(head_dim=32, **LLAMA_LIKE),
    "mistral": MistralConfig(sliding_window=None, **LLAMA_LIKE),
    "llama3": LlamaConfig(rope_parameters=LLAMA3, tie_word_embeddings=True, **LLAMA_LIKE),
    "gemma": GemmaConfig(head_dim=32, **LLAMA_LIKE),
    "gemma2": Gemma2Config(head_dim=32, query_pre_attn_scalar=32, sliding_window=24, **LLAMA_LIKE),
    "gemma3": Gemma3TextConfig(head_dim=32, query_pre_attn_scalar=32, sliding_window=24, **{**LLAMA_LIKE, "num_hidden_layers": 7}),
    "olmo2": Olmo2Config(**LLAMA_LIKE),
    "gpt_neox": GPTNeoXConfig(
        hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=512, initializer_range=0.15, **VOCABULARY
    ),
}
# what llama.cpp's converter reads, the family's own config.json has, and Transformers has dropped
DROPPED = {"gpt2": {"n_ctx": 512}, "gpt_neox": {"rotary_pct": 0.25}}

for name, config in CONFIGS.items():
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases, which begin as ones and zeros
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(OUT_DIR / name)
    path = OUT_DIR / name / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | DROPPED.get(name, {}), indent=2))
    shutil.copy(TOKENIZER_DIR / "tokenizer.json", OUT_DIR / name)
    # without it Transformers takes the family's own tokenizer
    (OUT_DIR / name / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}\n')
