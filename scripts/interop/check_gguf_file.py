"""Checks that a GGUF file written here is what llama.cpp's converter makes of the same model or adapter.

usage: check_gguf_file.py OURS.gguf THEIRS.gguf        needs llama.cpp's gguf-py in PYTHONPATH

It promises when it exits with 0: the same tensors, of the same types and shapes, byte for byte; and where both have a
metadata field, the same value. A chat template and the names of files may be in one alone.
"""
import json
import sys

import gguf
import numpy as np


def read(path):
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return fields, {t.name: t for t in reader.tensors}


def main():
    (fields, tensors), (want_fields, want) = read(sys.argv[1]), read(sys.argv[2])
    wrong = []
    if tensors.keys() != want.keys():
        wrong.append(f"other tensors: {sorted(tensors.keys() ^ want.keys())}")
    for name in tensors.keys() & want.keys():
        a, b = tensors[name], want[name]
        if a.tensor_type != b.tensor_type or list(a.shape) != list(b.shape):
            wrong.append(f"{name}: {a.tensor_type.name} {list(a.shape)}, theirs {b.tensor_type.name} {list(b.shape)}")
        elif not np.array_equal(a.data.view(np.uint8), b.data.view(np.uint8)):
            wrong.append(f"{name}: other bytes")
    for key in (fields.keys() & want_fields.keys()) - {"general.name"}:
        if fields[key] != want_fields[key]:
            wrong.append(f"{key}: {str(fields[key])[:60]}, theirs {str(want_fields[key])[:60]}")
    print(json.dumps({"tensors": len(tensors), "fields": len(fields.keys() & want_fields.keys()), "theirs_alone": sorted(want_fields.keys() - fields.keys())}))
    if wrong:
        sys.exit("check_gguf_file: " + "; ".join(wrong[:10]))


if __name__ == "__main__":
    main()
