"""Models of random weights with real models' shapes, and training steps on them: for the scripts that measure a GPU.

A case is SHAPE:BATCHxLEN, as llama-1b:8x1024, in BF16, or SHAPE:BATCHxLENxMICROS for a step of so many micro-batches;
SHAPE:BATCHxLEN:nf4 has weights in NF4, :f16 is in F16, :checkpointing computes activations again, :memory=MIB is
--gpu-memory. Its steps are made by TRAINER_TEST, which `scripts/go-cuda test -c ./trainer` makes, perhaps elsewhere:
the GPU's machine needs no Go.
"""
import json
import os
import pathlib
import re
import subprocess

import torch
from safetensors.torch import save_file

SHAPES = {  # hidden, feed-forward, layers, heads, key heads, head size, tied
    "llama-1b": (2048, 8192, 16, 32, 8, 64, True),
    "llama-3b": (3072, 8192, 28, 24, 8, 128, True),
    "llama-8b": (4096, 14336, 32, 32, 8, 128, False),
}
VOCAB = 128256


class Case:
    def __init__(self, text, work):
        self.text = text
        self.shape, size, *rest = text.split(":")
        self.batch, self.length, self.micros = [*map(int, size.split("x")), 1][:3]
        self.size = size
        pairs = (r.partition("=") for r in rest)
        self.settings = {f"SCU_BENCH_{name.upper()}": value or "1" for name, _, value in pairs}
        self.folder = pathlib.Path(work) / self.shape
        if not self.folder.exists():
            make(self.folder, self.shape)
            torch.cuda.empty_cache()

    def steps(self, test, times=20, **env):
        """Times steps and returns what the test tells of them, by unit; memory is without this process's own."""
        env = dict(os.environ, SCU_TEST_DEVICE="cuda", SCU_BENCH_CASES=f"{self.folder}:{self.size}", **self.settings, **env)
        free, total = torch.cuda.mem_get_info()
        run = subprocess.run([test, "-test.run", "^$", "-test.bench", f"^BenchmarkStep$/^{self.shape}$", "-test.benchtime", f"{times}x"], env=env, capture_output=True, text=True)
        told = {unit: float(n) for n, unit in re.findall(r"([\d.e+]+) (GPU-MiB|estimate-MiB|tokens/s|crc32|aside|again)", run.stdout)}
        if len(told) < 3:
            print(self.text, run.stdout[-2000:], run.stderr[-2000:], flush=True)
            return None
        told["GPU-MiB"] -= (total - free) / 2**20
        return told


def make_gpt2(folder):
    d, layers, vocab = 768, 12, 50257
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", vocab_size=vocab, n_embd=d, n_layer=layers, n_head=12, n_positions=1024)))
    torch.manual_seed(1)
    t = {"transformer.wte.weight": torch.randn(vocab, d) * 0.02, "transformer.wpe.weight": torch.randn(1024, d) * 0.02}
    norm = lambda name: t.update({name + ".weight": torch.ones(d), name + ".bias": torch.zeros(d)})
    norm("transformer.ln_f")
    for i in range(layers):
        p = f"transformer.h.{i}."
        norm(p + "ln_1"), norm(p + "ln_2")
        for name, n, m in (("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, 4 * d), ("mlp.c_proj", 4 * d, d)):
            t |= {p + name + ".weight": torch.randn(n, m) * 0.02, p + name + ".bias": torch.zeros(m)}
    save_file(t, folder / "model.safetensors", metadata={"format": "pt"})


def make(folder, shape):
    if shape.startswith("gpt2"):
        return make_gpt2(folder)
    hidden, ff, layers, heads, kv, dim, tied = SHAPES[shape]
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=hidden, intermediate_size=ff, num_hidden_layers=layers,
                  num_attention_heads=heads, num_key_value_heads=kv, head_dim=dim, vocab_size=VOCAB, max_position_embeddings=8192, rope_theta=500000.0,
                  rms_norm_eps=1e-5, hidden_act="silu", tie_word_embeddings=tied, torch_dtype="bfloat16", bos_token_id=128000, eos_token_id=128001)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    w = lambda *size: (torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02).cpu()
    t = {"model.embed_tokens.weight": w(VOCAB, hidden), "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16)}
    if not tied:
        t["lm_head.weight"] = w(VOCAB, hidden)
    for i in range(layers):
        p = f"model.layers.{i}."
        t |= {p + "self_attn.q_proj.weight": w(heads * dim, hidden), p + "self_attn.k_proj.weight": w(kv * dim, hidden), p + "self_attn.v_proj.weight": w(kv * dim, hidden),
              p + "self_attn.o_proj.weight": w(hidden, heads * dim), p + "mlp.gate_proj.weight": w(ff, hidden), p + "mlp.up_proj.weight": w(ff, hidden),
              p + "mlp.down_proj.weight": w(hidden, ff), p + "input_layernorm.weight": torch.ones(hidden, dtype=torch.bfloat16),
              p + "post_attention_layernorm.weight": torch.ones(hidden, dtype=torch.bfloat16)}
    save_file(t, folder / "model.safetensors", metadata={"format": "pt"})
