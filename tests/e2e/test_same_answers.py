#!/usr/bin/env python3
"""Answers of fathom serve are the same, to the last digit of each probability, whatever goes on around them: other requests, clients
that leave, kept states, streams, restarts, and a request that the model cannot compute.

    test_same_answers.py FATHOM TINY_MODELS [--long] [EMULATOR...]"""
import hashlib
import json
import random
import shutil
import signal
import socket
import struct
import threading
import time

from harness import EMULATOR, LONG, TINY, built_with, main
from serving import WAIT, Server

SLOW = bool(EMULATOR) or built_with("asan") or built_with("tsan")
N = 1000 if LONG else 12 if SLOW else 50
OWNERS = ["the-first-owner-0123456789", "the-second-owner-0123456789"]
WORDS = "hello world the of and other many words than in is it on".split()


def single(i):
    """A key that asks once."""
    return f"the-key-of-one-prompt-{i}"


def authorized(key):
    return {"Authorization": f"Bearer {key}"}


def serve(folder, *args):
    keys = folder / "keys"
    keys.write_text("".join(hashlib.sha256(k.encode()).hexdigest() + "\n" for k in OWNERS + [single(i) for i in range(N)]))
    return Server("-t", 1, "--ctx", 2048, "--no-store", "--api-keys", keys, *args)


def make_bodies():
    """Requests that begin alike by groups and go on otherwise."""
    rng = random.Random(9)
    text = lambda n: " ".join(rng.choice(WORDS) for _ in range(n))  # noqa: E731
    systems = [text(n) for n in (3, 40, 150, 300)]
    bodies = []
    for _ in range(N):
        messages = [{"role": "system", "content": rng.choice(systems)}, {"role": "user", "content": text(rng.randrange(1, 60))}]
        bodies.append({"messages": messages, "max_tokens": rng.randrange(2, 30), "temperature": rng.choice([0, 1]), "seed": rng.randrange(1000), "logprobs": True, "top_logprobs": 2})
    return bodies


def ask(s, body, key, stream=False):
    """(text, probabilities, tokens that were not read again)"""
    if not stream:
        answer = s.post("/v1/chat/completions", body, headers=authorized(key))
        choice = answer["choices"][0]
        return choice["message"]["content"], choice["logprobs"]["content"], answer["usage"]["prompt_cache_hit_tokens"]
    events = [e for _, e in s.stream("/v1/chat/completions", body, headers=authorized(key))[:-1]]
    choices = [c for e in events for c in e["choices"]]
    return "".join(c["delta"].get("content") or "" for c in choices), [t for c in choices for t in (c["logprobs"] or {}).get("content", [])], None


def leave(s, body, rng):
    """Asks, and is gone before the end."""
    data = json.dumps({**body, "max_tokens": 500, "stream": True}).encode()
    c = socket.create_connection(("127.0.0.1", s.port), timeout=WAIT)
    c.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OWNERS[0]}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    time.sleep(rng.choice([0, 0.002, 0.02]))
    c.close()


def in_threads(n, work):
    problems = []

    def run(i):
        try:
            work(i)
        except Exception as e:
            problems.append(e)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if problems:
        raise problems[0]


def nothing_around_changes_an_answer(folder):
    bodies = make_bodies()
    s = serve(folder, "--slots", 1)
    alone = [ask(s, b, single(i))[:2] for i, b in enumerate(bodies)]
    s.stop()
    assert len({text for text, _ in alone}) > N / 2
    keep = folder / "keep"
    s = serve(folder, "--slots", 4, "--keep", keep)
    n_hit = [0]

    def client(k):
        rng = random.Random(k)
        order = list(range(N))
        rng.shuffle(order)
        for i in order:
            if rng.random() < 0.1:
                leave(s, bodies[i], rng)
            text, probabilities, hit = ask(s, bodies[i], OWNERS[k % 2], stream=(i + k) % 3 == 0)
            n_hit[0] += bool(hit)
            assert text == alone[i][0], f"request {i}: {text!r}, alone {alone[i][0]!r}"
            assert probabilities == alone[i][1][:len(probabilities)] and len(probabilities) >= len(alone[i][1]) - 1, f"request {i}: {probabilities} alone {alone[i][1]}"
    in_threads(3, client)
    assert n_hit[0] > N / 2, n_hit
    for i in range(0, N, 1 if LONG else 5):  # what others have is not there for this key
        assert ask(s, bodies[i], single(i)) == (*alone[i], 0), i
    s.stop()
    s = serve(folder, "--slots", 4, "--keep", keep)
    assert any(ask(s, bodies[i], OWNERS[0])[2] for i in range(0, N, 7)), "states outlast a restart"
    for i in range(0, N, 3):
        assert ask(s, bodies[i], OWNERS[i % 2])[:2] == alone[i], i
    s.stop()
    print(f"# {N} answers alone, {3 * N} beside others, {n_hit[0]} of them on kept tokens")


