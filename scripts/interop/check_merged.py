"""Checks a model merged by scu merge against Transformers and PEFT.

usage: check_merged.py BASE_DIR ADAPTER_DIR MERGED_DIR VAL_TOKENS.json --expect LOSS

It promises two things when it exits with 0:
- MERGED_DIR is the base model with other numbers in it: the same tensors, shapes, types and config.json, loaded by
  Transformers with none missing or left over; what the adapter doesn't touch is the base's to the bit, and what it
  does is what PEFT's own merge gives, rounded to the base's type;
- the merged model's loss in Transformers, in fp32, is LOSS, that of scu eval on the same tokens, to 1e-5.

VAL_TOKENS.json is a list of rows of token ids, and the loss is as in check_adapter.py. The figures are printed as one
line of JSON; what is wrong goes to stderr.
"""
import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from check_adapter import mean_loss
from expected import Mismatch, read_rows, require
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-5
ROUNDING = {torch.float32: 2**-22, torch.bfloat16: 2**-8, torch.float16: 2**-10}  # of the larger of base and sum


def weights(folder):
    """Every tensor of a model folder, from one file or from the shards of its index."""
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return load_file(folder / "model.safetensors")
    shards = json.loads(index.read_text())["weight_map"]
    tensors = {}
    for file in sorted(set(shards.values())):
        held = load_file(folder / file)
        require({n for n, f in shards.items() if f == file} == set(held), f"{file} holds other tensors than the index says")
        tensors |= held
    return tensors


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        require(not info[kind], f"{folder}: {kind} {sorted(info[kind])}")
    return model.eval()


def check_weights(base_dir, adapter_dir, merged_dir):
    """The merged tensors are the base's or PEFT's merge of them. Returns how many the adapter changed, and the largest difference
    to PEFT's, relative to what rounding allows."""
    base, merged = weights(base_dir), weights(merged_dir)
    require(base.keys() == merged.keys(), f"other tensors than the base's: {sorted(base.keys() ^ merged.keys())}")
    require(json.loads(Path(base_dir, "config.json").read_text()) == json.loads(Path(merged_dir, "config.json").read_text()),
            "config.json is not the base's")
    adapted = PeftModel.from_pretrained(load(base_dir), adapter_dir)
    touched = {name.removesuffix(".weight") for name, _ in adapted.get_base_model().named_parameters() if name.endswith(".base_layer.weight")}
    touched = {name.removesuffix(".base_layer") + ".weight" for name in touched}
    want = adapted.merge_and_unload().state_dict()
    worst = 0.0
    for name, was in base.items():
        now = merged[name]
        require(now.dtype == was.dtype and now.shape == was.shape, f"{name} became {now.dtype} {list(now.shape)}")
        if name not in touched:
            require(torch.equal(now, was), f"{name} changed, though no adapter touches it")
            continue
        scale = torch.maximum(was.float().abs(), want[name].abs()) * ROUNDING[was.dtype] + 1e-9
        worst = max(worst, ((now.float() - want[name]).abs() / scale).max().item())
        require(worst <= 1, f"{name} is not what PEFT merges: {worst:.3g} times what rounding allows")
    require(touched <= base.keys(), f"adapted weights that the checkpoint has not: {sorted(touched - base.keys())}")
    return len(touched), worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("base_dir")
    parser.add_argument("adapter_dir")
    parser.add_argument("merged_dir")
    parser.add_argument("tokens", metavar="VAL_TOKENS.json")
    parser.add_argument("--expect", type=float, required=True, metavar="LOSS")
    args = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # the libraries' own old names
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        changed, worst = check_weights(args.base_dir, args.adapter_dir, args.merged_dir)
        model = load(args.merged_dir)
        loss = mean_loss(model, read_rows(args.tokens, model.get_input_embeddings().num_embeddings))
        print(json.dumps({"merged_loss": loss, "expected": args.expect, "changed_weights": changed, "largest_rounding": worst}))
        require(abs(loss - args.expect) <= TOLERANCE, f"the merged model's loss is {loss:.7f}, {args.expect:.7f} was expected")
    except (Mismatch, OSError, ValueError, RuntimeError, KeyError) as e:
        sys.exit(f"check_merged: {e}")


if __name__ == "__main__":
    main()
