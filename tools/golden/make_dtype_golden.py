#!/usr/bin/env python3
"""Writes tests/data/dtype_golden.bin: blocks of every GGUF dtype and their values by the numpy codecs of PyPI's `gguf`.

Usage: python3 tools/golden/make_dtype_golden.py tests/data/dtype_golden.bin     (needs gguf and numpy)

Layout, little-endian: 8 bytes "FDTYPES1", 56 bytes text (versions, NUL-padded), then records
    char dtype[16] | u32 direction (0 decode, 1 encode) | u32 n_floats | u32 n_bytes | f32 values | block bytes
A decode record holds random blocks and their values; an encode record holds random values and the blocks made of them.
"""
import struct
import sys

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from importlib.metadata import version

# name: (elements, bytes, offsets of f16 fields, blocks to write)
DECODE = {
    "F16": (1, 2, [0], 256),
    "BF16": (1, 2, [], 256),
    "Q8_0": (32, 34, [0], 16),
    "Q4_0": (32, 18, [0], 16),
    "Q4_1": (32, 20, [0, 2], 16),
    "Q5_0": (32, 22, [0], 16),
    "Q5_1": (32, 24, [0, 2], 16),
    "Q2_K": (256, 84, [80, 82], 5),
    "Q4_K": (256, 144, [0, 2], 5),
    "Q5_K": (256, 176, [0, 2], 5),
    "Q6_K": (256, 210, [208], 5),
    "IQ2_XXS": (256, 66, [0], 8),
    "MXFP4": (32, 17, [], 16),
}
ENCODE = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4"]


def scales(rng, n):
    """Finite f16 of all magnitudes: ordinary, negative, subnormal, zero, the largest."""
    s = (rng.standard_normal(n) * 10.0 ** rng.integers(-7, 3, n)).astype(np.float16)
    s[rng.random(n) < 0.05] = 0
    s[rng.random(n) < 0.05] = np.float16(65504)
    return s


def blocks(rng, name):
    elements, size, fields, n = DECODE[name]
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in fields:
        b[:, at : at + 2] = scales(rng, n).view(np.uint8).reshape(n, 2)
    if name == "BF16":  # exponent 255 is infinity or NaN: not part of this comparison
        b[(b[:, 1] & 0x7F) == 0x7F, 1] ^= 0x40
    if name == "MXFP4":
        b[:, 0] = rng.integers(0, 253, n)  # above, 6 * 2^(e - 127) overflows and the package's half scale does not
    return b


def values(rng, n):
    x = rng.standard_normal((n // 32, 32)).astype(np.float32)
    x *= (10.0 ** rng.integers(-3, 3, (n // 32, 1))).astype(np.float32)
    x[::7] += np.float32(3)  # off-centre blocks for the formats with a minimum
    x[3] = 0
    return x.reshape(1, n)


def record(out, name, direction, floats, data):
    floats = np.ascontiguousarray(floats, dtype="<f4").reshape(-1)
    data = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    out.write(struct.pack("<16sIII", name.encode(), direction, floats.size, data.size))
    out.write(floats.tobytes() + data.tobytes())


def main(path):
    rng = np.random.default_rng(20240607)
    kinds = gguf.GGMLQuantizationType
    with open(path, "wb") as out:
        text = f"gguf {version('gguf')} numpy {np.__version__}"
        out.write(struct.pack("<8s56s", b"FDTYPES1", text.encode()))
        for name in DECODE:
            b = blocks(rng, name)
            flat = b.reshape(1, -1)
            with np.errstate(all="ignore"):
                x = dequantize(flat.view(np.float16) if name == "F16" else flat, kinds[name])
            record(out, name, 0, x, b)
        for name in ENCODE:
            x = values(rng, 512)
            record(out, name, 1, x, quantize(x, kinds[name]))


main(sys.argv[1])
