"""A model of every kind of layer that a test trains in seconds, and what it learns."""
import csv
import json
import random

from harness import run

TALK = [{"messages": [{"role": "user", "content": f"Add {a} and {b}."}, {"role": "assistant", "content": f"The sum is {a + b}."}]}
        for a in range(20) for b in range(20)]
RECIPE = """# A model of every kind of layer.
[model]
dim = 64
compress_ratios = [0, 4, 16]
n_heads = 4
head_dim = 32
rope_head_dim = 16
q_lora_rank = 32
o_groups = 2
o_lora_rank = 32
window_size = 16
index_n_heads = 2
index_head_dim = 32
moe_inter_dim = 64
n_routed_experts = 4
n_activated_experts = 2
n_hash_layers = 1
n_mtp = 1

[data]
row_tokens = 128
tokenizer = "{0}/tokenizer.json"

[source.talk]
paths = ["{0}/talk.shard"]

[held_out]
paths = ["{0}/talk.shard"]

[train]
dir = "{0}/{1}"
steps = {2}
rows = 4
rate = 4e-3
warmup_steps = 5
select_from = 0.5
quantize_from = 0.7
evaluate_every = 10
evaluate_rows = 4
save_every = 10
"""


def prepare(folder, name, steps):
    if not (folder / "talk.shard").exists():
        rng = random.Random(1)
        words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(3, 9))) for _ in range(600)]
        (folder / "words.txt").write_text(" ".join(rng.choices(words, k=4000)))
        (folder / "talk.jsonl").write_text("".join(json.dumps(t) + "\n" for t in TALK))
        run("data", "tokenizer", "--vocab", "512", "-o", folder / "tokenizer.json", folder / "words.txt", folder / "talk.jsonl")
        run("data", "chat", "--tokenizer", folder / "tokenizer.json", "-o", folder / "talk.shard", folder / "talk.jsonl")
    path = folder / f"{name}.toml"
    path.write_text(RECIPE.format(folder, name, steps))
    return path


def log(folder, name):
    return list(csv.DictReader(open(folder / name / "log.csv")))
