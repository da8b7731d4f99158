#!/usr/bin/env python3
"""Runs every test of DeepSeek V4 in a build folder and prints one table: check, error, bound.

    tools/check_v4.py BUILD

The rows are what the tests themselves report, in lines such as "# V4 NAME: ...; values 7.4e-07, allowed 1e-05"; a test without
such figures has its number of cases. Exits 1 when a test failed; what was skipped is shown with its reason."""
import json
import pathlib
import re
import subprocess
import sys

build = pathlib.Path(sys.argv[1])
FIGURE = re.compile(r"([A-Za-z][\w ]*?) ([\d.]+e[-+]\d+), allowed ([\d.]+e[-+]\d+)")
CASE = re.compile(r"^(not )?ok\b", re.MULTILINE)

tests = [t["name"] for t in json.loads(subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, text=True,
                                                      check=True).stdout)]
ours = sorted({name for name in tests if re.match(r"v4[ _]", name) and not name.endswith("of Flash")})
run = subprocess.run(["meson", "test", "-C", build, *ours], capture_output=True, text=True)
rows, failed = [], run.returncode != 0
for line in (build / "meson-logs" / "testlog.json").read_text().splitlines():
    test = json.loads(line)
    name, out = test["name"].split(" / ")[-1], test.get("stdout") or ""
    if test["result"] == "SKIP":
        rows.append((name, "skipped", out.split("SKIP", 1)[-1].strip()))
        continue
    cases = [bool(bad) for bad in CASE.findall(out)]
    rows.append((name, f"{sum(cases)} of {len(cases)} failed" if cases else test["result"], "none"))
    for found in re.findall(r"^# V4 (.*)", out, re.MULTILINE):
        what, _, figures = found.partition(": ")
        numbers = FIGURE.findall(figures)
        rows += [(f"  {what}: {label.strip()}", error, bound) for label, error, bound in numbers]
        if not numbers:
            rows.append((f"  {what}", figures, ""))
    for label in re.findall(r"^not ok \d+ - (.*)", out, re.MULTILINE):
        rows.append((f"  {label}", "FAILED", ""))
width = max(len(row[0]) for row in rows)
print(f"{'check':{width}}  {'error':>16}  bound")
for check, error, bound in rows:
    print(f"{check:{width}}  {error:>16}  {bound}".rstrip())
sys.exit(failed)
