#!/usr/bin/env python3
"""Requests made at random from a description of every endpoint, over the socket: valid ones, nearly valid ones and hostile ones.

    test_requests.py FATHOM TINY_MODELS COUNT SEED [EMULATOR...]

No answer may be a 5xx that is not declared, every body must have its API's shape, every event of a stream as well; nothing may
crash, hang, or be left behind: no running job, no connection, no memory. Turns that were acknowledged must be there at the end."""
import http.server
import json
import os
import pathlib
import random
import re
import sys
import threading
import time

COUNT, SEED = int(sys.argv[3]), int(sys.argv[4])
sys.argv[3:5] = []
from harness import EMULATOR, GGUF, TINY, main  # noqa: E402
from made_requests import FORWARDED, OF_PLAIN, WITH_MODEL, make_request  # noqa: E402
from serving import WAIT, Server, events_of  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
import scripted_model  # noqa: E402

CLIENTS = 4
ALWAYS = {400, 404, 405, 413}
PROGRAM = TINY / "fathom-scripted"

# ---- what comes back ----


def members(o, **types):
    for k, t in types.items():
        assert k in o and isinstance(o[k], t), f"{k} must be {t}: {str(o)[:300]}"


def check_error(family, o):
    members(o, error=dict)
    members(o["error"], type=str, message=str)
    assert 10 < len(o["error"]["message"]) < 700, o
    if family == "anthropic":
        assert o["type"] == "error" and o["request_id"].startswith("req_"), o
    else:
        assert set(o["error"]) == {"type", "message", "param", "code"}, o


def check_chat(o):
    members(o, id=str, object=str, created=int, model=str, choices=list, usage=dict)
    for c in o["choices"]:
        members(c, index=int, message=dict, finish_reason=str)
        assert c["message"]["role"] == "assistant" and c["finish_reason"] in ("stop", "length", "tool_calls"), c
        for t in c["message"].get("tool_calls", []):
            json.loads(t["function"]["arguments"])


def check_completions(o):
    members(o, id=str, object=str, created=int, model=str, choices=list, usage=dict)
    for c in o["choices"]:
        members(c, index=int, text=str, finish_reason=str)


def check_messages(o):
    members(o, id=str, type=str, role=str, content=list, model=str, stop_reason=str, usage=dict)
    for b in o["content"]:
        members(b, **{"text": {"text": str}, "thinking": {"thinking": str, "signature": str}, "tool_use": {"id": str, "name": str, "input": dict}}[b["type"]])


def check_responses(o):
    members(o, id=str, object=str, status=str, output=list, usage=dict)
    for i in o["output"]:
        members(i, type=str, id=str)


def check_embeddings(o):
    members(o, object=str, data=list, model=str, usage=dict)
    assert [d["index"] for d in o["data"]] == list(range(len(o["data"]))) and all(isinstance(d["embedding"], (list, str)) for d in o["data"]), o


def check_conversation(o):
    members(o, object=str, id=str, title=str, created_ms=int, updated_ms=int, head=int, n_turns=int, settings=dict, turns=list)
    assert [t["id"] for t in o["turns"]] == list(range(1, o["n_turns"] + 1)) and 0 <= o["head"] <= o["n_turns"], o
    for t in o["turns"]:
        members(t, role=str, content=str, reasoning=str, model=str, finish=str, created_ms=int, parent=int)
        assert t["role"] in ("user", "assistant") and 0 <= t["parent"] < t["id"] and "damaged" not in t, t


def check_conversations(o):
    members(o, object=str, data=list, has_more=bool)
    for c in o["data"]:
        members(c, object=str, id=str, title=str, created_ms=int, updated_ms=int, head=int, n_turns=int)


def check_usage(o):
    members(o, object=str, data=list, total=dict)
    for r in [*o["data"], o["total"]]:
        members(r, requests=int, prompt_tokens=int, cached_tokens=int, completion_tokens=int)


def check_model(o):
    members(o, id=str, object=str, created=int, owned_by=str, state=str)


def check_models(o):
    members(o, object=str, data=list, has_more=bool)
    for m in o["data"]:
        check_model(m)


WHOLE = {"chat": check_chat, "completions": check_completions, "messages": check_messages, "responses": check_responses, "embeddings": check_embeddings, "conversation": check_conversation,
         "conversations": check_conversations, "usage": check_usage, "model": check_model, "models": check_models, "created": lambda o: members(o, object=str, id=str),
         "turn": lambda o: members(o, object=str, id=int), "health": lambda o: members(o, status=str), "changed": lambda o: members(o), "forwarded": lambda o: members(o), None: lambda o: members(o)}


