#!/usr/bin/env python3
"""End to end: from text to a model that answers, with signals on the way."""
import signal
import subprocess
import time

from harness import Terminal, command, main, refused, run
from small_run import log, prepare


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


def a_terminal_shows_the_curve(folder):
    t = Terminal("train", "--config", prepare(folder, "seen", 30))
    t.expect("held-out loss")
    t.expect(r"[\u2801-\u28ff]{5}")  # the curve
    t.expect(r"step 30/30  loss [0-9.]+  [0-9]+ tok/s  [0-9]+% of peak")
    t.end(0)


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


main([text_becomes_a_model_that_talks, a_terminal_shows_the_curve, a_signal_loses_nothing, refusals_name_the_reason])
