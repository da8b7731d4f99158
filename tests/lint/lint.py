#!/usr/bin/env python3
"""Rules of the tree that no compiler checks. TAP on standard output; each failing case lists file:line and the rule.

    lint.py ROOT COMPILER...      the compiler command is used for the headers
"""
import pathlib
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile

root = pathlib.Path(sys.argv[1])
compiler = sys.argv[2:]
listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True)
if listed.returncode == 0:
    files = [pathlib.Path(f) for f in listed.stdout.split("\0") if f and (root / f).exists()]
else:  # an unpacked archive
    files = [p.relative_to(root) for p in root.rglob("*") if p.is_file()]
    files = [f for f in files if not f.parts[0].startswith(("build", ".git"))]
files.sort()
MAX_LINES = 1500
# What to write instead. Calls only: a variable may have any of these names.
BANNED = {
    "strcpy": "memcpy with a known size", "strcat": "buf_puts", "strncpy": "memcpy", "strncat": "buf_append",
    "sprintf": "snprintf or buf_printf", "vsprintf": "vsnprintf", "strtok": "str_find", "gets": "getline",
    "atoi": "strtol with a check", "atol": "strtol with a check", "atof": "strtod with a check",
    "gmtime": "gmtime_r", "localtime": "localtime_r", "system": "posix_spawn", "popen": "posix_spawn",
    "skip": "exit code 77: cmocka's TAP calls it a failure", "alloca": "an arena", "tmpnam": "mkstemp", "mktemp": "mkstemp", "rand": "rng_next", "setjmp": "a status",
}
# Libraries return errors; the program prints them. CHECK in base/error.h is for our own bugs.
SILENT = re.compile(r"\b(printf|puts|putchar|vprintf|perror|exit|_exit|abort|assert)\s*\(|\bfprintf\s*\(\s*std(?:err|out)")
SILENT_EXCEPT = {pathlib.Path("src/base/error.h")}


def text(path):
    return (root / path).read_text(encoding="utf-8")


def code(path):
    """The C text with comments and literals blanked; line numbers stay."""
    def blank(m):
        s = m.group(0)
        return '""' if s[0] == '"' else "' '" if s[0] == "'" else re.sub(r"[^\n]", " ", s)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text(path), flags=re.S)


def lines_of(path, pattern, source=None):
    source = code(path) if source is None else source
    for m in re.finditer(pattern, source):
        yield source.count("\n", 0, m.start()) + 1, m


c_files = [f for f in files if f.suffix in (".c", ".h", ".def")]
src_files = [f for f in c_files if f.parts[0] == "src"]


def layers():
    """src/meson.build's list: subdir('name') # the folders it may use, which bring what they use."""
    may = {}
    for m in re.finditer(r"^subdir\('(\w+)'\)[ \t]*(?:#[ \t]*([\w \t]*))?$", text("src/meson.build"), re.M):
        may[m[1]] = {m[1]}
        for name in (m[2] or "").split():
            if name not in may:
                yield f"src/meson.build: {m[1]} uses {name}, which is not listed above it"
                return
            may[m[1]] |= may[name]
    for f in src_files:
        layer = f.parts[1]
        if layer not in may:
            yield f"{f}: folder is not in src/meson.build"
            continue
        for n, m in lines_of(f, r'#[ \t]*include[ \t]*"([^"]+)"', text(f)):
            used = m[1].split("/")[0]
            if "/" not in m[1] or not (root / "src" / m[1]).exists():
                yield f'{f}:{n}: "{m[1]}" must be spelled from src/'
            elif used not in may[layer]:
                yield f"{f}:{n}: {layer} may not use {used}"


def libraries():
    """docs/dependencies.md names, for each third-party header, the one file that includes it."""
    wraps = {}
    for m in re.finditer(r"^\|[^|]*\|[^|]*\| `([\w/.]+\.h)` \|([^|]*)\|", text("docs/dependencies.md"), re.M):
        wraps[m[1]] = set(re.findall(r"`([\w/.]+)`", m[2]))
    for f in c_files:
        if f.parts[0] not in ("src", "programs"):
            continue
        for n, m in lines_of(f, r"#[ \t]*include[ \t]*<([^>]+)>", text(f)):
            owner = wraps.get(m[1])
            if owner is None and re.match(r"(utf8proc|md4c|pcre2|openssl/|xxhash|zstd|curl/|sqlite3|jansson|microhttpd)", m[1]):
                yield f"{f}:{n}: <{m[1]}> is not in docs/dependencies.md"
            elif owner is not None and str(f) not in owner:
                yield f"{f}:{n}: <{m[1]}> belongs to {', '.join(sorted(owner))}"


