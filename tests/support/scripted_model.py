#!/usr/bin/env python3
"""Writes a model file for scripted_model.c: what it says is given as rules.

    scripted_model.py OUT.gguf RULES.json    [[when, say], ...]"""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

# Tokens of DeepSeek V4's chat encoding; those that its files call special, and the others.
SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
MARKS = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜", "<｜latest_reminder｜>", "<｜action｜>", "<｜query｜>",
         "<｜authority｜>", "<｜domain｜>", "<｜title｜>", "<｜read_url｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"]


def write(path, rules, n_ctx=1 << 18, delay_us=0, by_bytes=False):
    tokens, merges = tiny_model.vocabulary()
    tokens = SPECIAL + [t for t in tokens if t not in tiny_model.SPECIAL] + MARKS
    kinds = [3 if t in SPECIAL else 4 if t in MARKS else 1 for t in tokens]
    tiny_model.write_gguf(pathlib.Path(path), {
        "general.architecture": "scripted", "general.name": "Scripted", "scripted.context_length": n_ctx, "scripted.delay_us": delay_us,
        "scripted.by_bytes": by_bytes, "scripted.chat_format": "deepseek-v4", "scripted.when": [w for w, _ in rules],
        "scripted.say": [s for _, s in rules], "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "deepseek-v3",
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": [a + " " + b for a, b in merges],
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1, "tokenizer.ggml.add_bos_token": False,
    }, {"nothing.weight": ([1], tiny_model.GGUF_F32, bytes(4))})


if __name__ == "__main__":
    write(sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text()))
