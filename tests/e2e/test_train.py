#!/usr/bin/env python3
"""End to end: from text to a model that answers, with signals on the way."""
import csv
import json
import random
import signal
import subprocess
import time

from harness import GGUF, command, main, refused, run

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


def text_becomes_a_model_that_talks(folder):
    recipe = prepare(folder, "run", 40)
    said = run("train", "--config", recipe).stderr.decode()
    assert "held-out loss" in said and "step 40/40" in said, said
    rows = log(folder, "run")
    assert [int(r["step"]) for r in rows] == list(range(1, 41))
    assert float(rows[-1]["loss"]) < 0.6 * float(rows[0]["loss"]), rows[-1]
    assert sorted(p.name for p in (folder / "run").glob("*.ckpt")) == [f"step-000000{n}.ckpt" for n in (20, 30, 40)]
    report = (folder / "run/report.html").read_text()
    assert report.count("<svg") >= 7 and "Samples" in report and "Add " in report and "http" not in report
    answers = set()
    for kind in ("f32", "bf16", "fp8", "fp4", "gguf"):
        run("export", "--config", recipe, "--as", kind, "-o", folder / kind if kind != "gguf" else folder / "m.gguf")
        done = run("run", "-m", folder / ("m.gguf" if kind == "gguf" else kind), "--numerics", "exact", "--no-think", "-n", "8", "--temp", "0", "-p", "Add 3 and 4.")
        answers.add(done.stdout)
        if kind == "fp4":
            fp4 = done.stdout
    assert done.stdout == fp4  # the same numbers, the same bits
    assert any(b"sum" in a for a in answers), answers
    assert (folder / "fp4/model.safetensors").stat().st_size < (folder / "f32/model.safetensors").stat().st_size / 2
    done = run("train", "--config", recipe)  # nothing left to do
    assert b"going on after step 40" in done.stderr


def a_signal_loses_nothing(folder):
    whole, cut = prepare(folder, "whole", 30), prepare(folder, "cut", 30)
    run("train", "--config", whole, "-t", 1)
    stops = 0
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, None):
        p = subprocess.Popen(command("train", "--config", cut, "-t", 2), stderr=subprocess.PIPE)
        if sig:
            begin = time.monotonic()
            before = len(log(folder, "cut")) if (folder / "cut/log.csv").exists() else 0
            while time.monotonic() - begin < 60 and (not (folder / "cut/log.csv").exists() or len(log(folder, "cut")) < before + 2):
                time.sleep(0.02)
            other = refused("train", "--config", cut, says="another process trains in this folder")
            assert other
            p.send_signal(sig)
        said = p.communicate(timeout=100)[1].decode()
        assert p.returncode == 0, said
        stops += "stopped after step" in said
    assert stops >= 2, stops
    last = "step-00000030.ckpt"
    assert (folder / "whole" / last).read_bytes() == (folder / "cut" / last).read_bytes()
    assert [r["loss"] for r in log(folder, "whole")] == [r["loss"] for r in log(folder, "cut")]


def conversations(folder, name, reply):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"messages": [{"role": "user", "content": f"Add {a} and {b}."}, {"role": "assistant", "content": reply.format(a + b)}]}) + "\n"
                            for a in range(12) for b in range(12)))
    return path


def answer(model):
    return run("run", "-m", model, "--numerics", "exact", "--no-think", "-n", "12", "--temp", "0", "-p", "Add 3 and 4.").stdout


def conversations_change_how_it_answers(folder):
    recipe = prepare(folder, "run", 30)
    run("train", "--config", recipe)
    run("export", "--config", recipe, "--as", "f32", "-o", folder / "model")
    assert b"sum" in answer(folder / "model")
    talk, held = conversations(folder, "new", "Well, {0}."), conversations(folder, "held", "Well, {0}.")
    options = ["--epochs", 3, "--rate", "4e-3", "--held-out", held, talk]
    said = run("sft", "--from", folder / "model", "-o", folder / "tuned", *options).stderr.decode()
    assert "held-out loss" in said, said
    run("sft", "--from", recipe, "-o", folder / "same", *options)
    losses = [[(r["loss"], r["held_out_loss"]) for r in log(folder, name)] for name in ("tuned", "same")]
    assert losses[0] == losses[1]  # a run and its export are the same start
    assert float(losses[0][-1][0]) < 0.5 * float(losses[0][0][0]), losses[0]
    run("export", "--config", folder / "tuned/run.toml", "-o", folder / "model-2")
    assert b"Well" in answer(folder / "model-2")
    run("sft", "--from", folder / "model-2", "-o", folder / "third", "--epochs", 1, talk)  # FP4 and FP8 are read back
    assert float(log(folder, "third")[0]["loss"]) < 2 * float(losses[0][-1][0])
    said = run("sft", "--from", folder / "model", "-o", folder / "tuned", *options).stderr.decode()
    assert "going on after step" in said, said
    shard = (folder / "tuned/chat.shard").read_bytes()
    refused("sft", "--from", folder / "model", "-o", folder / "tuned", "--epochs", 3, held, says="another run")
    assert (folder / "tuned/chat.shard").read_bytes() == shard and not list((folder / "tuned").glob("new-*"))
    refused("sft", "--from", GGUF, "-o", folder / "no", "--tokenizer", folder / "tokenizer.json", talk, says=["DeepSeek V4", "llama"])
    refused("sft", "-o", folder / "no", talk, says="--from", code=2)
    refused("sft", "--from", folder / "model", talk, says="-o DIR", code=2)
    refused("sft", "--from", folder / "absent", "-o", folder / "no", talk, says="absent")
    refused("sft", "--from", folder / "model", "-o", folder / "no", folder / "words.txt", says="words.txt")


def refusals_name_the_reason(folder):
    recipe = prepare(folder, "run", 5)
    refused("train", says="--config", code=2)
    refused("train", "--config", folder / "absent.toml", says="absent.toml")
    refused("export", "--config", recipe, "-o", folder / "x", says="run")
    refused("export", "--config", recipe, says="-o DIR", code=2)
    refused("export", "--config", recipe, "-o", folder / "x", "--as", "int4", says="int4", code=2)
    recipe.write_text(recipe.read_text().replace("dim = 64", "dim = many"))
    refused("train", "--config", recipe, says=["[model] dim", "many"])
    assert not (folder / "x").exists()


main([text_becomes_a_model_that_talks, a_signal_loses_nothing, conversations_change_how_it_answers, refusals_name_the_reason])
