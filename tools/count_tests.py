#!/usr/bin/env python3
"""Counts what the last `meson test` of each given build folder (or JSON log) ran, and ends with "N passed, N failed, N skipped".

A TAP program counts its cases one by one, any other program counts as one case. Exits 1 when nothing ran or anything failed."""
import json
import pathlib
import re
import sys

CASE = re.compile(r"^(not )?ok\b[^#]*(#\s*(?:skip|todo))?", re.IGNORECASE)
passed = failed = skipped = 0

for folder in sys.argv[1:]:
    path = pathlib.Path(folder)
    logs = [path] if path.suffix == ".json" else path.glob("meson-logs/testlog*.json")
    logs = sorted(logs, key=lambda p: p.stat().st_mtime)
    if not logs:
        sys.exit(f"count_tests: {folder} has no test log; run its tests first")
    for line in logs[-1].read_text().splitlines():
        test = json.loads(line)
        cases = [m for m in map(CASE.match, test.get("stdout", "").splitlines()) if m]
        if test["result"] == "SKIP":
            skipped += max(1, len(cases))
            print(f"skipped: {test['name']}: {(test.get('stdout') or test.get('stderr') or '').strip()[-200:]}")
        elif cases:
            bad = sum(1 for m in cases if m.group(1) and not m.group(2))
            skip = sum(1 for m in cases if m.group(2))
            if test["result"] != "OK" and bad == 0:
                bad = 1  # died before it could report the case
            passed, failed, skipped = passed + len(cases) - bad - skip, failed + bad, skipped + skip
        elif test["result"] == "OK":
            passed += 1
        else:
            failed += 1

print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0 or passed == 0)
