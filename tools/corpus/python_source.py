#!/usr/bin/env python3
"""Python source text for training, from Debian packages alone.

    tools/corpus/python_source.py FOLDER [--cap BYTES]

Downloads the packages of tools/corpus/packages.txt with apt-get (as any user; nothing is installed), unpacks them below
FOLDER and writes

    python.jsonl, python-held-out.jsonl    one {"text", "source"} a line, in an order that depends on the content alone
    manifest.json                          per package: version, licence, SHA-256 of the archive, files and bytes kept
    licences/PACKAGE                       Debian's copyright file of each package

A file is left out when it does not parse, names a GPL or LGPL licence in its head, looks generated or like data (a line
over 500 characters, under 40 % letters, over 100 kB), lies in a folder of tests or of vendored copies, equals another
file, or consists for more than 70 % of long lines that were seen before. Licence headers and blanks at line ends are cut
off. A package gives at most --cap bytes. What apt-get cannot find is reported and left out.
"""
import argparse
import ast
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import warnings

warnings.simplefilter("ignore")  # the files' own escapes
LIST = pathlib.Path(__file__).with_name("packages.txt")
SKIP_FOLDERS = {"test", "tests", "testing", "idle_test", "_vendor", "vendor", "_vendored_packages", "extern", "externals",
                "lib2to3", "migrations", "locale", "__pycache__", "conf", "fixtures", "examples", "benchmarks"}
COPYLEFT = re.compile(r"\bA?L?GPL\b|GNU (Lesser |Library |Affero )?General Public", re.I)
GENERATED = re.compile(r"generated (by|from|using)|auto-?generated|do not edit", re.I)
HEADER = re.compile(r"copyright|licen[cs]e|all rights reserved|spdx|-\*-.*coding|^#!|^#\s*vim?:", re.I)


def packages():
    for line in LIST.read_text().splitlines():
        if line and not line.startswith("#"):
            part, name, licence = line.split()
            yield part, name, licence


def fetch(name, folder):
    """The path of the package's archive, or None."""
    have = sorted(folder.glob(f"{name}_*.deb"))
    if not have:
        subprocess.run(["apt-get", "download", name], cwd=folder, capture_output=True)
        have = sorted(folder.glob(f"{name}_*.deb"))
    return have[-1] if have else None


def strip_header(text):
    """Without the comment block at the top when it speaks of rights, and without editors' lines."""
    lines = text.split("\n")
    end = 0
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith("#")):
        end += 1
    if any(HEADER.search(line) for line in lines[:end]):
        lines = lines[end:]
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def acceptable(text):
    if not 200 <= len(text) <= 100_000 or GENERATED.search(text[:600]) or COPYLEFT.search(text[:3000]):
        return False
    if max(map(len, text.split("\n"))) > 500 or sum(c.isalpha() for c in text) < 0.4 * len(text) or "\0" in text:
        return False
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def candidates(tree):
    """(relative path, text) of the package's files that may be kept."""
    for path in sorted(tree.rglob("*.py")):
        below = path.relative_to(tree)
        if path.is_symlink() or SKIP_FOLDERS & set(below.parts[:-1]) or below.name.startswith("test_"):
            continue
        try:
            text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        if COPYLEFT.search(text[:3000]) or GENERATED.search(text[:600]):
            continue
        text = strip_header(text)
        if acceptable(text):
            yield str(below), text


class Seen:
    """Exact copies, and files made of lines that other files have."""

    def __init__(self):
        self.files, self.lines = set(), set()

    def take(self, text):
        digest = hashlib.sha1(text.encode()).digest()
        if digest in self.files:
            return False
        lines = {hashlib.sha1(line.strip().encode()).digest()[:8] for line in text.split("\n") if len(line.strip()) > 20}
        if lines and len(lines & self.lines) > 0.7 * len(lines):
            return False
        self.files.add(digest)
        self.lines |= lines
        return True


def by_digest(item):
    return hashlib.sha1(item[1].encode()).digest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cap", type=int, default=4_000_000)
    args = parser.parse_args()
    debs, tree, licences = args.folder / "debs", args.folder / "tree", args.folder / "licences"
    for folder in (debs, licences):
        folder.mkdir(parents=True, exist_ok=True)
    seen, manifest, texts = Seen(), [], {"train": [], "held-out": []}
    for part, name, licence in sorted(packages()):  # held-out first: a copy in both parts stays held out
        deb = fetch(name, debs)
        if not deb:
            print(f"{name}: not found by apt-get, left out", file=sys.stderr)
            continue
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
        notice = tree / "usr/share/doc" / name / "copyright"
        if notice.exists():
            shutil.copy(notice, licences / name)
        kept, size = [], 0
        for path, text in sorted(candidates(tree), key=by_digest):
            n = len(text.encode())
            if size + n <= args.cap and seen.take(text):
                kept.append({"text": text, "source": f"{name}/{path}"})
                size += n
        texts[part] += kept
        manifest.append({"part": part, "package": name, "version": deb.name.split("_")[1], "licence": licence,
                         "sha256": hashlib.sha256(deb.read_bytes()).hexdigest(), "files": len(kept), "bytes": size})
    shutil.rmtree(tree, ignore_errors=True)
    for part, out in (("train", "python.jsonl"), ("held-out", "python-held-out.jsonl")):
        rows = sorted(texts[part], key=lambda row: hashlib.sha1(row["text"].encode()).digest())
        with open(args.folder / out, "w") as f:
            for row in rows:
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{out}: {len(rows)} files, {sum(len(r['text'].encode()) for r in rows) / 1e6:.1f} MB")
    (args.folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