def check_stream(kind, events):
    assert events, "a stream without events"
    if kind in ("chat", "completions"):
        assert events[-1] == (None, "[DONE]"), events[-1]
        for _, e in events[:-1]:
            members(e, id=str, object=str, created=int, model=str, choices=list)
            for c in e["choices"]:
                members(c, index=int, **({"delta": dict} if kind == "chat" else {"text": str}))
                assert c["finish_reason"] in (None, "stop", "length", "tool_calls"), c
    elif kind == "messages":
        assert all(n == e["type"] for n, e in events), "event names"
        assert events[0][0] == "message_start" and events[-1][0] == "message_stop" and events[-2][0] == "message_delta", [n for n, _ in events]
        opened, closed = [[e["index"] for n, e in events if n == "content_block_" + what] for what in ("start", "stop")]
        assert opened == closed == list(range(len(opened))), (opened, closed)
    elif kind == "responses":
        assert all(n == e["type"] for n, e in events), "event names"
        assert [e["sequence_number"] for _, e in events] == list(range(len(events))), "sequence"
        assert events[0][0] == "response.created" and events[-1][0] in ("response.completed", "response.incomplete"), events[-1]
    else:  # of an upstream: it ends as its API ends streams, or with an error
        name, last = events[-1]
        assert last == "[DONE]" or "error" in last or name in ("message_stop", "response.completed", "response.incomplete"), events[-1]


# ---- who answers ----


