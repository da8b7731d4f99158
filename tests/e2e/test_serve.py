#!/usr/bin/env python3
"""fathom serve over its socket, with a tiny model: the shapes of answers and errors, streams, limits, hostile HTTP.

    test_serve.py FATHOM TINY_MODELS [EMULATOR...]"""
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import sys
import threading
import time

from harness import EMULATOR, GGUF, LONG, TINY, Skip, main, refused, run
from serving import WAIT, Server

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
SERVER = None
HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"messages": HELLO, "max_tokens": 12, "temperature": 0}


def server():
    global SERVER
    if SERVER is None:
        SERVER = Server("--slots", 3, "-t", 1)
    return SERVER


def content(events):
    return "".join(e["choices"][0]["delta"].get("content") or "" for _, e in events if e != "[DONE]" and e["choices"])


def chat_answers_whole_and_streamed(folder):
    s = server()
    whole = s.post("/v1/chat/completions", CHAT)
    choice = whole["choices"][0]
    assert whole["object"] == "chat.completion" and choice["finish_reason"] == "length", whole
    assert whole["usage"]["completion_tokens"] == 12, whole["usage"]
    assert whole["usage"]["prompt_cache_hit_tokens"] + whole["usage"]["prompt_cache_miss_tokens"] == whole["usage"]["prompt_tokens"]
    assert "tool_calls" not in choice["message"] and "reasoning_content" not in choice["message"]
    events = s.stream("/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": True}})
    assert events[-1] == (None, "[DONE]") and all(name is None for name, _ in events)
    chunks = [e for _, e in events[:-1]]
    assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 12
    assert chunks[-2]["choices"][0]["finish_reason"] == "length" and chunks[-2]["usage"] is None
    assert content(events) == choice["message"]["content"]
    assert s.post("/v1/chat/completions", {**CHAT, "n": 3})["choices"][2]["message"]["content"] == choice["message"]["content"]


def stop_strings_end_the_answer(folder):
    s = server()
    text = s.post("/v1/chat/completions", CHAT)["choices"][0]["message"]["content"]
    middle = text[3:5]
    got = s.post("/v1/chat/completions", {**CHAT, "stop": [middle, ""]})["choices"][0]
    assert got["message"]["content"] == text[:text.index(middle)] and got["finish_reason"] == "stop", got
    m = s.post("/v1/messages", {"messages": HELLO, "max_tokens": 12, "temperature": 0, "stop_sequences": [middle, "unseen"]})
    assert m["stop_reason"] == "stop_sequence" and m["stop_sequence"] == middle, m


def messages_stream_in_order(folder):
    s = server()
    body = {"messages": HELLO, "max_tokens": 12, "temperature": 0, "model": "claude-x"}
    whole = s.post("/v1/messages", body)
    assert whole["type"] == "message" and whole["model"] == "claude-x" and whole["stop_reason"] == "max_tokens", whole
    u = whole["usage"]
    count = s.post("/v1/messages/count_tokens", body)["input_tokens"]
    assert u["input_tokens"] + u["cache_read_input_tokens"] + u["cache_creation_input_tokens"] == count
    events = s.stream("/v1/messages?beta=true", body)
    assert all(name == e["type"] for name, e in events)
    names = [n for n, _ in events]
    assert names[:3] == ["message_start", "ping", "content_block_start"], names
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"], names
    text = "".join(e["delta"]["text"] for n, e in events if n == "content_block_delta")
    assert text == whole["content"][0]["text"]
    assert events[-2][1]["usage"]["output_tokens"] == 12 and events[-2][1]["delta"]["stop_reason"] == "max_tokens"
    assert s.post("/anthropic/v1/messages", body)["content"] == whole["content"]


