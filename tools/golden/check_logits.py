#!/usr/bin/env python3
"""Compares Fathom's logits of the real SmolLM2 with the recorded ones and prints one line per figure, PASS or FAIL.

    check_logits.py [--fathom build/fathom] [--model default] [--full FOLDER]

The recording (tests/data/golden/smollm2.safetensors, by record_logits.py) is full-precision arithmetic on the dequantised
weights, by an implementation nobody here wrote: 4 x 512 tokens of prose, C, Markdown with Python, and questions in several
languages. Bounds: mean KL(reference || Fathom) <= 1e-3 nats under both contracts, `exact` and `fast`; the first choice agrees at
>= 99.5 % of the positions under `exact`.

KL over the whole vocabulary needs the full recording (--full, 400 MB). Without it the figure is the KL over 24 cells, the
reference's 16 likeliest tokens and the rest in 8 groups: a lower bound of the full one, printed as such.

Then, on the same file: token-by-token decode against prefill, thread counts, and ISA levels, all bit for bit."""
import argparse
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import numpy as np

here = pathlib.Path(__file__).resolve().parent
GOLDEN = here / "../../tests/data/golden/smollm2.safetensors"
TOP_1, KL = 0.995, 1e-3
TYPES = {"F32": np.float32, "U16": np.uint16, "I32": np.int32, "I64": np.int64}
failed = False


def read_safetensors(path):
    raw = pathlib.Path(path).read_bytes()
    (n,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]], TYPES[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}


def report(ok, text):
    global failed
    failed |= not ok
    print(f"{'PASS' if ok else 'FAIL'}  {text}", flush=True)


def fathom_logits(a, ids, *options):
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([a.fathom, "logits", "-m", a.model, "--ids", ",".join(map(str, ids)), "-o", d + "/x.safetensors", *options],
                       check=True, stderr=subprocess.DEVNULL)
        return read_safetensors(d + "/x.safetensors")["logits"]


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def cell_kl(q, top, top_logprob, group_logmass):
    """KL per position over the reference's top tokens and the groups of the others."""
    kl = (np.exp(top_logprob) * (top_logprob - np.take_along_axis(q, top, axis=1))).sum(axis=1)
    rest = np.exp(q)
    np.put_along_axis(rest, top, 0.0, axis=1)
    n_groups = group_logmass.shape[1]
    rest = np.pad(rest, ((0, 0), (0, -rest.shape[1] % n_groups))).reshape(len(q), -1, n_groups).sum(axis=1)
    return kl + (np.exp(group_logmass) * (group_logmass - np.log(rest))).sum(axis=1)


def levels(a):
    """ISA levels of this machine, as `fathom doctor` lists them: "isa  ref  yes (needs ...)"."""
    text = subprocess.run([a.fathom, "doctor"], check=True, capture_output=True, text=True).stdout
    return re.findall(r"^(?:isa)? +(\w+) +yes \(needs", text, re.M)


def compare(a, golden, contract):
    """Prints the figures of one numeric contract; returns the first 64 rows of each sequence."""
    ids, top = golden["ids"].astype(int), golden["top_id"].astype(int)
    agree, agree_llama, cells, full, worst, rows = [], [], [], [], 0.0, []
    for s in range(len(ids)):
        logits = fathom_logits(a, ids[s], "--numerics", contract)
        rows.append(logits[:64].copy())
        q = log_softmax(logits)
        agree.append(logits.argmax(axis=1) == top[s, :, 0])
        agree_llama.append(logits.argmax(axis=1) == golden["llama_cpp_first"][s])
        reference = golden["top_logprob"][s].astype(np.float64)
        cells.append(cell_kl(q, top[s], reference, golden["group_logmass"][s].astype(np.float64)))
        worst = max(worst, np.abs(reference - np.take_along_axis(q, top[s], axis=1)).max())
        if a.full:
            r = np.fromfile(a.full / f"reference-{s}.f32", np.float32).reshape(q.shape).astype(np.float64)
            full.append((np.exp(r) * (r - q)).sum(axis=1))
        print(f"      {contract}: sequence {s + 1} of {len(ids)}: {len(ids[s])} tokens done", flush=True)
    n, top_1, llama = ids.size, np.mean(agree), np.mean(golden["llama_cpp_first"] == top[:, :, 0])
    bound = f">= {100 * TOP_1} %; " if contract == "exact" else ""
    report(not bound or top_1 >= TOP_1, f"{contract}: first choice as in full precision: {100 * top_1:.2f} % of {n} tokens "
                                        f"({bound}llama.cpp: {100 * llama:.2f} %)")
    report(np.mean(cells) <= KL, f"{contract}: KL from full precision, 24 cells, a lower bound: {np.mean(cells):.2e} nats per token, "
                                 f"largest {np.max(cells):.2e} (<= {KL})")
    if full:
        report(np.mean(full) <= KL, f"{contract}: KL from full precision, whole vocabulary: {np.mean(full):.2e} nats per token, "
                                    f"largest {np.max(full):.2e} (<= {KL})")
    else:
        print("SKIP  KL over the whole vocabulary: no full recording (make one with record_logits.py --full)")
    print(f"      largest difference of a log probability among the 16 likeliest: {worst:.2e}")
    print(f"      first choice as llama.cpp's: {100 * np.mean(agree_llama):.2f} %")
    return rows


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--fathom", default=here / "../../build/fathom")
    p.add_argument("--model", default="smollm2")
    p.add_argument("--full", type=pathlib.Path)
    a = p.parse_args()
    golden = read_safetensors(GOLDEN)
    part = golden["ids"].astype(int)[1][:64]
    for contract in ("exact", "fast"):
        base, numerics = compare(a, golden, contract)[1], ("--numerics", contract)
        report(np.array_equal(fathom_logits(a, part, "--decode", *numerics), base),
               f"{contract}: decode token by token = prefill: the same bits, 64 tokens")
        for threads in (1, 2, 3):
            report(np.array_equal(fathom_logits(a, part, "--threads", str(threads), *numerics), base),
                   f"{contract}: {threads} threads: the same bits")
        for level in levels(a):
            report(np.array_equal(fathom_logits(a, part, "--isa", level, *numerics), base), f"{contract}: level {level}: the same bits")
    sys.exit(failed)


main()
