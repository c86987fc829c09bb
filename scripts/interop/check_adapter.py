"""Checks an adapter written by this project against the real PEFT.

usage: check_adapter.py BASE_DIR ADAPTER_DIR VAL_TOKENS.json [--expect LOSS]

It promises three things when it exits with 0:
- the folder is what readers of LoRA adapters need: PEFT itself, and vLLM by its own rules (lora/peft_helper.py and
  lora/utils.py of 0.33; llama.cpp is asked itself, see check_gguf.py);
- PEFT loads it onto the base with every weight in its place: none missing, none left over, no warning;
- with --expect, the adapted model's loss is LOSS to 1e-4.

VAL_TOKENS.json is a list of rows of token ids. The loss is nats a token: each row's positions 1..T-1
are predicted from those before them, and all of them count the same. The model runs in fp32 with
eager attention on the CPU. The losses are printed as one line of JSON; what is wrong goes to stderr.
"""
import argparse
import json
import math
import re
import sys
import warnings
from pathlib import Path

import torch
import transformers
from expected import Mismatch, is_int, read_rows, require
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

TOLERANCE = 1e-4
PREFIX = "base_model.model."
LARGEST_RANK = 512  # the largest --max-lora-rank of vLLM
# What vLLM refuses, and llama.cpp doesn't see: adapters that are more than A and B beside a linear layer.
MORE_THAN_LORA = ("use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora")


def check_config(config):
    """The fields of adapter_config.json that vLLM and llama.cpp read, as they need them."""
    expected = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True, "modules_to_save": None,
                "init_lora_weights": True}  # other inits may have changed the base's weights
    for key, want in expected.items():
        require(key in config, f"adapter_config.json: no {key}")
        require(config[key] == want, f"adapter_config.json: {key} is {config[key]!r}, not {want!r}")
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    for key, value in [("r", config.get("r")), *ranks.items()]:
        require(is_int(value) and value > 0, f"adapter_config.json: {key} is {value!r}, not a positive integer")
    for key, value in [("lora_alpha", config.get("lora_alpha")), *alphas.items()]:
        number = is_int(value) or isinstance(value, float)
        require(number and value > 0, f"adapter_config.json: {key} is {value!r}, not a positive number")
    require(max([config["r"], *ranks.values()]) <= LARGEST_RANK, f"adapter_config.json: a rank is over {LARGEST_RANK}")
    targets = config.get("target_modules")
    require(isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets),
            f"adapter_config.json: target_modules is {targets!r}, not a list of module names")
    base = config.get("base_model_name_or_path")
    require(isinstance(base, str) and base, f"adapter_config.json: base_model_name_or_path is {base!r}, not a model's name")
    for key in MORE_THAN_LORA:
        require(not config.get(key), f"adapter_config.json: {key} is set; nothing here trains it")


