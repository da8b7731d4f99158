#!/usr/bin/env python3
"""Runs the NumPy oracle of DeepSeek V4, if it is here, and the test that compares Fathom with everything it wrote.

    run_oracle.py SOURCE_ROOT TEST

The oracle is SOURCE_ROOT/../shared/oracle/dsv4_oracle.py; FATHOM_SHARED names another folder than ../shared. Without it, or
without NumPy, the whole test is skipped and says so."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

# The oracle's configuration (its class Cfg) as config.json.
CONFIG = {
    "model_type": "deepseek_v4", "vocab_size": 512, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 128, "qk_rope_head_dim": 64, "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 64,
    "moe_intermediate_size": 128, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "num_hash_layers": 2,
    "swiglu_limit": 0.5, "routed_scaling_factor": 1.5, "index_n_heads": 4, "index_head_dim": 128, "index_topk": 3,
    "sliding_window": 8, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "compress_rope_theta": 160000, "max_position_embeddings": 4096, "num_nextn_predict_layers": 1,
    "rope_scaling": {"type": "yarn", "factor": 16, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1},
    "compress_ratios": [0, 0, 4, 8, 4, 8, 0], "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc",
}


def python_with_numpy():
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode == 0:
                return python
        except OSError:
            pass
    return None


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


root, test = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
shared = pathlib.Path(os.environ.get("FATHOM_SHARED", root.parent / "shared"))
oracle = shared / "oracle" / "dsv4_oracle.py"
if not oracle.exists():
    skip("the oracle ../shared/oracle/dsv4_oracle.py is not beside this checkout")
python = python_with_numpy()
if not python:
    skip("python3 has no numpy (package python3-numpy)")
with tempfile.TemporaryDirectory() as folder:
    run = subprocess.run([python, oracle], cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if run.returncode:
        print(f"Bail out! {oracle} failed: {run.stderr.strip().splitlines()[-1:]}")
        sys.exit(1)
    (pathlib.Path(folder) / "config.json").write_text(json.dumps(CONFIG))
    sys.exit(subprocess.run([test, folder]).returncode)
