"""Writes small random models of families beside bookworm-2m's Llama, with its tokenizer: for checks of names and layouts.

usage: random_bases.py TOKENIZER_DIR OUT_DIR        writes OUT_DIR/gpt2, OUT_DIR/phi and OUT_DIR/qwen3

gpt2 keeps its weights transposed (Conv1D), phi (Phi-3; llama.cpp takes a model called phi3 to have the tokenizer of the
real one) packs its projections, qwen3 has norms on queries and keys and heads that are wider than the model. The
models are the same in every run.
"""
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPT2Config, Phi3Config, Qwen3Config

TOKENIZER_DIR, OUT_DIR = map(Path, sys.argv[1:])
VOCABULARY = {"vocab_size": 4096, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
LLAMA_LIKE = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "initializer_range": 0.15, **VOCABULARY,
}
CONFIGS = {
    # n_ctx: Transformers has dropped it, llama.cpp's converter reads it, GPT-2's own config.json has it
    "gpt2": GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=512, n_ctx=512, initializer_range=0.15, **VOCABULARY),
    "phi": Phi3Config(**LLAMA_LIKE),
    "qwen3": Qwen3Config(head_dim=32, **LLAMA_LIKE),
}

for name, config in CONFIGS.items():
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(OUT_DIR / name)
    shutil.copy(TOKENIZER_DIR / "tokenizer.json", OUT_DIR / name)
    # without it Transformers takes the family's own tokenizer
    (OUT_DIR / name / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}\n')
