#!/usr/bin/env python3
"""Records tests/data/golden/v4_*.safetensors with tools/golden/v4_reference.py (needs numpy).

    build/tests/golden/test_v4_golden --write FOLDER && python3 tools/golden/make_v4_golden.py FOLDER tests/data/golden

Per tensor: the largest magnitude, then values at scattered places (place j of n values: j * 2654435761 mod n). Each file says
with which NumPy it was made and how close its closest decision is to a tie, relative to the value decided on.

    python3 tools/golden/make_v4_golden.py --margin FOLDER     only prints the margins (to choose a seed)"""
import json
import pathlib
import struct
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import v4_reference  # noqa: E402

N_SAMPLES = 40
CASES = {"tiny": (61, {}), "ratio128": (320, {}), "rounded": (14, {"cache": True, "activations": True}), "dspark": (40, {})}


def run(folder, n_tokens, roundings):
    """(ids, tensors by name)"""
    model = v4_reference.Model(v4_reference.Folder(folder), roundings)
    ids = np.random.default_rng(1).integers(0, model.c["vocab_size"], n_tokens)
    after = model.backbone(ids)
    if "dspark_block_size" in model.c:
        model.dspark(after, int(ids[0]), model.c["dspark_block_size"])
    else:
        model.mtp(after[-1][:-1], ids[1:])
    return ids, model.seen


def sampled(value):
    flat = np.asarray(value, np.float64).reshape(-1)
    n = min(N_SAMPLES, flat.size)
    return np.concatenate([[np.abs(flat).max()], flat[np.arange(n) * 2654435761 % flat.size]]).astype("<f4")


def save(path, ids, tensors, made_with):
    entries, data = {"__metadata__": made_with}, b""
    arrays = {"ids": ids.astype("<i4"), **{k: sampled(v) for k, v in tensors.items() if np.size(v)}}
    for name, a in arrays.items():
        entries[name] = {"dtype": "I32" if a.dtype.kind == "i" else "F32", "shape": list(a.shape),
                         "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def main():
    only_margin = sys.argv[1] == "--margin"
    folder = pathlib.Path(sys.argv[-1 if only_margin else 1])
    for name, (n_tokens, options) in CASES.items():
        roundings = v4_reference.Roundings(**options)
        ids, tensors = run(folder / name, n_tokens, roundings)
        print(f"{name}: {len(tensors)} tensors, {n_tokens} tokens, margin {roundings.margin:.2e}")
        if not only_margin:
            save(pathlib.Path(sys.argv[2]) / f"v4_{name}.safetensors", ids, tensors,
                 {"made_with": f"tools/golden/make_v4_golden.py, numpy {np.__version__}", "margin": f"{roundings.margin:.2e}"})


main()
