"""Writes official.safetensors, which the Go tests must read, and write again byte for byte.

Run with safetensors==0.8.0 in this folder: python official.py
"""
import ctypes

from safetensors import TensorSpec, serialize_file

WIDTH = {
    "bool": 1, "uint8": 1, "int8": 1, "float8_e5m2": 1, "float8_e4m3fn": 1, "float8_e8m0fnu": 1,
    "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4, "complex64": 8, "float64": 8, "int64": 8, "uint64": 8,
}
buffers = []


def tensor(dtype, *shape):
    size = WIDTH[dtype]
    for dim in shape:
        size *= dim
    buffers.append(ctypes.create_string_buffer(bytes(i % 2 for i in range(size)), max(size, 1)))
    return TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffers[-1]), data_len=size)


tensors = {f"b.{name}": tensor(name, 2, 3) for name in WIDTH}
tensors |= {
    "a.scalar": tensor("float32"),
    "a.empty": tensor("float32", 0, 3),
    "c.odd": tensor("uint8", 5),
    'quote" back\\ tab\t unit\x1f del\x7f é \u2028 <&>': tensor("float16", 1),
}
serialize_file(tensors, "official.safetensors", metadata={"format": 'pt "\n\u2028'})