class Upstream(http.server.BaseHTTPRequestHandler):
    """Well most of the time; else with an error, nonsense, half an answer or none."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def whole(self, status, data, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        way = random.random()
        if way < 0.15:
            status = random.choice([400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 501, 503])
            data = random.choice([b'{"error": {"message": "no, not like that", "code": "context_length_exceeded"}}', b'{"error": "a text alone"}', b"<html>", b"", b'{"error": {"message": 5}}', b"[" * 500])
            return self.whole(status, data)
        if way < 0.2:
            return self.whole(random.choice([200, 201, 301]), random.choice([b"", b"nonsense", b"{", b"\xff"]))
        if way < 0.25:
            self.close_connection = True
            return self.wfile.write(random.choice([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", b"HTTP/9 x\r\n\r\n", b"\x00" * 40]))
        if body.get("stream") is not True:
            return self.whole(200, b'{"id": "x", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": -7}}')
        done = b'event: message_stop\ndata: {"type": "message_stop"}\n\n' if "messages" in self.path else b"data: [DONE]\n\n"
        parts = [b'data: {"choices": []}\n\n', b": comment\n\n", done]
        if way < 0.35:
            parts = random.choice([parts[:1], parts[:2], [], [b"data: {"], [b"nonsense"]])
        self.whole(200, b"".join(parts), "text/event-stream")

    do_GET = do_POST


def serve_upstream():
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    upstream.daemon_threads = True
    upstream.handle_error = lambda *args: None  # bodies that are none
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    return upstream.server_port


def open_scripted():
    call = '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="look">\n<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>'
    rules = [("CALL1", "Hm.</think>I look.\n\n" + call), ("CALL2", "Hm.</think>" + call.replace("</｜DSML｜invoke>\n", "</｜DSML｜invoke>\n" + call.split("\n", 1)[1].split("</｜DSML｜tool")[0])),
             ("ODD", "Odd.</think>data: x\n\nevent: y\u2028\x00 🙂"), ("MUTANT", "Hm.</think>So: " + call[:90]), ("", "Hm.</think>Hello 🙂.")]
    path = TINY / f"requests-{SEED}.gguf"
    scripted_model.write(path, rules, n_ctx=4096)
    return Server("--slots", 4, "--no-store", model=path, program=PROGRAM)


def open_plain(folder):
    port = serve_upstream()
    upstream = '[upstream.{0}]\nurl = "http://127.0.0.1:{1}"\napi = "{2}"\nretries = 0\ntimeout = 20\n{3}[upstream.{0}.models]\n{0} = "theirs"\n'
    (folder / "serve.toml").write_text(f'threads = 1\nslots = 2\nctx = 2048\nstore = "{folder}/store.db"\n[model.one]\nmodel = "{GGUF}"\n' + upstream.format("away", port, "openai", "")
                                       + upstream.format("away-claude", port, "anthropic", "") + upstream.format("far-off", 9, "openai", "")
                                       + upstream.format("with-fallback", port, "openai", 'fallbacks = ["far-off", "away-claude", "away"]\n'))
    return Server("--config", folder / "serve.toml", model=None, env={"no_proxy": "*"})


def held(server):
    """(bytes of its own that the process holds, swapped out or not, files that are open)"""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return (sum(int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1]) * 1024 for name in ("RssAnon", "VmSwap")), len(os.listdir(f"/proc/{server.process.pid}/fd")))


class Run:
    """Requests to one server, by several clients; what the store has acknowledged."""

    def __init__(self, server, endpoints):
        self.server, self.endpoints = server, endpoints
        self.counts, self.problems, self.lock = {}, [], threading.Lock()
        self.ids, self.turns = [], {}  # conversations; (conversation, turn) -> content

    def note(self, r, status, o, body):
        """Keeps what is to be there at the end."""
        if r.endpoint.kind == "created" and status == 201:
            self.ids.append(o["id"])
        elif r.endpoint.kind == "turn" and status == 201:
            self.turns[r.path.split("/")[2], o["id"]] = body.get("content") or ""
        elif r.method == "DELETE" and status == 200:
            self.ids.remove(r.path.split("/")[2])

    def one(self, r):
        e = r.endpoint
        status, headers, answer = self.server.request(r.method, r.path, r.data)
        kind = headers.get("Content-Type", "")
        try:
            with self.lock:
                self.counts[status] = self.counts.get(status, 0) + 1
            assert status in ALWAYS | e.declared, status
            if kind.startswith("text/event-stream"):
                assert status == 200, status
                check_stream(e.kind, events_of(answer))
            elif status >= 400:
                assert kind == "application/json", kind
                check_error(e.family, json.loads(answer))
            elif e.kind in ("markdown", "metrics"):
                assert kind.startswith("text/") and answer.decode(), kind
            else:
                assert kind == "application/json", kind
                o = json.loads(answer)
                WHOLE[e.kind](o)
                if r.method != "GET":
                    with self.lock:
                        self.note(r, status, o, json.loads(r.data) if r.data else {})
        except (AssertionError, KeyError, ValueError, UnicodeDecodeError) as x:
            raise AssertionError(f"seed {SEED}: {r.method} {r.path} {r.data[:1500] if r.data else None!r}: {status} {answer[:600]!r}: {type(x).__name__}: {x}") from x

    def client(self, n):
        for _ in range(n):
            if self.problems:
                return
            with self.lock:
                request = make_request(self.endpoints, self.ids)
            try:
                self.one(request)
            except Exception as x:
                self.problems.append(x)

    def many(self, n):
        threads = [threading.Thread(target=self.client, args=((n + i) // CLIENTS,)) for i in range(CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if self.problems:
            raise self.problems[0]

    def check_kept(self):
        for one in self.ids:
            turns = {t["id"]: t["content"] for t in json.loads(self.server.request("GET", "/conversations/" + one)[2])["turns"]}
            for (conversation, i), content in self.turns.items():
                assert conversation != one or turns[i] == content, f"turn {i} of {one} is lost or altered"


def check_run(server, endpoints, count):
    run = Run(server, endpoints)
    run.many(min(count // 4, 500))  # the first ones warm up
    before = held(server)
    run.many(count - min(count // 4, 500))
    assert server.process.poll() is None and server.request("GET", "/health")[0] == 200
    for name in ("jobs_running", "jobs_waiting"):
        server.wait_metric(name, 0, WAIT)
    time.sleep(0.5)
    after = held(server)
    counts = run.counts
    print(f"# seed {SEED}: answers {dict(sorted(counts.items()))}; memory {before[0] / 1e6:.1f} then {after[0] / 1e6:.1f} MB, files {before[1]} then {after[1]}", flush=True)
    assert counts.get(200, 0) > count / 4 and counts.get(400, 0) > count / 10, counts
    assert after[1] <= before[1] + 2, (before, after)
    # What an allocator keeps is bounded; what is lost grows with the requests: 32 MB, and 500 bytes of each.
    if not EMULATOR and not re.search(rb"__[at]san_init", PROGRAM.read_bytes()):
        assert after[0] < before[0] + 32e6 + 500 * count, (before, after)
    run.check_kept()
    server.stop()  # leaks are found here, under a sanitizer


def of_models(folder):
    check_run(open_scripted(), WITH_MODEL, COUNT // 2)


def of_the_store_and_upstreams(folder):
    check_run(open_plain(folder), OF_PLAIN + FORWARDED, COUNT - COUNT // 2)


random.seed(SEED)
main([of_models, of_the_store_and_upstreams])
