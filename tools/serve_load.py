#!/usr/bin/env python3
"""Load on a running server: tokens per second at 1, 2, 4 and 8 requests at a time, and time to the first token by prompt length.

    serve_load.py http://127.0.0.1:8080 [--tokens 64] [--prompts 1000,4000] [--llama MODEL.gguf]

Works with any server that has OpenAI's chat API. Prints a Markdown table. With --llama every figure is taken of llama.cpp as well, by
turns, on the same file: of its library, which decodes as many sequences in one batch and reads a prompt of as many tokens,
without a server around it."""
import argparse
import json
import pathlib
import random
import statistics
import sys
import threading
import time
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--tokens", type=int, default=64)
parser.add_argument("--prompts", default="1000,4000")
parser.add_argument("--clients", default="1,2,4,8")
parser.add_argument("--repeat", type=int, default=3)
parser.add_argument("--llama", metavar="MODEL.gguf")
parser.add_argument("--threads", type=int, default=2, help="of llama.cpp")
args = parser.parse_args()


def ask(prompt, n):
    """(seconds to the first token, seconds in all, prompt tokens, tokens)"""
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": n, "temperature": 0, "stream": True, "ignore_eos": True,
            "stream_options": {"include_usage": True}}
    request = urllib.request.Request(args.url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    start, first, usage = time.monotonic(), None, None
    with urllib.request.urlopen(request) as response:
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            usage = chunk.get("usage") or usage
            if first is None and chunk["choices"] and (chunk["choices"][0]["delta"].get("content") or chunk["choices"][0]["delta"].get("reasoning_content")):
                first = time.monotonic() - start
    return first, time.monotonic() - start, usage["prompt_tokens"], usage["completion_tokens"]


def rate(n_clients, salt):
    """Tokens per second over all clients, from the first request to the last answer; and the prompts' length."""
    results = [None] * n_clients

    def client(i):
        results[i] = ask(f"{salt} {i}: Tell a long story about a lighthouse keeper, in many words.", args.tokens)
    threads = [threading.Thread(target=client, args=(i,)) for i in range(n_clients)]
    start = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sum(r[3] for r in results) / (time.monotonic() - start), results[0][2]


class Llama:
    """llama.cpp's library with a context for 8 sequences."""
    def __init__(self, path, n_ctx):
        sys.path.insert(0, str(pathlib.Path(__file__).parent))
        from llama_cpp import LlamaCpp
        self.api = LlamaCpp()
        self.lib, self.model = self.api.lib, self.api.load(path)
        p = self.api.params()
        p.n_ctx, p.n_seq_max, p.n_threads, p.n_threads_batch = n_ctx, 8, args.threads, args.threads
        self.context = self.lib.llama_init_from_model(self.model, p)
        self.batch = self.lib.llama_batch_init(2048, 0, 8)
        self.n_vocab = self.api.n_vocab(self.model)

    def decode(self, rows):
        """rows: (token, position, sequence, logits wanted)"""
        self.batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            self.batch.token[i], self.batch.pos[i], self.batch.n_seq_id[i], self.batch.logits[i] = token, position, 1, wanted
            self.batch.seq_id[i][0] = sequence
        if self.lib.llama_decode(self.context, self.batch) != 0:
            sys.exit("llama.cpp cannot evaluate this")
        self.lib.llama_synchronize(self.context)

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def rate(self, n, n_prompt):
        self.clear()
        start = time.monotonic()
        self.decode([(random.randrange(1000), i, s, i + 1 == n_prompt) for s in range(n) for i in range(n_prompt)])
        for step in range(args.tokens - 1):
            self.decode([(random.randrange(1000), n_prompt + step, s, True) for s in range(n)])
        return n * args.tokens / (time.monotonic() - start)

    def first(self, n_prompt):
        self.clear()
        start = time.monotonic()
        for at in range(0, n_prompt, 2048):
            self.decode([(random.randrange(1000), i, 0, i + 1 == n_prompt) for i in range(at, min(at + 2048, n_prompt))])
        return time.monotonic() - start


def medians(ours, theirs):
    """Of repeated measurements, taken by turns."""
    pairs = [(ours(k), theirs() if theirs else 0) for k in range(args.repeat)]
    return [statistics.median(v) for v in zip(*pairs)]


salt = str(time.time())
ask("hi", 1)
prompts = [int(p) for p in args.prompts.split(",") if p]
llama = Llama(args.llama, 8 * (max(prompts, default=0) + 1024)) if args.llama else None  # it shares the cells out among 8 sequences
n_short = rate(1, f"{salt} once before")[1]
if llama:
    llama.rate(1, n_short)
beside = " llama.cpp |" if llama else ""
clients = [int(n) for n in args.clients.split(",") if n]
if clients:
    print(f"Answers of {args.tokens} tokens, prompts of {n_short}, which are part of the time:\n")
    print(f"| requests at a time | tokens/s together | each |{beside}\n| --- | --- | --- |{' --- |' if llama else ''}")
for n in clients:
    ours, theirs = medians(lambda k: rate(n, f"{salt}.{k}")[0], (lambda: llama.rate(n, n_short)) if llama else None)
    print(f"| {n} | {ours:.1f} | {ours / n:.1f} |" + (f" {theirs:.1f} |" if llama else ""), flush=True)
if prompts:
    print(f"\n| prompt tokens | first token after | read at |{beside}\n| --- | --- | --- |{' --- |' if llama else ''}")
for words in prompts:
    lengths = []

    def first(k):
        seconds, _, n_prompt, _ = ask(f"{salt}.{k}.{words} " + "the sea is deep and " * (words // 5) + "Sum it up.", 1)
        lengths.append(n_prompt)
        return seconds
    ours, theirs = medians(first, (lambda: llama.first(lengths[-1])) if llama else None)
    print(f"| {lengths[-1]} | {ours:.2f} s | {lengths[-1] / ours:.0f}/s |" + (f" {theirs:.2f} s |" if llama else ""), flush=True)
