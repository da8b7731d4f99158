#!/usr/bin/env python3
"""Load on a running server: tokens per second at 1, 2, 4 and 8 requests at a time, and time to the first token by prompt length.

    serve_load.py http://127.0.0.1:8080 [--tokens 64] [--prompts 1000,4000]

Works with any server that has OpenAI's chat API. Prints a Markdown table."""
import argparse
import json
import statistics
import threading
import time
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--tokens", type=int, default=64)
parser.add_argument("--prompts", default="1000,4000")
parser.add_argument("--repeat", type=int, default=3)
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
    """Tokens per second over all clients."""
    results = [None] * n_clients

    def client(i):
        results[i] = ask(f"{salt} {i}: Tell a long story about a lighthouse keeper, in many words.", args.tokens)
    threads = [threading.Thread(target=client, args=(i,)) for i in range(n_clients)]
    start = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sum(r[3] for r in results) / (time.monotonic() - start)


salt = str(time.time())
ask("hi", 1)
print("| requests at a time | tokens/s together | each |\n| --- | --- | --- |")
for n in (1, 2, 4, 8):
    median = statistics.median(rate(n, f"{salt}.{k}") for k in range(args.repeat))
    print(f"| {n} | {median:.1f} | {median / n:.1f} |", flush=True)
print("\n| prompt tokens | first token after | read at |\n| --- | --- | --- |")
for words in map(int, args.prompts.split(",")):
    times = []
    for k in range(args.repeat):
        first, _, n_prompt, _ = ask(f"{salt}.{k}.{words} " + "the sea is deep and " * (words // 5) + "Sum it up.", 1)
        times.append(first)
    median = statistics.median(times)
    print(f"| {n_prompt} | {median:.2f} s | {n_prompt / median:.0f}/s |", flush=True)
