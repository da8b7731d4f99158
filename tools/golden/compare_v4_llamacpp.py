#!/usr/bin/env python3
"""Compares Fathom's DeepSeek V4 logits with llama.cpp's, on random models of several shapes.

    tools/golden/compare_v4_llamacpp.py --install     NumPy, gguf and llama.cpp into the cache folder: once, needs the network
    tools/golden/compare_v4_llamacpp.py [--fathom build/fathom] [--only TEXT]

--install puts PyPI's numpy and gguf into a virtual environment and the npm package @node-llama-cpp/linux-x64, llama.cpp as
shared libraries, beside it, in $XDG_CACHE_HOME/fathom/llamacpp. Without them the tool says SKIP and exits with 77.

`fathom synth` makes each model in the release's layout (FP8, FP4, BF16); v4_gguf.py decodes it into a GGUF file of F32. llama.cpp
reads that file, with F32 caches and without flash attention; Fathom reads the file and the folder, under --numerics exact. So
everything is F32 arithmetic on the same weights. Compared are the logits of every position: of one prefill, of token-by-token
decoding, and of llama.cpp's own prefill cut into chunks. The error of a position is max |a - b| / max |b| over the vocabulary;
none may exceed 1e-5. The models have at least 16 indexer heads: with few, scores tie exactly (the ReLU makes them 0), and each
program may then keep another entry. A selection whose scores are nearer than their rounding would fail the same way, rightly
or not; the seeds here have none."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent))
import llama_cpp
from llama_cpp import CACHE, LIBRARIES, RELEASE

PYPI = "numpy==2.4.6", "gguf==0.19.0"
BOUND, N_TOKENS, CHUNKS = 1e-5, 300, (5, 18, 19, 61, 127, 129, 200)

BASE = {
    "model_type": "deepseek_v4", "vocab_size": 512, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 128, "qk_rope_head_dim": 64, "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 64,
    "sliding_window": 32, "index_n_heads": 16, "index_head_dim": 128, "index_topk": 8, "moe_intermediate_size": 128,
    "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "num_hash_layers": 2, "hc_mult": 4,
    "hc_sinkhorn_iters": 20, "max_position_embeddings": 65536, "num_nextn_predict_layers": 0, "routed_scaling_factor": 1.5,
    "swiglu_limit": 0.5, "hc_eps": 1e-6, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "compress_rope_theta": 160000.0,
    "compress_ratios": [0, 4, 128, 4, 0, 128], "bos_token_id": 0, "eos_token_id": 1,
}
YARN = {"type": "yarn", "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 64}
OFF = {"index_topk": 512}  # every entry is selected: no selection can fall either way
WIDE = {"num_hidden_layers": 5, "hidden_size": 384, "num_attention_heads": 8, "o_groups": 4, "n_routed_experts": 16,
        "num_experts_per_tok": 4, "num_hash_layers": 3, "compress_ratios": [128, 128, 4, 128, 4]}
OTHER = {"hc_sinkhorn_iters": 7, "hc_eps": 1e-4, "rms_norm_eps": 1e-5, "rope_theta": 5000.0, "compress_rope_theta": 40000.0,
         "swiglu_limit": 0.8, "routed_scaling_factor": 2.5}
CASES = [  # name, seed, what differs from BASE, what differs from YARN
    ("window 32, 8 of 75 entries", 1, {}, {}),
    ("the same, seed 2", 2, {}, {}),
    ("the same, seed 3", 3, {}, {}),
    ("the same, seed 4", 4, {}, {}),
    ("all entries", 5, OFF, {}),
    ("all entries, window 128", 6, OFF | {"sliding_window": 128}, {}),
    ("YaRN from 65536", 7, OFF, {"original_max_position_embeddings": 65536}),
    ("without YaRN", 8, OFF, None),
    ("other constants", 9, OTHER, {"factor": 4.0, "original_max_position_embeddings": 128}),
    ("clamp out of reach", 10, OFF | {"swiglu_limit": 1000.0}, {}),
    ("dim 384, 8 heads, 16 experts", 11, WIDE, {}),
    ("the same, all entries", 12, WIDE | OFF, {}),
    ("heads of 512, released sizes", 13, {"head_dim": 512, "sliding_window": 128, "swiglu_limit": 10.0, "index_n_heads": 64,
                                          "index_topk": 16}, {}),
]


class Logits(llama_cpp.LlamaCpp):
    def __init__(self):
        super().__init__()
        self.settings = p = self.params()
        p.n_ctx = p.n_batch = p.n_ubatch = 512
        p.n_threads = p.n_threads_batch = 1  # more of them spin, and crawl on a busy machine
        p.flash_attn_type = 0
        p.type_k = p.type_v = llama_cpp.F32

    def logits(self, path, ids, n_vocab, cuts):
        """Of every position; each list of cuts is one evaluation from the start."""
        lib, model = self.lib, self.load(path)
        batch, out = lib.llama_batch_init(len(ids), 0, 1), []
        for ends in cuts:
            context, rows, first = lib.llama_init_from_model(model, self.settings), [], 0
            for end in [*ends, len(ids)]:
                self.evaluate(context, batch, ids[first:end], first, all_logits=True)
                rows.append(np.ctypeslib.as_array(lib.llama_get_logits(context), (end - first, n_vocab)).copy())
                first = end
            lib.llama_free(context)
            out.append(np.concatenate(rows))
        lib.llama_batch_free(batch)
        lib.llama_model_free(model)
        return out


def fathom_logits(fathom, model, ids, folder, *options):
    out = folder / "logits.safetensors"
    subprocess.run([fathom, "logits", "-m", model, "--ids", ",".join(map(str, ids)), "--numerics", "exact", "-o", out, *options],
                   check=True, stderr=subprocess.DEVNULL)
    return v4_gguf.Folder(folder)["logits"]


def error(a, b):
    return np.abs(a - b).max(axis=1) / np.abs(b).max(axis=1)


def compare(llama, fathom, seed, changes, yarn):
    """Errors by position: prefill, decode, Fathom's prefill against llama.cpp's in chunks, the release's folder."""
    config = BASE | changes
    if yarn is not None:
        config["rope_scaling"] = YARN | yarn
    ids = np.random.default_rng(seed).integers(3, config["vocab_size"], N_TOKENS).tolist()
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        (d / "config.json").write_text(json.dumps(config))
        subprocess.run([fathom, "synth", "--config", d / "config.json", "--seed", str(seed), "-o", d / "release"], check=True,
                       stderr=subprocess.DEVNULL)
        v4_gguf.write(d / "model.gguf", v4_gguf.Folder(d / "release"), config)
        steps = list(range(1, len(ids)))
        prefill, decoded, chunked = llama.logits(d / "model.gguf", ids, config["vocab_size"], [[], steps, list(CHUNKS)])
        ours = fathom_logits(fathom, d / "model.gguf", ids, d)
        ours_decoded = fathom_logits(fathom, d / "model.gguf", ids, d, "--decode")
        ours_folder = fathom_logits(fathom, d / "release", ids, d)
    return [error(ours, prefill), error(ours_decoded, decoded), error(ours, chunked), error(ours_folder, prefill)]