def completions_take_text_ids_and_score(folder):
    s = server()
    ids = s.post("/tokenize", {"content": "hello world the"})["tokens"]
    assert s.post("/detokenize", {"tokens": ids})["content"] == "hello world the"
    body = {"prompt": "hello world the", "max_tokens": 5, "temperature": 0}
    text = s.post("/v1/completions", body)["choices"][0]["text"]
    both = s.post("/v1/completions", {**body, "prompt": [ids, ids[:2]], "n": 2})["choices"]
    assert [c["index"] for c in both] == [0, 1, 2, 3] and both[0]["text"] == both[1]["text"] == text
    scored = s.post("/v1/completions", {**body, "prompt": ids, "echo": True, "logprobs": 3})["choices"][0]
    logprobs = scored["logprobs"]
    assert scored["text"] == "hello world the" + text and len(logprobs["tokens"]) == len(ids) + 5
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    assert all(v <= max(top.values()) + 1e-6 for v, top in zip(logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:]))
    assert logprobs["text_offset"][0] == 0 and logprobs["text_offset"] == sorted(logprobs["text_offset"])
    only = s.post("/v1/completions", {**body, "prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 0})
    assert only["usage"]["completion_tokens"] == 0 and only["choices"][0]["text"] == "hello world the"
    assert only["choices"][0]["logprobs"]["token_logprobs"] == logprobs["token_logprobs"][:len(ids)]
    streamed = s.stream("/v1/completions", {**body, "echo": True, "stream_options": {"include_usage": True}})
    assert "".join(e["choices"][0]["text"] for _, e in streamed[:-2]) == "hello world the" + text
    assert streamed[-2][1]["choices"] == [] and streamed[-2][1]["usage"]["completion_tokens"] == 5, streamed[-2]
    s.post("/v1/completions", {**body, "suffix": "x"}, code=400)


def logprobs_of_a_chat_add_up(folder):
    s = server()
    body = {**CHAT, "logprobs": True, "top_logprobs": 2}
    choice = s.post("/v1/chat/completions", body)["choices"][0]
    entries = choice["logprobs"]["content"]
    assert len(entries) == 12 and all(len(e["top_logprobs"]) == 2 for e in entries)
    assert bytes(b for e in entries for b in e["bytes"]).decode(errors="replace").startswith(choice["message"]["content"][:4])
    assert all(e["logprob"] == e["top_logprobs"][0]["logprob"] for e in entries), "greedy takes the likeliest"
    streamed = [t for _, e in s.stream("/v1/chat/completions", body)[:-1] for c in e["choices"] for t in (c["logprobs"] or {}).get("content", [])]
    assert streamed == entries[:len(streamed)] and len(streamed) >= 10


def errors_have_each_api_s_shape(folder):
    s = server()
    bad = [({}, "messages"), ({"messages": []}, "messages"), ({"messages": "x"}, "messages"), ({"messages": [{}]}, "messages[0].role"),
           ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
           ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
           ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
           ({**CHAT, "temperature": 3}, "temperature"), ({**CHAT, "temperature": "hot"}, "temperature"), ({**CHAT, "top_p": -0.1}, "top_p"),
           ({**CHAT, "max_tokens": 0}, "max_tokens"), ({**CHAT, "max_tokens": -1}, "max_tokens"), ({**CHAT, "max_tokens": 2 ** 53}, "max_tokens"),
           ({**CHAT, "max_tokens": 1.5}, "max_tokens"), ({**CHAT, "n": 0}, "n"), ({**CHAT, "n": 10 ** 6}, "n"), ({**CHAT, "stop": 5}, "stop"),
           ({**CHAT, "stop": ["x"] * 17}, "stop"), ({**CHAT, "stop": "x" * 257}, "stop"), ({**CHAT, "top_logprobs": 21}, "top_logprobs"),
           ({**CHAT, "logit_bias": {"x": 1}}, "logit_bias"), ({**CHAT, "logit_bias": {"-1": 1}}, "logit_bias"),
           ({**CHAT, "logit_bias": {"99999999": 1}}, "logit_bias"), ({**CHAT, "stream": "yes"}, "stream"), ({**CHAT, "tools": {}}, "tools"),
           ({**CHAT, "tools": [{"type": "function"}]}, "tools[0]"), ({**CHAT, "tool_choice": "perhaps"}, "tool_choice"),
           ({**CHAT, "tool_choice": "required"}, "tool_choice"), ({**CHAT, "reasoning_effort": "some"}, "reasoning_effort"),
           ({**CHAT, "response_format": {"type": "yaml"}}, "response_format"), ({**CHAT, "response_format": {"type": "json_schema"}}, "response_format"), ({**CHAT, "seed": "x"}, "seed"),
           ({**CHAT, "thinking": {"type": "maybe"}}, "thinking.type")]
    for body, param in bad:
        e = s.post("/v1/chat/completions", body, code=400)["error"]
        assert e["param"] == param and e["type"] == "invalid_request_error" and set(e) == {"message", "type", "param", "code"}, (body, e)
        assert isinstance(e["message"], str) and len(e["message"]) > 10
    for body in ({}, {"messages": []}, {"messages": [{"role": "x", "content": ""}]}, {"messages": HELLO, "temperature": 9},
                 {"messages": [{"role": "user", "content": [{"type": "mystery"}]}]}, {"messages": HELLO, "tool_choice": {"type": "x"}}):
        e = s.post("/v1/messages", body, code=400)
        assert e["type"] == "error" and e["error"]["type"] == "invalid_request_error" and e["request_id"].startswith("req_"), e
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/completions", "/tokenize", "/detokenize"):
        for body in ("", "[]", "{", "null", '{"a":1}x', b'{"a":"\xff"}', "[" * 100000):
            assert s.post(path, body, code=400)["error"]["message"]
    for body in ({"prompt": 5}, {"prompt": [[5, -1]]}, {"prompt": [10 ** 9]}, {"prompt": ["a"] * 200}, {"prompt": []}):
        s.post("/v1/completions", body, code=400)
    long = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x y " * 20000}]}, code=400)["error"]
    assert long["code"] == "context_length_exceeded" and "prompt is too long" in long["message"], long
    status, headers, _ = s.request("GET", "/v1/chat/completions")
    assert status == 405 and headers["Allow"] == "POST"
    assert s.request("GET", "/nowhere")[0] == 404 and s.request("GET", "/v1/models/other")[0] == 404
    assert s.request("POST", "/v1/chat/completions", CHAT, headers={"Content-Encoding": "gzip"})[0] == 415


def unknown_members_and_nulls_are_ignored(folder):
    s = server()
    body = {**CHAT, "service_tier": "auto", "metadata": {"a": [1]}, "tools": None, "stop": None, "n": None, "seed": None, "logit_bias": None,
            "user": "x", "store": False, "zzz": {"deep": {}}, "top_k": -1, "thinking": {"type": "adaptive", "budget_tokens": 5}}
    assert s.post("/chat/completions", body)["choices"][0]["message"]["content"]
    assert s.post("/beta/completions", {"prompt": "x", "max_tokens": 1})["choices"]


def second_turns_are_not_read_again(folder):
    s = server()
    first = [{"role": "user", "content": "hello world " * 300}]
    a = s.post("/v1/chat/completions", {**CHAT, "messages": first})
    second = first + [a["choices"][0]["message"], {"role": "user", "content": "more"}]
    b = s.post("/v1/chat/completions", {**CHAT, "messages": second})["usage"]
    new = b["prompt_tokens"] - a["usage"]["prompt_tokens"]  # the answer, whose bytes need not be text, and what follows it
    assert b["prompt_tokens"] > 600 and b["prompt_cache_miss_tokens"] <= new, (a["usage"], b)


def neighbours_do_not_change_an_answer(folder):
    s = server()
    bodies = [{**CHAT, "messages": [{"role": "user", "content": f"hello {i} " + "the world of " * (i * 5)}], "max_tokens": 10 + i} for i in range(8)]
    alone = [s.post("/v1/chat/completions", b)["choices"][0]["message"]["content"] for b in bodies]
    together = [None] * len(bodies)

    def ask(i):
        together[i] = s.post("/v1/chat/completions", bodies[i])["choices"][0]["message"]["content"]
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert together == alone


def the_seed_decides(folder):
    s = server()
    body = {**CHAT, "temperature": 1, "seed": 5, "max_tokens": 20}
    texts = {s.post("/v1/chat/completions", {**body, "seed": seed})["choices"][0]["message"]["content"] for seed in (5, 5, 5, 6)}
    assert len(texts) == 2


def a_client_that_leaves_ends_its_work(folder):
    s = server()
    before = s.metric("jobs_cancelled_total")
    for half_close in (False, True):
        c = socket.create_connection(("127.0.0.1", s.port))
        body = json.dumps({"messages": HELLO, "max_tokens": 14000, "stream": not half_close, "temperature": 0})
        c.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        s.wait_metric("jobs_running", 1)
        if half_close:
            c.shutdown(socket.SHUT_WR)
            s.wait_metric("jobs_running", 0, 2)
        c.close()
        s.wait_metric("jobs_running", 0, 2)
    assert s.metric("jobs_cancelled_total") == before + 2


def a_reader_that_does_not_read_is_not_waited_for(folder):
    s = server()
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.connect(("127.0.0.1", s.port))
    body = json.dumps({"messages": HELLO, "max_tokens": 15000, "stream": True, "temperature": 0})
    c.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    s.wait_metric("jobs_running", 1)
    assert s.post("/v1/chat/completions", CHAT)["choices"]
    c.close()
    s.wait_metric("jobs_running", 0, 5)


def hosts_and_origins_are_checked(folder):
    s = server()
    for headers in ({"Host": "evil.test"}, {"Host": f"evil.test:{s.port}"}, {"Origin": "http://evil.test"}, {"Origin": "null"},
                    {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://localhost:1"}):
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/health"), ("GET", "/nowhere")):
            status, _, text = s.request(method, path, CHAT if method == "POST" else None, headers=headers)
            assert status == 403 and "error" in json.loads(text), (headers, path, status)
    assert b" 400 " in s.raw(b"GET /health HTTP/1.1\r\n\r\n", 2).splitlines()[0]
    assert s.request("GET", "/health", headers={"Host": "localhost", "Origin": "http://localhost"})[0] == 200


def keys_are_asked_for_everywhere(folder):
    key = "a-long-enough-key-0123456789"
    s = Server("-t", 1, env={"FATHOM_API_KEY": key})
    routes = [("POST", p) for p in ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/messages/count_tokens", "/tokenize",
                                    "/detokenize", "/v1/embeddings")] + [("GET", p) for p in ("/v1/models", "/usage", "/conversations", "/conversations/x", "/conversations/x/markdown", "/metrics", "/nowhere", "/v1/chat/completions")]
    n_asked = 0
    for method, path in routes:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {key}"}, {"Authorization": f"Bearer {key[:-1]}"},
                        {"x-api-key": ""}, {"x-api-key": key + "x"}):
            n_asked += 1  # from many addresses, for each may offer few wrong keys
            status, _, text = s.request(method, path, {} if method == "POST" else None, headers=headers, source=f"127.0.1.{n_asked}")
            assert status == 401, (method, path, headers, status)
            assert json.loads(text)["error"]["type"] == "authentication_error"
    assert s.request("GET", "/health")[0] == 200
    for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert s.request("GET", "/v1/models", headers=headers)[0] == 200
        assert s.post("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": "sesame-prompt"}]}, headers=headers)["choices"]
    s.stop()
    log = "".join(s.log)
    assert key not in log and "sesame" not in log, log
    refused("serve", "-m", GGUF, "--host", "0.0.0.0", says="lets others in", env={k: v for k, v in os.environ.items() if k != "FATHOM_API_KEY"})