def poison(folder):
    """A model with a token whose vector is not a number, and a text with that token."""
    shutil.copytree(TINY / "tiny-hf", folder / "poisoned")
    path = next((folder / "poisoned").glob("*.safetensors"))
    s = Server("-t", 1, "--no-store", model=folder / "poisoned")
    (token,) = s.post("/tokenize", {"content": "z"})["tokens"]
    s.stop()
    raw = bytearray(path.read_bytes())
    (n,) = struct.unpack_from("<Q", raw)
    entry = json.loads(raw[8:8 + n])["model.embed_tokens.weight"]
    start, end = entry["data_offsets"]
    row = (end - start) // entry["shape"][0]
    at = 8 + n + start + token * row
    raw[at:at + row] = b"\xff" * row
    path.write_bytes(raw)
    return folder / "poisoned"


def a_request_that_cannot_be_computed_fails_alone(folder):
    model = poison(folder)
    for slots in (1, 3):
        s = Server("-t", 1, "--slots", slots, "--ctx", 2048, "--no-store", model=model)
        bodies = [{"messages": [{"role": "user", "content": "hello world the of and " * (5 + i)}], "max_tokens": 20, "temperature": 0} for i in range(6)]
        content = lambda b: s.post("/v1/chat/completions", b)["choices"][0]["message"]["content"]  # noqa: E731
        alone = [content(b) for b in bodies]

        def work(k):
            for i, b in enumerate(bodies * (10 if LONG else 2)):
                if (i + k) % 2:
                    bad = [{"role": "user", "content": b["messages"][0]["content"] + " z and more"}]  # begins as a good one does
                    e = s.post("/v1/chat/completions", {**b, "messages": bad}, code=500)["error"]
                    assert e["type"] == "server_error" and len(e["message"]) > 20, e
                    name, event = s.stream("/v1/messages", {"messages": bad, "max_tokens": 5})[-1]
                    assert name == "error" and event["error"]["type"] == "api_error", event
                assert content(b) == alone[i % 6], (i, k)
        in_threads(3, work)
        assert s.metric("jobs_failed_total") > 0
        s.stop()


def term_during_many_streams_ends_none_of_them(folder):
    """They run and wait at that moment; nobody new is let in, and the server goes when the last one has ended."""
    for _ in range(5 if LONG else 1):
        s = Server("-t", 1, "--slots", 4, "--ctx", 2048, "--no-store")
        n, ends = 50, []
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 60, "temperature": 0}

        def work(i):
            ends.append(s.stream("/v1/chat/completions", body)[-1][1])
        threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
        for t in threads:
            t.start()
        end = time.monotonic() + WAIT
        while s.metric("jobs_total") < n:
            assert time.monotonic() < end
            time.sleep(0.01)
        s.stop(signal.SIGTERM)
        for t in threads:
            t.join()
        assert ends == ["[DONE]"] * n, ends
    s = Server("-t", 1, "--no-store")
    idle = socket.create_connection(("127.0.0.1", s.port))
    start = time.monotonic()
    s.stop(signal.SIGTERM)
    assert time.monotonic() - start < (20 if SLOW else 3), "nothing is waited for"
    idle.close()


main([nothing_around_changes_an_answer, a_request_that_cannot_be_computed_fails_alone, term_during_many_streams_ends_none_of_them])
