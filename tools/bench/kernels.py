#!/usr/bin/env python3
"""The products of one thread beside what one core can do at most, as a table.

    tools/bench/kernels.py [--build build] [--level LEVEL] [--write docs/performance.md]

Runs `check_kernels --bench` and `fathom bench --machine --threads 1`. One token reads weights from memory and is held against the
core's read bandwidth; many tokens are held against its arithmetic peak: int8 for packed weights, f32 for the others. LEVEL is the
instruction set level to show; without it, the best of this machine. The limits are the best of five measurements. check_kernels
counts the thread's processor time, best of several; what others take from the memory still shows."""
import argparse
import json
import pathlib
import re
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
import noise
import peers_report

BEGIN, END = "<!-- kernels: begin -->", "<!-- kernels: end -->"
LINE = re.compile(r"(\S+)\s+(\S+)\s+(.*?)\s+([\d.]+) us\s+([\d.]+) GB/s\s+([\d.]+) GFLOP/s")


def run(*args):
    return subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def products(text):
    """(level, kernel) -> {tokens: (GB/s, Gop/s)}: of the shapes that come from memory."""
    out = {}
    for line in text.splitlines():
        found = LINE.match(line)
        shape = found and re.fullmatch(r"(\d+)x\d+, (\d+) tokens?", found[3])
        if shape and int(shape[1]) >= 1024:
            out.setdefault((found[1], found[2]), {})[int(shape[2])] = float(found[5]), float(found[6])
    return out


def table(measured, level, machine):
    rows = []
    for (where, kernel), by_tokens in measured.items():
        if where != level or 1 not in by_tokens:
            continue
        packed = "packed" in kernel
        peak = machine["int8_gops"] if packed else machine["f32_gflops"]
        n = max(by_tokens)
        gb, gops = by_tokens[1][0], by_tokens[n][1]
        rows.append(f"| {kernel} | {gb:.1f} GB/s | {100 * gb / machine['read_gb_per_s']:.0f} % | {n} tokens: {gops:.0f} Gop/s | "
                    f"{100 * gops / peak:.0f} % of {'int8' if packed else 'f32'} |")
    head = (f"{machine['cpu']}, one thread, {level}: reads {machine['read_gb_per_s']:.1f} GB/s, int8 {machine['int8_gops']:.0f} Gop/s, "
            f"f32 {machine['f32_gflops']:.0f} GFLOP/s.")
    return "\n".join([head, "", "| kernel | one token, weights from memory | of the bandwidth | many tokens | of the peak |",
                      "| --- | --- | --- | --- | --- |", *rows])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", type=pathlib.Path, default=here.parent.parent / "build")
    p.add_argument("--level")
    p.add_argument("--write", metavar="FILE", help="put the table between the two marker lines of FILE")
    a = p.parse_args()
    measured = products(run(a.build / "tests/kernels/check_kernels", "--bench", "matmul"))
    level = a.level or [where for where, _ in measured][-1]
    noise.wait_idle()
    limits = [json.loads(run(a.build / "fathom", "bench", "--machine", "--json", "--threads", 1, "--isa", level))["machine"]
              for _ in range(5)]
    machine = limits[0] | {key: max(m[key] for m in limits) for key in ("read_gb_per_s", "int8_gops", "f32_gflops")}
    text = table(measured, level, machine)
    print(text)
    if a.write:
        peers_report.insert(pathlib.Path(a.write), text, BEGIN, END)


if __name__ == "__main__":
    main()
