#!/usr/bin/env python3
"""fathom serve as a gateway: requests forwarded to an upstream of the test's own, which answers as told, also slowly, brokenly, or too much.

    test_gateway.py FATHOM TINY_MODELS [EMULATOR...]"""
import http.client
import http.server
import json
import pathlib
import re
import threading
import time

from harness import GGUF, main, refused, run
from serving import Server, events_of

CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 12, "temperature": 0}
KEY = "sk-upstream-1234567890"
CLIENT_KEY = "sk-of-the-client-0987654321"
ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "theirs",
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "from upstream 🙂"}, "finish_reason": "stop"}]}


def chunk(text):
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}, 'finish_reason': None}]})}\n\n".encode()


class Upstream(http.server.ThreadingHTTPServer):
    """What it does is told by the model that a request names."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.sent, self.left = [], 0, threading.Event()
        self.tries = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the test


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def whole(self, status, body, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(data)

    def part(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
        self.server.sent += len(data)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        s, model = self.server, body["model"].removeprefix("t-")
        s.requests.append((self.path, dict(self.headers), body, raw))
        n = s.tries[model] = s.tries.get(model, 0) + 1
        if model == "busy" and n < 3:
            return self.whole(429, {"error": {"message": "slow down", "type": "rate_limit_error"}})
        if model == "failing":
            return self.whole(500, b"<html>oops</html>", "text/html")
        if model == "refusing":
            return self.whole(400, {"error": {"message": "too long a prompt", "type": "invalid_request_error", "code": "context_length_exceeded"}})
        if model == "locked":
            return self.whole(401, {"error": {"message": f"wrong key {KEY}"}})
        if model == "garbage":
            return self.whole(200, b"this is no JSON")
        if model == "counted" and not body.get("stream"):
            return self.whole(200, {**ANSWER, "usage": {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}})
        if model == "counted":
            self.begin_stream()
            self.part(chunk("one ") + chunk("two"))
            self.part(b'data: {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 3}}\n\ndata: [DONE]\n\n')
            return self.part(b"")
        if model == "silent":
            s.left.clear()
            time.sleep(6)
            return self.whole(200, ANSWER)
        if model == "huge":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(80):
                self.part(b" " * (1 << 20))
            return self.part(b"")
        if not body.get("stream"):
            return self.whole(200, ANSWER)
        self.begin_stream()
        if self.path.endswith("/messages"):
            usage = {"input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 30, "output_tokens": 1}
            for name, more in (("message_start", {"message": {"usage": usage}}), ("message_delta", {"usage": {"output_tokens": 44}}), ("message_stop", {})):
                self.part(f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n".encode())
        elif model == "endless":
            try:
                for _ in range(100000):
                    self.part(chunk("word " * 200))
            except OSError:
                s.left.set()
            return None
        elif model == "huge-event":
            for _ in range(8):
                self.part(b"data: " + b"x" * (1 << 20))
            return None
        elif model == "pieces":  # events cut anywhere, and several at a time
            data = b": comment\n\n" + b"".join(chunk(f"{i} 🙂") for i in range(20)) + b"data: [DONE]\n\n"
            for i in range(0, len(data), 7):
                self.part(data[i:i + 7])
        else:
            self.part(chunk("one "))
            if model == "slow":
                time.sleep(1)
            self.part(chunk("two"))
            if model == "cutting":
                self.wfile.write(b"40\r\ndata: {\"cut")
                self.wfile.flush()
                return self.connection.close()
            if model == "quitting":  # ends without the end
                return self.part(b"")
            self.part(b"data: [DONE]\n\n")
        return self.part(b"")


UPSTREAM = SERVER = None
CONFIG = f"""threads = 1
[model.local]
model = "{GGUF}"
[upstream.away]
url = "http://127.0.0.1:{{0}}/v1"
api = "openai"
key-env = "TEST_KEY"
timeout = 20
retries = 2
fallbacks = ["claude-away", "local"]
[upstream.away.models]
big = "theirs"
any-* = "*"
failing = "failing"
busy = "busy"
[upstream.alone]
url = "http://127.0.0.1:{{0}}/base/"
api = "openai"
retries = 0
timeout = 3
[upstream.alone.models]
a-* = "*"
t-* = "*"
[upstream.claude]
url = "http://127.0.0.1:{{0}}"
api = "anthropic"
key-file = "{{1}}/key"
[upstream.claude.models]
claude-away = "theirs"
[upstream.gone]
url = "http://127.0.0.1:9"
api = "openai"
retries = 0
fallbacks = ["local"]
[upstream.gone.models]
gone = "x"
"""


def config(folder):
    global UPSTREAM
    UPSTREAM = UPSTREAM or Upstream()
    (folder / "key").write_text(KEY + "\n")
    path = folder / "serve.toml"
    path.write_text(CONFIG.format(UPSTREAM.server_port, folder))
    return path


def server(folder):
    global SERVER
    path = config(folder)
    SERVER = SERVER or Server("--config", path, model=None, env={"TEST_KEY": KEY, "no_proxy": "*"})
    return SERVER


def ask(s, model, code=200, path="/v1/chat/completions", **more):
    return s.post(path, {**CHAT, **more, "model": model}, code=code, headers={"Authorization": f"Bearer {CLIENT_KEY}", "X-Api-Key": CLIENT_KEY})


def requests_are_passed_on(folder):
    s = server(folder)
    UPSTREAM.requests.clear()
    raw = '{"x": 1.50, "model" : "big", "messages":[{"role":"user","content":"\\u00e9 \\"model\\": \\"x\\""}],"n":1e3}'
    status, headers, body = s.request("POST", "/v1/chat/completions", raw, headers={"Authorization": f"Bearer {CLIENT_KEY}", "anthropic-beta": "x"})
    assert status == 200 and json.loads(body) == ANSWER and headers["Content-Type"] == "application/json", body
    path, sent, _, sent_raw = UPSTREAM.requests[0]
    assert path == "/v1/chat/completions" and sent["Authorization"] == f"Bearer {KEY}", sent
    assert sent_raw.decode() == raw.replace('"big"', '"theirs"'), sent_raw
    ask(s, "any-thing")
    assert UPSTREAM.requests[-1][2]["model"] == "any-thing"
    ask(s, "a-b", path="/completions")
    assert UPSTREAM.requests[-1][0] == "/base/completions" and "Authorization" not in UPSTREAM.requests[-1][1]
    answer = s.request("POST", "/v1/messages", json.dumps({**CHAT, "model": "claude-away"}), headers={"x-api-key": CLIENT_KEY, "anthropic-version": "2026-10-21", "anthropic-beta": "b1"})
    assert answer[0] == 200
    path, sent, body, _ = UPSTREAM.requests[-1]
    sent = {k.lower(): v for k, v in sent.items()}
    assert path == "/v1/messages" and sent["x-api-key"] == KEY and sent["anthropic-version"] == "2026-10-21" and sent["anthropic-beta"] == "b1", sent
    assert body["model"] == "theirs" and not any(CLIENT_KEY in str(r) for r in UPSTREAM.requests)
    assert ask(s, "local")["choices"][0]["finish_reason"] == "length"
    models = {m["id"]: m for m in json.loads(s.request("GET", "/v1/models")[2])["data"]}
    assert models["big"]["state"] == "remote" and models["big"]["owned_by"] == "away" and "any-*" not in models and "local" in models
    assert all(json.loads(s.request("GET", path)[2])["id"] == "big" for path in ("/v1/models/big", "/models/big"))
    assert ask(s, "nowhere", code=404)["error"]["code"] == "model_not_found"
    e = ask(s, "claude-away", code=400)["error"]
    assert "/v1/messages" in e["message"], e
    e = ask(s, "a-x", code=400, path="/v1/messages")
    assert e["type"] == "error" and "/v1/chat/completions" in e["error"]["message"], e


def streams_are_passed_event_by_event(folder):
    s = server(folder)
    events = s.stream("/v1/chat/completions", {**CHAT, "model": "a-ok"})
    assert events[-1][1] == "[DONE]" and len(events) == 3
    names = [n for n, _ in s.stream("/v1/messages", {**CHAT, "model": "claude-away"})]
    assert names == ["message_start", "message_delta", "message_stop"]
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
    c.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True, "model": "t-slow"}))
    r = c.getresponse()
    first = r.read1(4096)
    assert b"one" in first and b"two" not in first, first  # long before the upstream goes on
    assert b"[DONE]" in r.read()
    c.close()
    events = s.stream("/v1/chat/completions", {**CHAT, "model": "t-pieces"})
    assert events[-1][1] == "[DONE]" and [e["choices"][0]["delta"]["content"] for _, e in events[:-1]] == [f"{i} 🙂" for i in range(20)]


def errors_have_the_api_s_shape(folder):
    s = server(folder)
    e = ask(s, "t-refusing", code=400)["error"]
    assert e["code"] == "context_length_exceeded" and "too long a prompt" in e["message"] and set(e) == {"message", "type", "param", "code"}, e
    for model, code in (("failing", 502), ("locked", 502), ("garbage", 502), ("huge", 502), ("silent", 504)):
        e = ask(s, "t-" + model, code=code)["error"]
        assert e["type"] == "server_error" and KEY not in str(e) and len(e["message"]) > 20, e
    for model in ("cutting", "quitting", "huge-event"):
        status, _, text = s.request("POST", "/v1/chat/completions", {**CHAT, "model": "t-" + model, "stream": True})
        if model == "huge-event":
            assert status == 502, text
            continue
        events = events_of(text)
        assert "error" in events[-1][1] and [e["choices"][0]["delta"]["content"] for _, e in events[:-1]] == ["one ", "two"], events
    assert s.metric("forward_failed_total") >= 8


def a_request_is_tried_again_and_then_elsewhere(folder):
    s = server(folder)
    UPSTREAM.tries.clear()
    assert ask(s, "busy")["choices"][0]["message"]["content"] == ANSWER["choices"][0]["message"]["content"]
    assert UPSTREAM.tries["busy"] == 3
    for stream in (False, True):  # to the local model, since the other fallback speaks another API
        UPSTREAM.tries.clear()
        before = s.metric("forward_fallbacks_total")
        if stream:
            assert s.stream("/v1/chat/completions", {**CHAT, "model": "failing"})[-1][1] == "[DONE]"
        else:
            answer = ask(s, "failing")
            assert answer["model"] == "failing" and answer["choices"][0]["finish_reason"] == "length", answer
        assert UPSTREAM.tries["failing"] == 3 and s.metric("forward_fallbacks_total") == before + 1
    assert ask(s, "gone")["choices"][0]["finish_reason"] == "length"
    UPSTREAM.requests.clear()
    assert ask(s, "big", path="/v1/messages", max_tokens=5) == ANSWER  # which its first upstream cannot do, but a fallback
    assert [r[0] for r in UPSTREAM.requests] == ["/v1/messages"]


def a_client_that_leaves_ends_the_work_there(folder):
    s = server(folder)
    UPSTREAM.left.clear()
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
    c.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True, "model": "t-endless"}))
    r = c.getresponse()
    r.read(1000)
    before, end = -1, time.monotonic() + 30
    while before != UPSTREAM.sent:  # until every buffer between here and there is full
        assert time.monotonic() < end and not UPSTREAM.left.is_set(), "a reader that does not read holds the upstream back"
        before = UPSTREAM.sent
        time.sleep(0.7)
    for _ in range(100):  # reading again moves it again
        r.read(65536)
    r.close()
    c.close()
    assert UPSTREAM.left.wait(5), "the upstream's connection is closed"
    s.wait_metric("forwards_running", 0)


def mistakes_name_table_and_line(folder):
    text = config(folder).read_text()
    env = {"PATH": "/usr/bin", "TEST_KEY": KEY}
    out = run("serve", "--check", "--config", config(folder), env=env).stdout.decode()
    assert "upstream   away" in out and "with a key" in out and KEY not in out and "model big, there theirs" in out and "then local" in out, out
    for change, says in ((('api = "openai"\nkey-env', 'api = "other"\nkey-env'), [":6:", "anthropic"]), (("/v1\"\n", "/v1 x\"\n"), ["[upstream.away]", "url"]),
                         (("http://127.0.0.1", "http://example.com"), ["[upstream.away]", "https"]), (('"local"]', '"other"]'), ["[upstream.away]", '"other"']),
                         (("TEST_KEY", "ABSENT_KEY"), ["ABSENT_KEY"]), (("/key\"", "/absent\""), ["[upstream.claude]", "absent"]),
                         (("timeout = 20\nretries = 2", "timeout = 20\nretries = 200"), [":9:", "retries"]), (("retries = 2", "tries = 2"), [":9:", "tries"]),
                         (('a-* = "*"\nt-* = "*"\n', ""), ["[upstream.alone]", "models are missing"])):
        assert change[0] in text, change
        (folder / "bad.toml").write_text(text.replace(*change))
        refused("serve", "--check", "--config", folder / "bad.toml", says=says, env=env)


def the_documents_examples_are_valid(folder):
    text = (pathlib.Path(__file__).parents[2] / "docs/serving.md").read_text()
    models, upstreams = [b for b in re.findall(r"```toml\n(.*?)```", text, re.S) if "[model." in b or "[upstream." in b]
    both = models + upstreams
    for name in ('"default"', '"coder"'):
        assert f"model = {name}" in both
        both = both.replace(f"model = {name}", f'model = "{GGUF}"')
    (folder / "doc.toml").write_text(both)
    out = run("serve", "--check", "--config", folder / "doc.toml", env={"PATH": "/usr/bin", "DEEPSEEK_API_KEY": KEY}).stdout.decode()
    assert "claude-*" in out and "upstream   deepseek" in out and "then small" in out, out


def usage_of_upstreams_is_counted(folder):
    s = Server("--config", config(folder), "--store", folder / "store.db", model=None, env={"TEST_KEY": KEY, "no_proxy": "*"})
    ask(s, "a-b")  # tells nothing of its tokens
    for stream in (False, True):
        s.request("POST", "/v1/chat/completions", {**CHAT, "model": "t-counted", "stream": stream})
    ask(s, "t-refusing", code=400)
    s.stream("/v1/messages", {**CHAT, "model": "claude-away"})
    used = {r["model"]: [r[k] for k in ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")]
            for r in json.loads(s.request("GET", "/usage")[2])["data"]}
    assert used == {"a-b": [1, 0, 0, 0], "t-counted": [2, 1100, 60, 10], "claude-away": [1, 60, 20, 44]}, used
    s.stop()


def z_no_key_is_in_the_log(folder):
    s = server(folder)
    log = "".join(s.log)
    assert "forwarded to away" in log and KEY not in log and CLIENT_KEY not in log and "hello" not in log
    s.stop()


main([requests_are_passed_on, streams_are_passed_event_by_event, errors_have_the_api_s_shape, a_request_is_tried_again_and_then_elsewhere,
      a_client_that_leaves_ends_the_work_there, mistakes_name_table_and_line, the_documents_examples_are_valid, usage_of_upstreams_is_counted,
      z_no_key_is_in_the_log])