def rank_of(path, config):
    """The rank that PEFT and vLLM give the module at path: that of the first pattern which matches the path's end."""
    for pattern, rank in (config.get("rank_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return rank
    return config["r"]


def linear_size(base, path):
    """(inputs, outputs) of the base's linear layer at path."""
    try:
        layer = base.get_submodule(path)
    except AttributeError:
        raise Mismatch(f"adapter_model.safetensors: the base has no module {path}") from None
    require(isinstance(layer, (torch.nn.Linear, Conv1D)), f"adapter_model.safetensors: {path} is a {type(layer).__name__}, not a linear layer")
    rows, cols = layer.weight.shape
    return (rows, cols) if isinstance(layer, Conv1D) else (cols, rows)


def check_tensors(file, config, base):
    """Names, shapes A [r,in] and B [out,r], and the metadata of adapter_model.safetensors. Returns the names."""
    with safe_open(file, framework="pt") as f:
        metadata, tensors = f.metadata() or {}, {name: f.get_tensor(name) for name in f.keys()}
    require(metadata.get("format") == "pt", f"adapter_model.safetensors: metadata is {metadata}, without format pt")
    require(tensors, "adapter_model.safetensors: no tensors")

    modules = {}  # path -> {"A": tensor, "B": tensor}
    for name, tensor in tensors.items():
        path, dot, side = name.removesuffix(".weight").rpartition(".lora_")
        require(name.startswith(PREFIX) and name.endswith(".weight") and dot and side in ("A", "B"),
                f"adapter_model.safetensors: {name} is not {PREFIX}<module>.lora_{{A,B}}.weight")
        require(tensor.isfinite().all(), f"adapter_model.safetensors: {name} has a value that is not finite")
        modules.setdefault(path.removeprefix(PREFIX), {})[side] = tensor

    for path, pair in modules.items():
        require(len(pair) == 2, f"adapter_model.safetensors: {path} has lora_{'A' if 'A' in pair else 'B'} alone")
        rank = rank_of(path, config)
        inputs, outputs = linear_size(base, path)
        for side, want in (("A", (rank, inputs)), ("B", (outputs, rank))):
            got = tuple(pair[side].shape)
            require(got == want, f"adapter_model.safetensors: lora_{side} of {path} is {list(got)}, not {list(want)}")

    def names(target, path):
        return path == target or path.endswith("." + target)

    for target in config["target_modules"]:
        require(target in (config.get("exclude_modules") or []) or any(names(target, p) for p in modules), f"adapter_config.json: target {target} has no weights")
    for path in modules:
        require(any(names(t, path) for t in config["target_modules"]), f"adapter_config.json: no target names {path}, which has weights")
    return set(tensors)


def load_adapted(base, adapter_dir, stored):
    """The base with the adapter on it, once PEFT is known to have used exactly the stored names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted = PeftModel.from_pretrained(base, adapter_dir)
    # what the libraries say about their own old names is not about this adapter, and that a tied head is adapted is known
    told = [str(w.message) for w in caught if not issubclass(w.category, (DeprecationWarning, FutureWarning))]
    told = [t for t in told if not t.startswith("Model has `tie_word_embeddings=True` and a tied layer is part of the adapter")]
    require(not told, "PEFT warns: " + "; ".join(told))
    used = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    require(not used - stored, f"PEFT misses weights: {sorted(used - stored)}")
    require(not stored - used, f"PEFT has no place for: {sorted(stored - used)}")
    return adapted.eval()


@torch.no_grad()
def mean_loss(model, rows):
    """Nats a token over the targets of all rows."""
    total, targets = 0.0, 0
    for row in rows:
        x = torch.tensor([row])  # [1,T]
        logits = model(input_ids=x, use_cache=False).logits[0, :-1].float()  # [T-1,V]
        total += torch.nn.functional.cross_entropy(logits, x[0, 1:], reduction="none").double().sum().item()
        targets += len(row) - 1
    return total / targets


def check(base_dir, adapter_dir, tokens_file, expect):
    adapter_dir = Path(adapter_dir)
    config = json.loads((adapter_dir / "adapter_config.json").read_text())
    check_config(config)

    base = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32, attn_implementation="eager", local_files_only=True).eval()
    stored = check_tensors(adapter_dir / "adapter_model.safetensors", config, base)
    rows = read_rows(tokens_file, base.get_input_embeddings().num_embeddings)

    base_loss = mean_loss(base, rows)
    adapted_loss = mean_loss(load_adapted(base, adapter_dir, stored), rows)
    print(json.dumps({"base_loss": base_loss, "adapted_loss": adapted_loss, "targets": sum(len(r) - 1 for r in rows), "tensors": len(stored)}))

    require(math.isfinite(adapted_loss), f"the adapted loss is {adapted_loss}")
    if expect is not None:
        require(abs(adapted_loss - expect) <= TOLERANCE, f"the adapted loss is {adapted_loss:.6f}, {expect:.6f} was expected")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("base_dir")
    parser.add_argument("adapter_dir")
    parser.add_argument("tokens", metavar="VAL_TOKENS.json")
    parser.add_argument("--expect", type=float, metavar="LOSS")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        check(args.base_dir, args.adapter_dir, args.tokens, args.expect)
    except (Mismatch, OSError, ValueError, RuntimeError) as e:  # RuntimeError: PEFT on a wrong shape
        sys.exit(f"check_adapter: {e}")


if __name__ == "__main__":
    main()
