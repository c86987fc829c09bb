"""Checks what llama.cpp's converters made of an adapter, by what they made of its base and of the merged model.

usage: check_gguf.py BASE.gguf ADAPTER.gguf MERGED.gguf [--scale S]        needs llama.cpp's gguf-py in PYTHONPATH

It promises two things when it exits with 0:
- the adapter is one that llama.cpp loads onto the base: its kind, architecture, pairs and shapes, as
  src/llama-adapter.cpp asks for them;
- base + S alpha/rank B A, as llama.cpp computes it, is the merged model, to the rounding of the base's type. That is
  in llama.cpp's own layout: the converters reorder rows, and this says that they do it to A and B too.

S is what --lora-scaled gives to llama.cpp's programs, 1 by default. llama.cpp knows no other rule than alpha/rank.
The figures are printed as one line of JSON; what is wrong goes to stderr.
"""
import argparse
import json
import sys

import gguf
import numpy as np
from expected import Mismatch, require


class File:
    """The fields and tensors of a GGUF file; tensors as [rows, columns] in fp32."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.path = path
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        for t in reader.tensors:
            require(t.tensor_type == gguf.GGMLQuantizationType.F32, f"{path}: {t.name} is {t.tensor_type.name}, not F32")
        self.tensors = {t.name: t.data for t in reader.tensors}


def read_pairs(adapter, base):
    """The adapter's A [r,in] and B [out,r] by the name of the base's tensor."""
    expected = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": base.fields["general.architecture"]}
    for key, want in expected.items():
        require(adapter.fields.get(key) == want, f"{adapter.path}: {key} is {adapter.fields.get(key)!r}, not {want!r}")
    pairs = {}
    for name, tensor in adapter.tensors.items():
        target, dot, side = name.rpartition(".lora_")
        require(dot and side in ("a", "b"), f"{adapter.path}: {name} is neither lora_a nor lora_b")
        pairs.setdefault(target, {})[side] = tensor
    for target, pair in pairs.items():
        require(len(pair) == 2, f"{adapter.path}: {target} has one of lora_a and lora_b")
        require(target in base.tensors, f"{base.path} has no tensor {target}")
        a, b, weight = pair["a"].shape, pair["b"].shape, base.tensors[target].shape
        require(a[0] == b[1] and (b[0], a[1]) == weight, f"{target} is {list(weight)}, lora_a {list(a)}, lora_b {list(b)}")
    require(pairs, f"{adapter.path}: no tensors")
    return pairs


def rounding(weight):
    """The relative rounding of the type that weight had before it was converted to fp32."""
    return 2**-8 if not (weight.view(np.uint32) & 0xFFFF).any() else 2**-22  # bfloat16 or fp32


def check(base, adapter, merged, scale):
    """How many tensors the adapter changes, and the largest difference relative to what rounding allows."""
    pairs = read_pairs(adapter, base)
    alpha = adapter.fields["adapter.lora.alpha"]
    require(base.tensors.keys() == merged.tensors.keys(), f"other tensors than the base's: {base.tensors.keys() ^ merged.tensors.keys()}")
    worst = 0.0
    for name, was in base.tensors.items():
        now = merged.tensors[name]
        require(now.shape == was.shape, f"{name} became {list(now.shape)}")
        if name not in pairs:
            require(np.array_equal(now, was), f"{name} changed, though no adapter touches it")
            continue
        a, b = pairs[name]["a"], pairs[name]["b"]
        want = was + scale * alpha / len(a) * (b.astype(np.float64) @ a)
        allowed = np.maximum(abs(was), abs(want)) * rounding(was) + 1e-6
        worst = max(worst, (abs(now - want) / allowed).max())
        require(worst <= 1, f"{name} is not base + {scale:g} alpha/rank B A: {worst:.3g} times what rounding allows")
    return len(pairs), worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name in ("base", "adapter", "merged"):
        parser.add_argument(name, metavar=f"{name.upper()}.gguf")
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    try:
        changed, worst = check(File(args.base), File(args.adapter), File(args.merged), args.scale)
        print(json.dumps({"changed_tensors": changed, "largest_rounding": worst}))
    except (Mismatch, OSError, ValueError, KeyError) as e:
        sys.exit(f"check_gguf: {e}")


if __name__ == "__main__":
    main()
