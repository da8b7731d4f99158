#!/usr/bin/env python3
"""Records what implementations nobody here wrote say about a real model: tests/data/golden/NAME.safetensors.

    record_logits.py --model FILE.gguf --npm NODE_MODULES --out NAME.safetensors [--full FOLDER]

Judge 1, full precision: transformers on the weights as the PyPI package gguf dequantises them, all in float64 (its norms and
rotary tables go through float32, which is 1e-7 of noise). Judge 2: llama.cpp by the npm package node-llama-cpp, whose integer
dot products round the activations; it shows what distance from full precision the field finds normal.

The text is tests/data/golden/mixed.txt: four pieces, the first 512 tokens of each, every piece from an empty context.
Written for each position: the 16 most likely next tokens with their log probabilities, and the logarithm of the mass of all
others in 8 groups by id modulo 8. KL over these 24 cells is at most KL over the vocabulary (grouping never increases it).
--full keeps all log probabilities, for the exact figure (check_logits.py --full).

Recorded with: transformers 5.23.0, torch 2.15.0, gguf 0.19.0, node-llama-cpp 3.22.1."""
import argparse
import hashlib
import json
import os
import pathlib
import subprocess

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

N_TOKENS, N_TOP, N_GROUPS = 512, 16, 8
here = pathlib.Path(__file__).resolve().parent


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True, type=pathlib.Path)
    p.add_argument("--npm", required=True, type=pathlib.Path)
    p.add_argument("--out", required=True)
    p.add_argument("--full", type=pathlib.Path)
    a = p.parse_args()
    where = {"pretrained_model_name_or_path": a.model.parent, "gguf_file": a.model.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).double().eval()
    pieces = (here / "../../tests/data/golden/mixed.txt").read_text(encoding="utf-8").split("\f\n")
    ids = np.array([tokenizer(piece, add_special_tokens=False).input_ids[:N_TOKENS] for piece in pieces])

    if a.full:
        a.full.mkdir(parents=True, exist_ok=True)
    top_id, top_logprob, groups = [], [], []
    for s, sequence in enumerate(ids):
        with torch.no_grad():
            logprob = torch.log_softmax(model(torch.tensor(sequence)[None]).logits[0], dim=-1).numpy()
        order = np.argsort(-logprob, axis=1, kind="stable")[:, :N_TOP]
        rest = np.exp(logprob)
        np.put_along_axis(rest, order, 0.0, axis=1)
        rest = np.pad(rest, ((0, 0), (0, -rest.shape[1] % N_GROUPS))).reshape(N_TOKENS, -1, N_GROUPS).sum(axis=1)
        top_id.append(order)
        top_logprob.append(np.take_along_axis(logprob, order, axis=1))
        groups.append(np.log(rest))
        if a.full:
            logprob.astype(np.float32).tofile(a.full / f"reference-{s}.f32")
        print(f"sequence {s}: perplexity {np.exp(-logprob[np.arange(N_TOKENS - 1), sequence[1:]].mean()):.3f}", flush=True)

    env = dict(os.environ, **({"FULL": str(a.full.resolve())} if a.full else {}))
    run = subprocess.run(["node", here / "llama_cpp.mjs", a.npm.resolve(), a.model.resolve()], env=env, check=True, text=True,
                         input=json.dumps(ids.tolist()), stdout=subprocess.PIPE)
    llama = np.array(json.loads(run.stdout))
    print(f"llama.cpp agrees with full precision on the first choice at {100 * (llama == np.array(top_id)[:, :, 0]).mean():.2f} %")
    save_file({
        "ids": ids.astype(np.uint16), "top_id": np.array(top_id, dtype=np.uint16),
        "top_logprob": np.array(top_logprob, dtype=np.float32), "group_logmass": np.array(groups, dtype=np.float32),
        "llama_cpp_first": llama.astype(np.uint16)}, a.out,
        metadata={"model_sha256": hashlib.sha256(a.model.read_bytes()).hexdigest(), "script": "tools/golden/record_logits.py",
                  "transformers": transformers.__version__, "torch": torch.__version__, "node-llama-cpp": json.loads(
                      (a.npm / "node-llama-cpp/package.json").read_text())["version"]})


main()