def wrong_keys_are_slowed_down(folder):
    key = "a-long-enough-key-0123456789"
    s = Server("-t", 1, env={"FATHOM_API_KEY": key})
    wrong = {"Authorization": f"Bearer {key[:-1]}"}
    answers = [s.request("GET", "/v1/models", headers=wrong) for _ in range(25)]
    codes = [status for status, _, _ in answers]
    assert codes[:20] == [401] * 20 and codes[-1] == 429 and set(codes) == {401, 429}, codes
    _, headers, text = answers[-1]
    assert 1 <= int(headers["Retry-After"]) <= 3 and json.loads(text)["error"]["type"] == "rate_limit_error", (headers, text)
    assert s.request("GET", "/v1/models", headers=dict(wrong, **{"anthropic-version": "2023-06-01"}))[0] in (401, 429)
    assert s.request("GET", "/v1/models")[0] == 401, "no key is no guess"
    assert s.request("GET", "/v1/models", headers={"x-api-key": key})[0] == 200, "the right key is served"
    assert s.request("GET", "/v1/models", headers=wrong, source="127.0.0.9")[0] == 401, "others are not slowed down"
    time.sleep(int(headers["Retry-After"]) + 0.1)
    assert s.request("GET", "/v1/models", headers=wrong)[0] == 401, "after the wait one more is allowed"
    s.stop()


