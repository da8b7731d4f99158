#!/usr/bin/env python3
"""End to end: the random models of tools/bench, and the table that is made of measurements."""
import json
import pathlib
import subprocess
import sys

from harness import main, run

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/bench"
sys.path.insert(0, str(TOOLS))
import peers_report

FORMATS = ["Q4_0", "Q4_1", "Q8_0", "Q4_K", "MXFP4"]


def write(path, *args):
    subprocess.run([sys.executable, TOOLS / "models.py", path, *args, "--tiny"], check=True)


def random_models_open_and_run(folder):
    for arch, kind in [("llama", k) for k in FORMATS] + [("deepseek4", "MXFP4")]:
        path = folder / f"{arch}-{kind}.gguf"
        write(path, arch, kind)
        text = run("inspect", path).stdout.decode()
        assert f"architecture   {arch}" in text and kind in text and ("Q6_K" in text) == (kind == "Q4_K"), text
        run("logits", "-m", path, "--ids", "5 6 7", "-o", folder / "logits.safetensors")
    b = json.loads(run("bench", "-m", path, "-p", "8", "-n", "2", "-r", "1", "--json").stdout)
    assert b["decode"]["tokens_per_s"] > 0


def random_models_are_the_same_each_time(folder):
    for name in ("a", "b"):
        write(folder / name, "llama", "MXFP4")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


PART = {"part": "head", "seconds": 0.002, "share": 1.0, "busy": 0.5, "gb_per_s": 20.0, "bandwidth_share": 0.5, "gops": 60.0, "peak_share": 0.1}


def job(name, prefill, decode, threads=2, **more):
    """Rates of each engine; a token is 1 GB and 2 Gop, in a prompt 3 Gop."""
    e = {engine: {"prefill": [prefill / by], "decode": [decode / by], "noise": [0.01]} for engine, by in (("fathom", 1), ("llama.cpp", 2))}
    return {"job": name, "engines": e, "threads": threads, "cpu": "cpu", "isa": "isa", "commit": "c", "when": "2020-01-01 00:00", "variant": "v",
            "prefill": {"tokens": 100, "ops": 300e9, "bytes": 0, "profile": [PART]},
            "decode": {"tokens": 10, "ops": 20e9, "bytes": 10e9, "bandwidth_share": [0.4, 0.5, 0.6], "profile": [PART]},
            "read_gb_per_s": [40.0, 40.0], "int8_gops": [600.0], "f32_gflops": [100.0], "weight_bytes": 4e9, "load_s": [2.0], "rss": [5e9]} | more


def cells(table, label):
    (line,) = [x for x in table.splitlines() if x.startswith(f"| {label}")]
    return [c.strip() for c in line.strip("|").split("|")]


def the_table_holds_rates_shares_and_ratios(folder):
    table = peers_report.table({"dense MXFP4": job("dense MXFP4", 50, 20)})
    assert cells(table, "dense 1.2B MXFP4, decode 10")[1:6] == ["20.0 tok/s", "20.0 GB/s", "50 %", "10.0 tok/s", "2.00x"], table
    assert cells(table, "dense 1.2B MXFP4, prefill 100")[1:] == ["50.0 tok/s", "150 Gop/s", "25 %", "25.0 tok/s", "2.00x", "not at hand", ""]
    assert "| head | 2.00 | 100.0 % | 50 % | 20.0 | 50 % |" in table and "| head | 2.00 | 100.0 % | 50 % | 60.0 | 10 % |" in table
    assert "4.00 GB): 2.00 s, 2.00 GB/s; 5.00 GB resident" in table


def a_layer_is_half_of_what_two_more_cost(folder):
    two, four = job("V4 layers 2", 100, 20), job("V4 layers 4", 50, 10)
    four["prefill"]["ops"], four["decode"]["bytes"] = 600e9, 30e9  # two layers more: 300 Gop, 2 GB per token
    table = peers_report.table({"V4 layers 2": two, "V4 layers 4": four})
    # decode: 100 ms - 50 ms per token, half of it; 1 GB in 25 ms. Prefill: 2 s - 1 s, half of it; 150 Gop in 0.5 s.
    assert cells(table, "V4 layer, MXFP4 and Q8_0, decode")[1:6] == ["25.00 ms", "40.0 GB/s", "100 %", "50.00 ms", "2.00x"], table
    assert cells(table, "V4 layer, MXFP4 and Q8_0, prefill")[1:6] == ["500 ms", "300 Gop/s", "50 %", "1000 ms", "2.00x"], table


def decodes_are_compared_where_memory_was_as_fast(folder):
    two, four = job("V4 layers 2", 100, 20), job("V4 layers 4", 50, 10)
    for j, rates, reads in ((two, [20, 36], [40.0, 70.0]), (four, [18, 10, 18], [71.0, 41.0, 69.0])):
        for e in j["engines"].values():
            e["decode"], e["read_gb_per_s"] = rates, reads
    four["decode"]["bytes"] = 30e9
    table = peers_report.table({"V4 layers 2": two, "V4 layers 4": four})
    label = "V4 layer, MXFP4 and Q8_0, decode, memory at"
    # 100 - 50 ms where it was slow, 56 - 28 ms where it was fast, never 56 - 50.
    assert cells(table, f"{label} 40")[1] == "25.00 ms" and cells(table, f"{label} 69")[1] == "13.89 ms", table
    four["engines"]["llama.cpp"]["read_gb_per_s"] = [10.0, 10.0, 10.0]
    assert cells(peers_report.table({"V4 layers 2": two, "V4 layers 4": four}), f"{label} 40")[4:6] == ["not then", ""]
    assert cells(peers_report.table({"dense Q4_0": two}), "dense 1.2B Q4_0, decode 10, memory at 70")[3] == "51 %"


def noise_is_said_and_markers_are_needed(folder):
    noisy = job("dense Q8_0", 50, 20)
    noisy["engines"]["fathom"]["noise"] = [0.2]
    results = {"dense Q8_0": noisy, "dense Q8_0, one thread": job("dense Q8_0, one thread", 25, 16, threads=1)}
    table = peers_report.table(results)
    assert "more than 5 %" in table and "prefill 2.00x, decode 1.25x (llama.cpp 2.00x and 1.25x)" in table, table
    page = folder / "page.md"
    page.write_text(f"a\n{peers_report.BEGIN}\nold\n{peers_report.END}\nb\n")
    peers_report.insert(page, table)
    peers_report.insert(page, "new")
    assert page.read_text() == f"a\n{peers_report.BEGIN}\nnew\n{peers_report.END}\nb\n"
    page.write_text("no markers")
    try:
        peers_report.insert(page, "new")
        raise AssertionError("wrote into a page without markers")
    except SystemExit as e:
        assert "expected one line" in str(e)
    assert peers_report.plot(results).count("2.00x") == 4


main([random_models_open_and_run, random_models_are_the_same_each_time, the_table_holds_rates_shares_and_ratios,
      a_layer_is_half_of_what_two_more_cost, decodes_are_compared_where_memory_was_as_fast, noise_is_said_and_markers_are_needed])
