"""Makes the files of this folder, except nf4.safetensors, with bitsandbytes on a CPU.

    pip install torch==2.15.0 transformers==5.23.0 bitsandbytes==0.50.2 accelerate==1.15.0
    python generate.py FOLDER

edges.safetensors   matrices as saved in checkpoints: NAME.weight and what belongs to it; NAME.source, the weights
                    before, where Quantize must make the same bytes; NAME.dequantized, in the type of the source
large.json          SHA-256 of what becomes of a matrix too large to keep, made by a formula (see large)
MODEL/              a random model quantised and saved by Transformers
MODEL/want.safetensors   the dequantised weights, and the logits of ids in fp32

No matrix has a number of columns that is a multiple of 16 and not of 64: bitsandbytes' AVX-512 code reads those with
the scales of other blocks (PyTorch's own code in it, and CUDA, don't).
"""
import hashlib, json, os, shutil, sys

import bitsandbytes as bnb
import bitsandbytes.functional as F
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

out = sys.argv[1]
torch.set_num_threads(1)


def edges():
    g = torch.Generator().manual_seed(1)
    normal = lambda *shape: torch.randn(shape, generator=g)
    tensors = {}

    def case(name, w, own=True, blocksize=64, nested=True):
        q, state = F.quantize_4bit(w, blocksize=blocksize, quant_type="nf4", compress_statistics=nested)
        tensors[name + ".weight"] = q
        for key, value in state.as_dict(packed=True).items():
            tensors[f"{name}.weight.{key}"] = value
        tensors[name + ".dequantized"] = F.dequantize_4bit(q, state).contiguous()
        if own:
            tensors[name + ".source"] = w

    case("short", normal(3, 5))
    case("one", torch.tensor([[-0.25]]))
    zeros = normal(6, 43); zeros.view(-1)[64:128] = 0; zeros.view(-1)[256:] = 0  # 258: a block, and the part of one
    case("zeros", zeros)
    case("all_zero", torch.zeros(4, 64))
    levels = F.get_4bit_type("nf4", device="cpu")
    ties = torch.zeros(3, 64)
    ties[:, :15] = (levels[:-1] + levels[1:]) / 2
    ties[:, 15] = torch.tensor([1, -1, 1])
    ties[:, 16:32] = levels
    ties[2] *= 0.3
    case("ties", ties)
    case("subnormal", torch.cat([normal(2, 64) * 1e-39, normal(2, 64) * 1e-37, normal(1, 64) * 1e-45]))
    case("huge", normal(3, 50) * 1e36)
    case("same_scales", torch.ones(8, 64))
    spread = normal(300, 64) * 0.01
    spread[::7] *= torch.rand(len(spread[::7]), 1, generator=g) * 1e-3
    spread[100] *= 3000  # the other scales of its 256 fall on a few points of the 8-bit grid
    case("spread", spread.bfloat16())
    case("half", (normal(33, 40) * 0.02).half())
    case("plain", normal(9, 30), nested=False, own=False)
    case("wide", normal(20, 33), blocksize=128, own=False)
    case("widest", normal(70, 80), blocksize=4096, nested=False, own=False)
    save_file(tensors, f"{out}/edges.safetensors")


def large():
    """Enough scales for their mean to be summed on all levels."""
    n = 64 * 33333 + 17
    h = (np.arange(n, dtype=np.uint64) * 2654435761 + 12345) & 0xFFFFFFFF
    b = ((np.arange(n, dtype=np.uint64) // 64) * 40503 + 7) & 0xFFFF
    w = ((h >> 8).astype(np.float32) / np.float32(2**24) - np.float32(0.5)) * (b.astype(np.float32) / np.float32(65536) + np.float32(0.25))
    q, state = F.quantize_4bit(torch.from_numpy(w), quant_type="nf4", compress_statistics=True)
    digest = lambda t: hashlib.sha256(t.numpy().tobytes()).hexdigest()
    json.dump(dict(n=n, packed=digest(q), codes=digest(state.absmax), absmax=digest(state.state2.absmax), offset=digest(state.offset)), open(f"{out}/large.json", "w"), indent=1)


def model(name, kind, config, dtype, **quantization):
    torch.manual_seed(2)
    folder, whole = f"{out}/{name}", f"{out}/{name}.tmp"
    shutil.rmtree(folder, ignore_errors=True)
    m = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config))
    with torch.no_grad():
        for p in m.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    m.to(dtype).save_pretrained(whole)
    m = AutoModelForCausalLM.from_pretrained(whole, dtype=dtype, device_map="cpu", quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", **quantization))
    m.save_pretrained(folder)
    shutil.rmtree(whole)
    m = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")
    want = {}
    for path, module in m.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            w = module.weight
            want[path + ".weight"] = F.dequantize_4bit(w.data, w.quant_state).contiguous()
            # In fp32, as the test's decoder computes: the weights aren't rounded to dtype.
            w.quant_state.dtype = torch.float32
            linear = torch.nn.Linear(module.in_features, module.out_features, module.bias is not None)
            linear.weight.data = F.dequantize_4bit(w.data, w.quant_state)
            if module.bias is not None:
                linear.bias.data = module.bias.data
            m.set_submodule(path, linear)
    ids = torch.tensor([[5, 17, 3, 60, 42, 7, 7, 33]])
    want["ids"] = ids[0].int()
    with torch.no_grad():
        want["logits"] = torch.nn.Module.float(m)(input_ids=ids).logits[0].contiguous()
    save_file(want, f"{folder}/want.safetensors")
    if os.path.exists(f"{folder}/generation_config.json"):
        os.remove(f"{folder}/generation_config.json")


edges()
large()
llama = dict(vocab_size=64, hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32)
model("llama", "llama", llama, torch.bfloat16, bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
# Not even the head is spared, unless skipped; the codes are stored as bfloat16.
model("skipping", "llama", llama, torch.float32, bnb_4bit_quant_storage=torch.bfloat16, llm_int8_skip_modules=["model.layers.0.self_attn", "down_proj"])
model("gpt2", "gpt2", dict(vocab_size=64, n_embd=24, n_inner=56, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0), torch.float16, bnb_4bit_use_double_quant=True)