def term_lets_answers_end_and_a_second_one_does_not(folder):
    s = Server("-t", 1)
    got = {}

    def ask(name, n):
        try:
            got[name] = s.stream("/v1/chat/completions", {**CHAT, "max_tokens": n})
        except (http.client.HTTPException, OSError) as e:
            got[name] = e
    t = threading.Thread(target=ask, args=("short", 3000))
    t.start()
    s.wait_metric("jobs_running", 1)
    s.stop()
    t.join()
    assert got["short"][-1][1] == "[DONE]" and content(got["short"]), got
    s = Server("-t", 1, "--ctx", 16000)
    t = threading.Thread(target=ask, args=("long", 15000))
    t.start()
    s.wait_metric("jobs_running", 1)
    s.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert s.process.poll() is None, "it waits for the answer"
    start = time.monotonic()
    s.stop()
    t.join()
    assert time.monotonic() - start < 5
    assert isinstance(got["long"], Exception) or "error" in got["long"][-1][1], got["long"][-1]


def the_page_comes_from_the_program_alone(folder):
    s = server()
    for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/markdown.js", "text/javascript"), ("/api.js", "text/javascript"),
                       ("/conversations.js", "text/javascript"), ("/view.js", "text/javascript"), ("/style.css", "text/css"), ("/icon.svg", "image/svg")):
        status, headers, text = s.request("GET", path)
        assert status == 200 and headers["Content-Type"].startswith(kind) and len(text) > 100, path
        assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(rb"""(src|href)=["']?(https?:)?//|@import|url\(""", text), path
    assert s.request("HEAD", "/")[0] == 200 and s.request("POST", "/", {})[0] == 405


def check_prints_limits(folder):
    done = run("serve", "-m", GGUF, "--check")
    text = done.stdout.decode()
    for word in ("/v1/chat/completions", "connections", "queue", "slots", "chatml"):
        assert word in text, word


def start_failures_are_one_line(folder):
    refused("serve", "-m", "/nonexistent.gguf", says="nonexistent")
    refused("serve", "-m", GGUF, "--host", "nonsense", says="--host nonsense")
    s = server()
    refused("serve", "-m", GGUF, "--port", str(s.port), says="cannot listen")
    refused("serve", "--slots", "0", says="slots", code=2)


