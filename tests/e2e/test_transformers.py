#!/usr/bin/env python3
"""Exports for Hugging Face transformers: what Fathom reads back, and what transformers itself computes.

transformers is looked for in this Python and in the one that FATHOM_TRANSFORMERS names; without it that part is skipped:

    python3 -m venv VENV && VENV/bin/pip install torch 'transformers>=5.10'
    FATHOM_TRANSFORMERS=VENV/bin/python meson test -C build transformers -v"""
import array
import json
import os
import subprocess
import sys

from harness import Skip, main, read_safetensors, refused, run
from small_run import prepare

PYTHON = os.environ.get("FATHOM_TRANSFORMERS", sys.executable)
N = 61
TEXT = "def f(x):\n    return [x, 12345, 'é']"

# Run by the Python that has it: FOLDER, ids as JSON -> logits in double precision, and what loading said.
LOAD = """
import json, sys
import torch, transformers
torch.set_num_threads(1)
model, said = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], attn_implementation="eager", experts_implementation="eager",
                                                                output_loading_info=True)
tokens = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
with torch.no_grad():
    logits = model.eval().double()(torch.tensor([json.loads(sys.argv[2])]), use_cache=False).logits[0]
json.dump({"logits": logits.flatten().tolist(), "said": {k: sorted(map(str, v)) for k, v in said.items()}, "ids": tokens(sys.argv[3])["input_ids"],
           "eos": tokens.eos_token_id, "version": transformers.__version__}, sys.stdout)
"""


def exported(folder):
    recipe = prepare(folder, "run", 6)
    run("train", "--config", recipe)
    for kind in ("f32", "transformers"):
        run("export", "--config", recipe, "--as", kind, "-o", folder / kind)
    return [(i + 1) * 2654435761 % 512 for i in range(N)]


def logits(folder, kind, ids):
    run("logits", "-m", folder / kind, "--numerics", "exact", "--ids", ",".join(map(str, ids)), "-o", folder / "out.safetensors")
    return read_safetensors(folder / "out.safetensors")["logits"][2]


def the_export_has_the_same_bits(folder):
    ids = exported(folder)
    assert logits(folder, "f32", ids) == logits(folder, "transformers", ids)
    recipe = folder / "run.toml"
    recipe.write_text(recipe.read_text().replace("compress_ratios = [0, 4, 16]", "compress_ratios = [8, 4, 16]").replace('run"', 'run-2"').replace("steps = 6", "steps = 1").replace("warmup_steps = 5", "warmup_steps = 1"))
    run("train", "--config", recipe)
    refused("export", "--config", recipe, "--as", "transformers", "-o", folder / "x", says=["one ratio", "8 and 16"])


def transformers_computes_the_same(folder):
    ids = exported(folder)
    if subprocess.run([PYTHON, "-c", "import torch, transformers.models.deepseek_v4"], capture_output=True).returncode:
        raise Skip("torch and transformers 5.10 or later are not here; FATHOM_TRANSFORMERS names a Python that has them")
    done = subprocess.run([PYTHON, "-c", LOAD, folder / "transformers", json.dumps(ids), TEXT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    other = json.loads(done.stdout)
    assert not any(other["said"].values()), other["said"]  # every name is known, none is missing
    mine, want = array.array("f", logits(folder, "transformers", ids)), other["logits"]
    rows = [range(i * 512, (i + 1) * 512) for i in range(N)]
    worst = max(max(abs(mine[i] - want[i]) for i in row) / max(abs(want[i]) for i in row) for row in rows)
    print(f"# transformers {other['version']}: logits {worst:.1e}, allowed 1e-05", flush=True)
    assert worst < 1e-5  # about ten times what was measured; a wrong name or formula is off by 1e-2 and more
    mine = run("tokenize", "-m", folder / "transformers", stdin=TEXT.encode()).stdout.split()
    assert other["ids"] == [int(i) for i in mine] and other["eos"] == 1


main([the_export_has_the_same_bits, transformers_computes_the_same])
