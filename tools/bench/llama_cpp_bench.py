#!/usr/bin/env python3
"""Times llama.cpp as `fathom bench` times Fathom, and prints one JSON object.

    tools/bench/llama_cpp_bench.py MODEL.gguf [-p 512] [-n 64] [-r 3] [-t THREADS] [--depth N]
    tools/bench/llama_cpp_bench.py MODEL.gguf --logits "1 2 3"      logits after these ids, one per line

Prefill is -p tokens into an empty context in one batch, decode is -n tokens one by one, behind --depth tokens that are
evaluated first. Each is done once to warm up and then -r times. 0 leaves a part out. Settings are llama.cpp's defaults."""
import argparse
import json
import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import llama_cpp
import noise


def own_seconds():
    t = os.times()
    return t.user + t.system


class Bench:
    def __init__(self, a):
        self.a, self.llama = a, llama_cpp.LlamaCpp()
        began = time.monotonic()
        self.model = self.llama.load(a.model)
        self.n_vocab = self.llama.n_vocab(self.model)
        p = self.llama.params()
        room = max(a.prefill, a.depth + a.decode, 256)
        p.n_ctx, p.n_batch, p.n_ubatch = room + -room % 256, max(a.prefill, 512), 512
        p.n_threads = p.n_threads_batch = a.threads
        self.batch = self.llama.lib.llama_batch_init(p.n_batch, 0, 1)
        self.context = self.llama.lib.llama_init_from_model(self.model, p) or sys.exit("llama.cpp makes no context")
        self.load_s, self.n_batch = time.monotonic() - began, p.n_batch

    def clear(self):
        self.llama.lib.llama_memory_clear(self.llama.lib.llama_get_memory(self.context), True)

    def fill(self, ids):
        for first in range(0, len(ids), self.n_batch):
            self.llama.evaluate(self.context, self.batch, ids[first:first + self.n_batch], first)

    def once(self, n, depth, step):
        draw = random.Random(1)  # any tokens will do, but the same ones each time: experts depend on them
        ids = [draw.randrange(self.n_vocab) for _ in range(depth + n)]
        self.clear()
        self.fill(ids[:depth])
        gauge, began = noise.Noise(own_seconds), time.monotonic()
        for first in range(depth, depth + n, step):
            self.llama.evaluate(self.context, self.batch, ids[first:first + step], first)
        seconds = time.monotonic() - began
        others, steal = gauge.shares()
        return {"tokens_per_s": n / seconds, "others": others, "steal": steal}

    def runs(self, n, depth, step):
        if n == 0:
            return []
        self.once(n if step > 1 else min(n, 8), depth, step)
        return [self.once(n, depth, step) for _ in range(self.a.repeat)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("-p", "--prefill", type=int, default=512)
    p.add_argument("-n", "--decode", type=int, default=64)
    p.add_argument("-r", "--repeat", type=int, default=3)
    p.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    p.add_argument("--depth", type=int, default=0)
    p.add_argument("--logits")
    a = p.parse_args()
    b = Bench(a)
    if a.logits:
        b.fill([int(x) for x in a.logits.split()])
        row = b.llama.lib.llama_get_logits(b.context)
        print("\n".join(repr(row[i]) for i in range(b.n_vocab)))
        return
    out = {"variant": b.llama.variant(), "release": llama_cpp.RELEASE, "load_s": b.load_s}
    out["prefill"] = b.runs(a.prefill, 0, a.prefill)
    out["decode"] = b.runs(a.decode, a.depth, 1)
    print(json.dumps(out))
    sys.stdout.flush()
    os._exit(0)  # freeing gigabytes takes seconds


if __name__ == "__main__":
    main()