def answers_follow_their_form(folder):
    s = server()
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "n": {"type": "integer", "minimum": 1, "maximum": 9},
                                               "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3}},
              "required": ["name", "n", "tags"], "additionalProperties": False}
    for seed in range(6):
        body = {**CHAT, "max_tokens": 400, "temperature": 1.5, "seed": seed, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
        choice = s.post("/v1/chat/completions", body)["choices"][0]
        assert choice["finish_reason"] == "stop", choice
        v = json.loads(choice["message"]["content"])
        assert list(v) == ["name", "n", "tags"] and len(v["name"]) <= 8 and 1 <= v["n"] <= 9 and 1 <= len(v["tags"]) <= 3 and set(v["tags"]) <= {"a", "b"}, v
        assert content(s.stream("/v1/chat/completions", body)) == choice["message"]["content"]
    r = s.post("/v1/responses", {"input": "x", "max_output_tokens": 400, "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}})
    assert set(json.loads(r["output"][0]["content"][0]["text"])) == set(schema["properties"])
    m = s.post("/v1/messages", {"messages": HELLO, "max_tokens": 400, "output_config": {"format": {"type": "json_schema", "schema": schema}}})
    assert set(json.loads(m["content"][0]["text"])) == set(schema["properties"])
    for seed in range(4):
        free = {**CHAT, "max_tokens": 300, "temperature": 1.5, "seed": seed}
        for form, pattern in (({"guided_regex": r"\n*(yes|no){1,3} [^\W_]{2,5}\."}, r"\n*(yes|no){1,3} [^\W_]{2,5}\."),
                              ({"response_format": {"type": "regex", "pattern": r"^(\d{3}-){2}é$"}}, r"(\d{3}-){2}é"),
                              ({"grammar": 'root ::= item ("," item){1,2}\nitem ::= "(" item ")" | [a-c]+ "!"'}, r"[(abc,)!]+"),
                              ({"guided_choice": ["<think>", "r\"e\nd"]}, r"<think>|r\"e\nd"), ({"structured_outputs": {"json": {"const": [1]}}}, r"\s*\[1\]"),
                              ({"guided_json": {"type": "string", "pattern": "^[a-z]{3}$"}}, r'\s*"[a-z]{3}"')):
            choice = s.post("/v1/chat/completions", {**free, **form})["choices"][0]
            assert choice["finish_reason"] == "stop" and re.fullmatch(pattern, choice["message"]["content"]), (form, choice)
            assert content(s.stream("/v1/chat/completions", {**free, **form})) == choice["message"]["content"]
            text = s.post("/v1/completions", {"prompt": "x", "max_tokens": 300, "temperature": 1.5, "seed": seed, **form})["choices"][0]["text"]
            assert re.fullmatch(pattern, text), (form, text)
    for form, param in (({"guided_regex": "("}, "guided_regex"), ({"grammar": "root ::= root"}, "grammar"), ({"regex": "a", "grammar": 'root ::= "a"'}, "grammar"),
                        ({"guided_regex": "x" * 70000}, "guided_regex"), ({"guided_choice": []}, "guided_choice"), ({"guided_choice": [1]}, "guided_choice[0]"),
                        ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex"), ({"response_format": {"type": "grammar", "syntax": "lark", "grammar": "x"}}, "response_format"),
                        ({"guided_regex": "a", "tools": TOOLS}, "guided_regex")):
        assert s.post("/v1/chat/completions", {**CHAT, **form}, code=400)["error"]["param"] == param, form
    start = time.monotonic()
    huge = {"enum": [f"v{i}" for i in range(100000)]}
    for bad in ({"enum": []}, huge, {"pattern": "(?!a)b"}, {"$ref": "#"}, {"type": "object", "required": ["a"]}):
        s.post("/v1/chat/completions", {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": bad}}}, code=400)
    assert time.monotonic() - start < 5 * (1 if not EMULATOR else 20)


# ---- with a model that says what it is told ----

SCRIPTED = None
OPEN, CLOSE = "<｜DSML｜tool_calls>\n", "</｜DSML｜tool_calls>"
CALL = '<｜DSML｜invoke name="look">\n<｜DSML｜parameter name="city" string="true">Rome & <b>"x"</b>\n🙂</｜DSML｜parameter>\n<｜DSML｜parameter name="n" string="false">[1, 2.5]</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
ARGUMENTS = {"city": 'Rome & <b>"x"</b>\n🙂', "n": [1, 2.5]}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
A_TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]
ODD_TEXT = "data: x\n\nevent: y\r\n: z\n\n\u2028\u2029\x00\x7f\ufeff </think> <think> 日本 🙂 \\ \" end"


def mutants():
    """Calls with something wrong in them."""
    whole = OPEN + CALL + CLOSE
    rng = random.Random(7)
    texts = [whole[:i] for i in range(0, len(whole), 9)]
    for _ in range(2000 if LONG else 60):
        i, j = sorted(rng.randrange(len(whole)) for _ in range(2))
        texts.append(rng.choice([whole[:i] + whole[j:], whole[:i] + whole[i:j] * 2 + whole[j:], whole[:i] + rng.choice(["<", ">", '"', "｜DSML｜", "\n", "</", "{"]) + whole[i:]]))
    return texts


MUTANTS = mutants()


def scripted(**more):
    global SCRIPTED
    if not (TINY / "fathom-scripted").exists():
        raise Skip("the scripted model is not built")
    if SCRIPTED is None:
        import scripted_model
        rules = [("CALL1", "Hm.</think>I look.\n\n" + OPEN + CALL + CLOSE), ("CALL2", "Hm.</think>" + OPEN + CALL + CALL + CLOSE),
                 ("QUOTED", "One writes " + OPEN + CALL + CLOSE + " so.</think>Like that."), ("ODD", "Odd.</think>" + ODD_TEXT),
                 ("ARGUMENTS-ONLY", "Hm.</think>" + CALL.split("\n", 1)[1] + CLOSE), ("ENDLESS", "Only thoughts."), ("LONG", "L.</think>" + "word after word " * 4000),
                 *[(f"MUTANT{i}.", "Hm.</think>So: " + text) for i, text in enumerate(MUTANTS)], ("", "Hm.</think>Hello 🙂.")]
        path = TINY / "test-scripted.gguf"
        scripted_model.write(path, rules, by_bytes=False, delay_us=50)
        SCRIPTED = Server("--slots", 4, model=path, program=TINY / "fathom-scripted")
    return SCRIPTED


def say(word, **more):
    return {"messages": [{"role": "user", "content": word}], **more}


def forms_hold_behind_reasoning(folder):
    """The model wants to say something else, and to end within its reasoning: neither is allowed."""
    s = scripted()
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "why": {"enum": ["a", "b"]}}, "required": ["ok", "why"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for word in ("x", "ENDLESS"):
        for think in ({}, {"thinking": {"type": "disabled"}}):
            c = s.post("/v1/chat/completions", say(word, response_format=form, max_tokens=600, temperature=1, seed=1, **think))["choices"][0]
            g = s.post("/v1/chat/completions", say(word, guided_regex=r"\n\n(True|False)", max_tokens=600, **think))["choices"][0]
            if g["finish_reason"] == "stop":
                assert g["message"]["content"] in ("\n\nTrue", "\n\nFalse"), g
            else:
                assert word == "ENDLESS" and not think and not g["message"]["content"], g
            if c["finish_reason"] == "stop":
                assert set(json.loads(c["message"]["content"])) == {"ok", "why"}, c
            else:
                assert word == "ENDLESS" and not think and c["finish_reason"] == "length" and not c["message"]["content"], c


def calls_are_each_api_s_own(folder):
    s = scripted()
    for word, n in (("CALL1", 1), ("CALL2", 2)):
        choice = s.post("/v1/chat/completions", say(word, tools=TOOLS))["choices"][0]
        assert choice["finish_reason"] == "tool_calls" and len(choice["message"]["tool_calls"]) == n, choice
        assert all(json.loads(c["function"]["arguments"]) == ARGUMENTS for c in choice["message"]["tool_calls"])
        assert len({c["id"] for c in choice["message"]["tool_calls"]}) == n
        pieces = {}
        for _, e in s.stream("/v1/chat/completions", say(word, tools=TOOLS))[:-1]:
            for c in e["choices"][0]["delta"].get("tool_calls", []) if e["choices"] else []:
                pieces[c["index"]] = pieces.get(c["index"], "") + c["function"]["arguments"]
        assert {i: json.loads(p) for i, p in pieces.items()} == {i: ARGUMENTS for i in range(n)}
        m = s.post("/v1/messages", {**say(word, tools=A_TOOLS), "max_tokens": 2000})
        assert m["stop_reason"] == "tool_use" and [b["input"] for b in m["content"] if b["type"] == "tool_use"] == [ARGUMENTS] * n
        r = s.post("/v1/responses", {"input": word, "tools": [{"type": "function", "name": "look", "parameters": {}}]})
        assert [json.loads(o["arguments"]) for o in r["output"] if o["type"] == "function_call"] == [ARGUMENTS] * n
    one = s.post("/v1/chat/completions", say("CALL2", tools=TOOLS, parallel_tool_calls=False))["choices"][0]
    assert len(one["message"]["tool_calls"]) == 1 and one["finish_reason"] == "tool_calls"
    cut = s.post("/v1/chat/completions", say("CALL1", tools=TOOLS, max_tokens=60))["choices"][0]
    assert cut["finish_reason"] == "length" and "tool_calls" not in cut["message"], cut
    quoted = s.post("/v1/chat/completions", say("QUOTED", tools=TOOLS))["choices"][0]
    assert quoted["finish_reason"] == "stop" and quoted["message"]["content"] == "Like that." and "invoke" in quoted["message"]["reasoning_content"]


def calls_can_be_demanded(folder):
    s = scripted()
    named = {"type": "function", "function": {"name": "look"}}
    for think in ({}, {"thinking": {"type": "disabled"}}):
        c = s.post("/v1/chat/completions", say("ARGUMENTS-ONLY", tools=TOOLS, tool_choice=named, **think))["choices"][0]
        assert c["finish_reason"] == "tool_calls" and c["message"]["tool_calls"][0]["function"]["name"] == "look", c
    e = s.post("/v1/chat/completions", say("x", tools=TOOLS, tool_choice={"type": "function", "function": {"name": "other"}}), code=400)["error"]
    assert e["param"] == "tool_choice" and "other" in e["message"]
    with_tools = s.post("/v1/messages/count_tokens", say("x", tools=A_TOOLS))["input_tokens"]
    without = s.post("/v1/messages/count_tokens", say("x", tools=A_TOOLS, tool_choice={"type": "none"}))["input_tokens"]
    assert without < 10 < with_tools


def malformed_calls_end_nothing(folder):
    s = scripted()
    for i in range(len(MUTANTS)):
        whole = s.post("/v1/chat/completions", say(f"MUTANT{i}.", tools=TOOLS))["choices"][0]
        assert whole["finish_reason"] in ("stop", "tool_calls"), whole
        events = s.stream("/v1/chat/completions", say(f"MUTANT{i}.", tools=TOOLS))
        assert events[-1][1] == "[DONE]" and content(events) == whole["message"]["content"], (i, MUTANTS[i])
        for c in whole["message"].get("tool_calls", []):
            json.loads(c["function"]["arguments"])
        m = s.stream("/v1/messages", {**say(f"MUTANT{i}.", tools=A_TOOLS), "max_tokens": 2000})
        assert m[-1][0] == "message_stop"
        kinds = [e["content_block"]["type"] for n, e in m if n == "content_block_start"]
        assert [e["index"] for n, e in m if n == "content_block_start"] == list(range(len(kinds)))


def every_event_is_whole(folder):
    s = scripted()
    whole = s.post("/v1/chat/completions", say("ODD"))["choices"][0]["message"]["content"]
    assert whole == ODD_TEXT.replace("</think>", "").replace("<think>", ""), whole
    assert content(s.stream("/v1/chat/completions", say("ODD"))) == whole
    for n in range(1, 30):  # cut within a character
        text = content(s.stream("/v1/chat/completions", say("x", max_tokens=n)))
        assert "Hello 🙂.".startswith(text.rstrip("\ufffd")), text


def spelled_control_tokens_are_text(folder):
    s = scripted()
    tokens = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜", "<｜fim▁hole｜>"]
    count = lambda body: s.post("/v1/messages/count_tokens", body)["input_tokens"]  # noqa: E731
    for t in tokens:
        bodies = [{"messages": [{"role": "user", "content": "a" + t}]}, {"system": "a" + t, "messages": HELLO},
                  {"messages": HELLO + [{"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"k": t}}]},
                                        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": t}]}]},
                  {"messages": HELLO, "tools": [{"name": "f", "description": t, "input_schema": {}}]}]
        for body in bodies:
            n = json.dumps(body, ensure_ascii=False).count(t)
            plain = json.loads(json.dumps(body, ensure_ascii=False).replace(t, ""))
            # As a control token it would be one; the model's vocabulary has no other token for its parts than bytes.
            assert count(body) - count(plain) >= n * (len(t.encode()) - 3), (t, body)


def agents_do_not_read_twice(folder):
    s = scripted()
    system = "You are an agent. " * 1800
    first = {"system": system, "tools": A_TOOLS, "messages": [{"role": "user", "content": "CALL1 please"}], "max_tokens": 2000}
    a = s.post("/v1/messages", first)
    history = first["messages"] + [{"role": "assistant", "content": a["content"]},
                                   {"role": "user", "content": [{"type": "tool_result", "tool_use_id": a["content"][-1]["id"], "content": "sunny"}]}]
    b = s.post("/v1/messages", {**first, "messages": history})["usage"]
    total = b["input_tokens"] + b["cache_read_input_tokens"]
    assert total > 20000 and b["input_tokens"] < 0.02 * total, b


def conversations_share_their_beginning(folder):
    """The second one begins with a copy of what the first has in common with it, and takes nothing from it; other keys share nothing."""
    keys = folder / "keys"
    owners = ["first-owner-0123456789", "other-owner-0123456789"]
    keys.write_text("".join(hashlib.sha256(k.encode()).hexdigest() + "\n" for k in owners))
    s = Server("-t", 1, "--slots", 3, "--api-keys", keys)
    ask = lambda messages, owner=0: s.post("/v1/chat/completions", {**CHAT, "messages": messages}, headers={"Authorization": f"Bearer {owners[owner]}"})  # noqa: E731
    system = [{"role": "system", "content": "hello world the " * 200}]
    first = system + [{"role": "user", "content": "hello"}]
    a = ask(first)
    stranger = ask(first, 1)["usage"]
    assert stranger["prompt_cache_hit_tokens"] == 0, stranger
    b = ask(system + [{"role": "user", "content": "world of many other words"}])
    assert b["usage"]["prompt_cache_hit_tokens"] > 400 and b["usage"]["prompt_cache_miss_tokens"] < 80, b["usage"]
    again = ask(first + [a["choices"][0]["message"], {"role": "user", "content": "more"}])["usage"]
    assert again["prompt_cache_miss_tokens"] < 80 and ask(first)["choices"][0]["message"] == a["choices"][0]["message"], again
    s.stop()


def compressed_caches_go_back_too(folder):
    """DeepSeek V4 cannot be cut anywhere, and histories leave out the reasoning, here longer than what its rings can take back."""
    run("synth", "-o", folder / "v4")
    keep = folder / "keep"
    history = [{"role": "system", "content": "The rules of the house. " * 60}, {"role": "user", "content": "Begin."}]
    s = Server("-t", 1, "--slots", 1, "--ctx", 4000, "--keep", keep, model=folder / "v4")
    controls = json.loads((folder / "v4" / "tokenizer.json").read_text())["added_tokens"]
    body = {"temperature": 0, "logit_bias": {t["id"]: -100 for t in controls}}  # random numbers would end the answer any time
    ask = lambda n: s.post("/v1/chat/completions", {**body, "messages": history, "max_tokens": n})["usage"]  # noqa: E731
    first = ask(560)
    assert first["completion_tokens"] == 560, first
    history += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Go on."}]
    second = ask(560)
    assert second["prompt_cache_miss_tokens"] < 60 < first["prompt_cache_miss_tokens"], (first, second)
    s.stop()
    s = Server("-t", 1, "--slots", 1, "--ctx", 4000, "--keep", keep, model=folder / "v4")
    history += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Go on."}]
    third = ask(1)
    assert third["prompt_cache_miss_tokens"] < 60, third
    s.stop()


def a_restart_goes_on_where_it_was(folder):
    keep = folder / "keep"
    body = {**CHAT, "messages": [{"role": "user", "content": "hello world " * 400}]}
    s = Server("-t", 1, "--slots", 1, "--keep", keep)
    first = s.post("/v1/chat/completions", body)
    other = s.post("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": "the world of " * 400}]})  # takes the only slot
    assert other["usage"]["prompt_cache_hit_tokens"] < 50 and s.metric("states_saved_total") == 1
    back = s.post("/v1/chat/completions", body)
    assert back["choices"][0]["message"] == first["choices"][0]["message"] and back["usage"]["prompt_cache_miss_tokens"] < 3, back["usage"]
    s.stop()
    assert keep.stat().st_mode & 0o077 == 0 and len(list(keep.glob("*.state"))) == len(list(keep.glob("*.ids"))) == 2
    s = Server("-t", 1, "--slots", 1, "--keep", keep)
    again = s.post("/v1/chat/completions", body)
    assert again["choices"][0]["message"] == first["choices"][0]["message"] and again["usage"]["prompt_cache_miss_tokens"] < 3, again["usage"]
    s.stop()
    # Damaged, foreign and half pairs count as absent.
    for f in keep.glob("*.state"):
        data = bytearray(f.read_bytes())
        data[len(data) // 2] ^= 1
        f.write_bytes(data)
    (keep / "ffff.ids").write_bytes(b"x" * 13)
    s = Server("-t", 1, "--slots", 1, "--keep", keep)
    again = s.post("/v1/chat/completions", body)
    assert again["choices"][0]["message"] == first["choices"][0]["message"] and again["usage"]["prompt_cache_hit_tokens"] == 0, again["usage"]
    assert s.metric("states_failed_total") >= 1
    s.stop()
    s = Server("-t", 1, "--slots", 1, "--keep", keep, "--keep-size", 1000)  # nothing fits
    s.post("/v1/chat/completions", body)
    s.stop()
    assert not list(keep.glob("*.state"))


def short_prompts_do_not_wait_for_long_ones(folder):
    s = scripted()
    long = threading.Thread(target=lambda: s.post("/v1/chat/completions", say("x " * 60000, max_tokens=1)))
    c = socket.create_connection(("127.0.0.1", s.port))
    body = json.dumps(say("LONG", stream=True, max_tokens=20000))
    c.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    c.settimeout(WAIT)
    c.recv(1000)
    long.start()
    gaps, last, alone = [], time.monotonic(), None
    while long.is_alive() or len(gaps) < 200:
        assert c.recv(65536), "the stream must go on"
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
        if alone is None and len(gaps) == 50:
            start = time.monotonic()
            s.post("/v1/chat/completions", say("short", max_tokens=1))
            alone = time.monotonic() - start
            last = time.monotonic()
    c.close()
    long.join()
    s.wait_metric("jobs_running", 0)
    assert sorted(gaps)[int(len(gaps) * 0.99)] < 0.5 and alone < 2, (max(gaps), alone)


def z_the_server_is_still_well(folder):
    s = server()
    assert s.request("GET", "/health")[0] == 200
    s.wait_metric("jobs_running", 0)
    s.stop(signal.SIGINT)
    if SCRIPTED:
        SCRIPTED.stop()


main([chat_answers_whole_and_streamed, stop_strings_end_the_answer, messages_stream_in_order,
      completions_take_text_ids_and_score, logprobs_of_a_chat_add_up, errors_have_each_api_s_shape,
      unknown_members_and_nulls_are_ignored, second_turns_are_not_read_again, neighbours_do_not_change_an_answer,
      the_seed_decides, a_client_that_leaves_ends_its_work, a_reader_that_does_not_read_is_not_waited_for,
      hosts_and_origins_are_checked, keys_are_asked_for_everywhere, wrong_keys_are_slowed_down, term_lets_answers_end_and_a_second_one_does_not,
      the_page_comes_from_the_program_alone, check_prints_limits, start_failures_are_one_line, answers_follow_their_form,
      forms_hold_behind_reasoning, calls_are_each_api_s_own, calls_can_be_demanded, malformed_calls_end_nothing, every_event_is_whole,
      spelled_control_tokens_are_text, agents_do_not_read_twice, conversations_share_their_beginning, compressed_caches_go_back_too, a_restart_goes_on_where_it_was, short_prompts_do_not_wait_for_long_ones,
      z_the_server_is_still_well])