def headers_alone():
    headers = [f for f in c_files if f.suffix == ".h"]
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-Isrc", "-Iprograms", "-Itests", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"]
    for f in headers:
        if f.parts[0] == "tests" and "cmocka.h" in text(f):
            source = "#include <setjmp.h>\n#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n"
        else:
            source = ""
        # twice: the guard works
        run = subprocess.run(compiler + flags, cwd=root, input=source + f'#include "{f}"\n#include "{f}"\n', text=True, capture_output=True)
        if run.returncode:
            yield f"{f}: does not compile alone:\n" + "\n".join(run.stderr.splitlines()[:4])


def banned_functions():
    for f in c_files:
        for n, m in lines_of(f, r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\("):
            if m[1] != "setjmp" or f.parts[0] != "tests":
                yield f"{f}:{n}: {m[1]} is banned: use {BANNED[m[1]]}"


def quiet_libraries():
    for f in src_files:
        if f not in SILENT_EXCEPT:
            for n, m in lines_of(f, SILENT):
                yield f"{f}:{n}: {m[0].strip()}: library code does not print, exit or assert on input"


def file_lengths():
    for f in files:
        if f.suffix in (".c", ".h", ".py", ".sh", ".build"):
            n = text(f).count("\n")
            if n > MAX_LINES and "Generated by" not in text(f)[:600]:
                yield f"{f}: {n} lines, limit {MAX_LINES}"


def text_form():
    for f in files:
        if f.suffix in (".c", ".h", ".def", ".py", ".sh", ".build", ".md", ".ini") or f.name == "Makefile":
            s = text(f)
            if s and not s.endswith("\n"):
                yield f"{f}: no newline at the end"
            for n, m in lines_of(f, r"[ \t]+\n|\r", s):
                yield f"{f}:{n}: space at the end of the line"
            if f.name != "Makefile":
                for n, m in lines_of(f, r"\t", s):
                    yield f"{f}:{n}: tab"
            if f.suffix != ".md":
                for n, m in lines_of(f, r"\b(TODO|FIXME|XXX|HACK)\b", s):
                    if f != pathlib.Path("tests/lint/lint.py"):
                        yield f"{f}:{n}: {m[0]}: finish it or leave it out"


def file_comments():
    for f in c_files:
        if not text(f).startswith(("/*", "//")):
            yield f"{f}: no comment at its top that says what it owns"


def shell_scripts():
    for f in files:
        if f.suffix == ".sh" or f == pathlib.Path(".ci/run"):
            shell = "bash" if text(f).startswith("#!/bin/bash") else "sh"
            run = subprocess.run([shell, "-n", f], cwd=root, capture_output=True, text=True)
            if run.returncode:
                yield f"{f}: {run.stderr.strip()}"


def python_scripts():
    with tempfile.TemporaryDirectory() as d:
        for f in files:
            if f.suffix == ".py":
                try:
                    py_compile.compile(str(root / f), cfile=d + "/x.pyc", doraise=True)
                except py_compile.PyCompileError as e:
                    yield f"{f}: {e.msg.strip()}"


def spelling():
    if not shutil.which("codespell"):
        return "codespell is absent"
    words = [str(f) for f in files if f.suffix in (".c", ".h", ".def", ".md", ".py", ".sh", ".build", ".txt") and "data" not in f.parts]
    run = subprocess.run(["codespell", "-L", "nd,te,ot,fo,fpr,ba,ue,hist,lod,numer,crate,inout,mis", *words], cwd=root, capture_output=True, text=True)
    return run.stdout.splitlines()


checks = [layers, libraries, headers_alone, banned_functions, quiet_libraries, file_lengths, text_form, file_comments,
          shell_scripts, python_scripts, spelling]
print(f"1..{len(checks)}", flush=True)
for i, check in enumerate(checks, 1):
    found = check()
    name = check.__name__.replace("_", " ")
    if isinstance(found, str):
        print(f"ok {i} - {name} # SKIP {found}", flush=True)
        continue
    found = list(found)
    print(f"{'not ' if found else ''}ok {i} - {name}", flush=True)
    for line in "\n".join(found).splitlines()[:40]:
        print(f"# {line}", flush=True)