def install():
    llama_cpp.install()
    venv.create(CACHE / "venv", with_pip=True)
    subprocess.run([CACHE / "venv/bin/pip", "install", *PYPI], check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--install", action="store_true")
    p.add_argument("--fathom", default=here / "../../build/fathom")
    p.add_argument("--only", default="", help="only cases whose name contains this")
    a = p.parse_args()
    if a.install:
        return install()
    python = CACHE / "venv/bin/python"
    if not LIBRARIES.exists() or not python.exists():
        print("SKIP  llama.cpp is not in the cache folder: run this with --install")
        sys.exit(77)
    if pathlib.Path(sys.prefix) != CACHE / "venv":
        os.execv(python, [python, __file__, *sys.argv[1:]])
    global np, v4_gguf
    import numpy as np
    import v4_gguf
    llama, failed = Logits(), False
    print(f"largest error of {N_TOKENS} positions against llama.cpp {RELEASE} (<= {BOUND})")
    print(f"      {'':32s} prefill   decode    chunks    folder")
    for name, seed, changes, yarn in CASES:
        if a.only not in name:
            continue
        errors = compare(llama, a.fathom, seed, changes, yarn)
        ok = all(e.max() <= BOUND for e in errors)
        failed |= not ok
        print(f"{'PASS' if ok else 'FAIL'}  {name:32s} " + "  ".join(f"{e.max():.2e}" for e in errors), flush=True)
        if not ok:
            first = [np.flatnonzero(e > BOUND) for e in errors]
            print("      beyond the bound: " + ", ".join(f"{len(f)} from {f[0]}" if len(f) else "none" for f in first))
    sys.exit(failed)


if __name__ == "__main__":
    main()
