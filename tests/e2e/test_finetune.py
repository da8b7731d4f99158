#!/usr/bin/env python3
"""End to end: training on from a model, by conversations (`fathom sft`) and by a teacher (`fathom distill`)."""
import json
import re

from harness import GGUF, TINY, main, refused, run
from small_run import log, prepare


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


def a_student_learns_from_a_teacher(folder):
    teacher, small = prepare(folder, "teacher", 40), prepare(folder, "small", 6)
    small.write_text(small.read_text().replace("dim = 64", "dim = 32", 1).replace("n_routed_experts = 4", "n_routed_experts = 2"))
    for recipe in (teacher, small):
        run("train", "--config", recipe)
    run("export", "--config", teacher, "--as", "f32", "-o", folder / "model")
    talk = conversations(folder, "talk-2", "The sum is {0}.")

    def distances(name):
        return [float(r["teacher_kl"]) for r in log(folder, name)]

    # its distribution
    said = run("distill", "logits", "-m", folder / "model", "--from", small, "-o", folder / "student", "--held-out", talk, "--rate", "4e-3", "--epochs", 6, talk).stderr.decode()
    held = [float(n) for n in re.findall(r"([0-9.]+) nats from the teacher", said)]
    assert held[-1] < 0.3 * held[0], held
    apart = distances("student")
    assert apart[-1] < 0.3 * apart[0], apart
    assert "nats from the teacher" in (folder / "student/report.html").read_text()
    run("distill", "logits", "-m", folder / "model", "--from", folder / "model", "-o", folder / "itself", "--epochs", 1, talk)
    assert distances("itself")[0] < 0.02 * apart[0], distances("itself")  # but for roundings it is the teacher

    # its text
    questions = folder / "questions.jsonl"
    questions.write_text("".join(json.dumps({"messages": [{"role": "user", "content": f"Add {a} and {b}."}]}) + "\n" for a in range(6) for b in range(6)))
    ask = ["distill", "text", "-m", folder / "model", "-n", 20, "--from", small, "-o", folder / "reader", "--rate", "4e-3", "--epochs", 8, questions]
    run(*ask)
    (answers,) = (folder / "reader").glob("answers-*.jsonl")
    lines = answers.read_text().splitlines()
    assert len(lines) == 36 and sum("The sum is" in line for line in lines) > 12, lines
    losses = [float(r["loss"]) for r in log(folder, "reader")]
    assert losses[-1] < 0.5 * losses[0], losses
    whole = answers.read_bytes()
    answers.write_bytes(whole[:len(whole) // 2])  # as a kill leaves it
    assert b"going on after step" in run(*ask).stderr and answers.read_bytes() == whole

    options = ["--from", small, "-o", folder / "no", talk]
    refused("distill", "logits", "-m", TINY / "tiny-f32.gguf", *options, says="vocabulary")
    refused("distill", "logits", *options, says="-m TEACHER", code=2)
    refused("distill", "weights", "-m", folder / "model", *options, says=["weights", "text or logits"], code=2)


main([conversations_change_how_it_answers, a_student_learns_from_a_teacher])
