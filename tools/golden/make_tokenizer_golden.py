#!/usr/bin/env python3
"""Writes tests/data/tokenizers.json: a small vocabulary and what the reference libraries make of it.

    tools/golden/compare_tokenizers.py --install
    $XDG_CACHE_HOME/fathom/tokenizers/venv/bin/python tools/golden/make_tokenizer_golden.py > tests/data/tokenizers.json

The byte-level vocabulary is trained on the texts below as single pieces, so that its merges cross every boundary a
pre-tokenizer could draw: a wrong cut changes the ids. All families share it; `cases` holds ids by `tokenizers`. The second
vocabulary is a SentencePiece model with ids by `sentencepiece`.
"""
import io
import json
import pathlib
import random
import sys

import sentencepiece
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from compare_tokenizers import GPT2, LLAMA3, QWEN2, SPACES, WORDS  # noqa: E402

QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
    "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
WIDE = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
CASED = [0x41, 0x5A, 0x61, 0x7A, 0xB5, 0xB5, 0xC0, 0xD6, 0xD8, 0xF6, 0xF8, 0x1BA, 0x1BC, 0x1BF, 0x1C4, 0x293, 0x386, 0x386, 0x388, 0x38A, 0x38E, 0x3A1,
         0x3A3, 0x3F5, 0x3F7, 0x481, 0x48A, 0x52F, 0x1E00, 0x1F15, 0x212A, 0x212D, 0xFB00, 0xFB06]  # what the cases below use of the list
CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", WIDE]
LLM = ["[\r\n]", r"\s?[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(CASED[::2], CASED[1::2])) + "]+",
       "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$", WIDE, r"\p{N}+"]
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
NFC = {"type": "NFC"}


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def steps(*items):
    return {"type": "Sequence", "pretokenizers": list(items)}


FAMILIES = {  # name -> normalizer, pre_tokenizer, ignore_merges
    "deepseek-v3": (None, steps(*map(split, DEEPSEEK), LEVEL), False),
    "qwen2": (NFC, steps(split(QWEN2), LEVEL), False),
    "qwen35": (NFC, steps(split(QWEN35), LEVEL), False),
    "llama-bpe": (None, steps(split(LLAMA3), LEVEL), True),
    "gpt-2": (None, {**LEVEL, "use_regex": True}, False),
    "smollm": (None, steps({"type": "Digits", "individual_digits": True}, {**LEVEL, "use_regex": True}), False),
    "deepseek-coder": (None, steps(*map(split, CODER), {"type": "Digits", "individual_digits": True}, LEVEL), False),
    "deepseek-llm": (None, steps(*map(split, LLM), LEVEL), False),
}
TEXTS = [
    "Hello world", "  5", "a  5", "   abc", "x 你好", "你好，世界123abc", "日本語のテキスト", "한국어", "半角ｶﾅ ①②③", "1234567", "x1234y",
    "3.14159", ".foo bar-baz", "I don't CAN'T we'LL 'tis 'ſo", "a\u200db", "\ufeffbom", "x\u00a0y", "e\u0301", " \u0301x", "👍🏽",
    "a\n\n  b", "!!!\n\nx", " ?!x", "  \n  \n x", "\r\n\r\nfoo", "abc   ", "~ ~a", "Σ café", "int f(){\n\treturn 0;\n}\n", "\u200b\u200b",
    "<tool_result>", '">\n', "a\u0085b", "１２３４５", "Cafe\u0301 A\u030a \u1100\u1161\u11a8 \u212b q\u0307\u0323", "aaaaaaaaaaaaaaaaaaaaaaaaa",
    "        ", "\n\n\n\n", "a \n b\t\n  c", "नमस्ते สวัสดี", "x<|end|>y", "tail  \n", "\x00\x01\x1c\x7f", "ﬁ ǅ ª ƻ", "「引用」、と。", "’“”‘",
    "\u3000全角\u3000", "\U00020000\U0001d4d0\ue000\U0010ffff", "0xFF_1e-9", "-a +b (c) [d] {e} (é", "ends in spaces   ", "۱۲۳ Ⅷ ½",
]


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rng = random.Random(4)
    corpus = TEXTS * 3 + ["".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(8)) for _ in range(60)]
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return json.loads(tokenizer.to_str())["model"]


def byte_level():
    model = train()
    vocab, merges = model["vocab"], [" ".join(m) for m in model["merges"]]
    added = [{"id": len(vocab) + i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": s}
             for i, (c, s) in enumerate([("<|end|>", True), ("<tool>", False), ("<tool_result>", False)])]
    out = []
    for name, (normalizer, pre_tokenizer, ignore_merges) in FAMILIES.items():
        spec = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": None,
                "model": {**model, "vocab": vocab, "merges": merges, "ignore_merges": ignore_merges}}
        reference = Tokenizer.from_str(json.dumps(spec))
        cases = [reference.encode(t, add_special_tokens=False).ids for t in TEXTS]
        named = pre_tokenizer if name != "deepseek-llm" else None  # its list of letters is longer in real files
        out.append({"name": name, "normalizer": normalizer, "pre_tokenizer": named, "ignore_merges": ignore_merges, "cases": cases})
    return {"vocab": vocab, "merges": merges, "added_tokens": added, "texts": TEXTS, "families": out}


def pieces():
    model = io.BytesIO()
    texts = [t for t in TEXTS if "\x00" not in t]
    rng = random.Random(5)  # trained without most of the characters of the cases: those are spelled in bytes
    corpus = [t for t in texts if len(t.encode()) < len(t) + 8] + ["".join(rng.choice(WORDS[:9]) + rng.choice(SPACES[:5]) for _ in range(6)) for _ in range(40)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="bpe", vocab_size=520, byte_fallback=True, character_coverage=1.0,
        normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False, minloglevel=2)
    sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
    n = sp.get_piece_size()
    return {"tokens": [sp.id_to_piece(i) for i in range(n)], "scores": [sp.get_score(i) for i in range(n)],
            "types": [kind(i) for i in range(n)], "cases": [[t, sp.encode(t)] for t in texts]}


def main():
    made = {"made_by": f"tools/golden/make_tokenizer_golden.py, tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}",
            **byte_level(), "sentencepiece": pieces()}
    text = json.dumps(made, ensure_ascii=True, separators=(",", ":"))
    for key in ("merges", "added_tokens", "texts", "families", "name", "sentencepiece", "scores", "types", "cases"):
        text = text.replace(f'"{key}":', f'\n"{key}":')
    print(text)


main()
