#!/usr/bin/env python3
"""Requests made at random from a description of every endpoint, over the socket: valid ones, nearly valid ones and hostile ones.

    test_requests.py FATHOM TINY_MODELS COUNT SEED [EMULATOR...]

No answer may be a 5xx that is not declared, every body must have its API's shape, every event of a stream as well; nothing may
crash, hang, or be left behind: no running job, no connection, no memory."""
import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

COUNT, SEED = int(sys.argv[3]), int(sys.argv[4])
sys.argv[3:5] = []
from harness import EMULATOR, TINY, check_clean, main  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
import scripted_model  # noqa: E402

WAIT = 120
CLIENTS = 4

# ---- what bodies are made of: functions that make a valid value ----


def one_of(*values):
    return lambda: random.choice(values)


def whole(low, high):
    return lambda: random.randint(low, high)


def real(low, high):
    return lambda: random.choice([low, high, round(random.uniform(low, high), 3)])


def array(item, low, high):
    return lambda: [item() for _ in range(random.randint(low, high))]


def object_of(required, optional=None):
    """Members that are always there, and others that sometimes are."""
    def make():
        o = {k: v() for k, v in required.items()}
        for k, v in (optional or {}).items():
            if random.random() < 0.25:
                o[k] = v()
        return o
    return make


def either(*makers):
    return lambda: random.choice(makers)()


TEXTS = ["", "hello", "CALL1", "CALL2", "ODD", "MUTANT", "a b c " * 30, "日本 🙂 é", "\u0000\u2028\ufeff", "<think></think><｜User｜>", "{\"a\": [1]}", "\\ \" \n\t\r"]
text = one_of(*TEXTS)
flag = one_of(True, False)
schema = one_of({"type": "object"}, {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a"]}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
                {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"v": {"type": "null"}, "n": {"$ref": "#/$defs/n"}}, "required": ["v"]}}}, {"type": "string", "pattern": "^[a-z]{2,5}$"}, {})
tool = object_of({"type": one_of("function"), "function": object_of({"name": one_of("look", "write_file", "x-1")}, {"description": text, "parameters": schema, "strict": flag})})
a_tool = object_of({"name": one_of("look", "write_file"), "input_schema": schema}, {"description": text})
r_tool = either(object_of({"type": one_of("function"), "name": one_of("look", "w")}, {"parameters": schema, "description": text, "strict": flag}), object_of({"type": one_of("custom"), "name": one_of("patch")}), one_of({"type": "web_search"}))
sampling = {"temperature": real(0, 2), "top_p": real(0, 1), "top_k": whole(-1, 100), "min_p": real(0, 1), "seed": whole(-5, 2 ** 40), "presence_penalty": real(-2, 2), "frequency_penalty": real(-2, 2),
            "repetition_penalty": real(0.5, 2), "logit_bias": one_of({}, {"5": 10, "7": -100}), "user": text, "metadata": one_of({}, {"a": "b"})}
parts = array(object_of({"type": one_of("text"), "text": text}), 1, 3)
message = either(object_of({"role": one_of("user", "system", "developer"), "content": either(text, parts)}),
                 object_of({"role": one_of("assistant"), "content": either(text, one_of(None))}, {"reasoning_content": text, "tool_calls": array(object_of({"id": one_of("c1", "c2"), "type": one_of("function"), "function": object_of({"name": one_of("look"), "arguments": one_of("{}", '{"city":"Rome"}', "no json")})}), 1, 2)}),
                 object_of({"role": one_of("tool"), "tool_call_id": one_of("c1", "c2"), "content": text}))
forms = {"response_format": either(one_of({"type": "text"}, {"type": "json_object"}), object_of({"type": one_of("json_schema"), "json_schema": object_of({"name": one_of("n"), "schema": schema})}), one_of({"type": "regex", "pattern": "(ab?){1,4}"})),
         "guided_regex": one_of("[a-z]{1,5}", "yes|no"), "guided_choice": one_of(["a", "b"]), "grammar": one_of('root ::= "x" | "(" root ")"')}
chat = object_of({"messages": lambda: [message() for _ in range(random.randint(0, 3))] + [{"role": "user", "content": text()}]},
                 {**sampling, **forms, "model": text, "max_tokens": whole(1, 40), "max_completion_tokens": whole(1, 40), "n": whole(1, 3), "stop": either(text, array(one_of("a", "the", ""), 0, 4)), "logprobs": flag, "top_logprobs": whole(0, 20),
                  "tools": array(tool, 0, 3), "tool_choice": one_of("auto", "none", "required", {"type": "function", "function": {"name": "look"}}), "parallel_tool_calls": flag, "stream_options": one_of({"include_usage": True}, {}),
                  "thinking": one_of({"type": "enabled"}, {"type": "disabled"}), "reasoning_effort": one_of("none", "low", "high", "max")})
completions = object_of({"prompt": either(text, array(text, 1, 3), array(whole(0, 50), 1, 5), array(array(whole(0, 50), 1, 4), 1, 2))},
                        {**sampling, **forms, "max_tokens": whole(0, 20), "n": whole(1, 2), "echo": flag, "logprobs": whole(0, 5), "suffix": text, "stop": text, "stream_options": one_of({"include_usage": True})})
a_block = either(object_of({"type": one_of("text"), "text": text}), object_of({"type": one_of("tool_use"), "id": one_of("t1"), "name": one_of("look"), "input": one_of({}, {"a": 1})}),
                 object_of({"type": one_of("tool_result"), "tool_use_id": one_of("t1"), "content": text}), object_of({"type": one_of("thinking"), "thinking": text, "signature": one_of("")}))
messages = object_of({"messages": lambda: [{"role": random.choice(["user", "assistant"]), "content": either(text, array(a_block, 1, 3))()} for _ in range(random.randint(0, 2))] + [{"role": "user", "content": text()}], "max_tokens": whole(1, 40)},
                     {"system": either(text, parts), "temperature": real(0, 1), "top_p": real(0, 1), "top_k": whole(0, 50), "stop_sequences": array(one_of("a", "b"), 0, 3), "tools": array(a_tool, 0, 2), "model": text, "metadata": one_of({"user_id": "x"}),
                      "tool_choice": one_of({"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "look"}), "thinking": one_of({"type": "enabled", "budget_tokens": 2000}, {"type": "disabled"}),
                      "output_config": either(object_of({"format": object_of({"type": one_of("json_schema"), "schema": schema})}), one_of({"effort": "low"}))})
r_item = either(object_of({"role": one_of("user", "system", "assistant", "developer"), "content": either(text, array(object_of({"type": one_of("input_text", "output_text"), "text": text}), 1, 2))}),
                object_of({"type": one_of("function_call"), "call_id": one_of("c"), "name": one_of("look"), "arguments": one_of("{}")}), object_of({"type": one_of("function_call_output"), "call_id": one_of("c"), "output": text}),
                object_of({"type": one_of("reasoning"), "summary": one_of([])}))
responses = object_of({"input": either(text, array(r_item, 1, 3))}, {"instructions": text, "temperature": real(0, 2), "top_p": real(0, 1), "max_output_tokens": whole(1, 40), "tools": array(r_tool, 0, 2), "tool_choice": one_of("auto", "none", "required"),
                      "text": object_of({"format": either(one_of({"type": "text"}, {"type": "json_object"}), object_of({"type": one_of("json_schema"), "name": one_of("n"), "schema": schema}))}), "reasoning": one_of({"effort": "low"}, {"summary": "auto"}),
                      "parallel_tool_calls": flag, "store": flag, "metadata": one_of({}), "model": text})
ENDPOINTS = [("/v1/chat/completions", chat, "openai", "chat"), ("/v1/completions", completions, "openai", "completions"), ("/v1/messages", messages, "anthropic", "messages"),
             ("/v1/responses", responses, "openai", "responses"), ("/v1/messages/count_tokens", messages, "anthropic", None), ("/tokenize", object_of({"content": text}, {"add_special": flag}), "openai", None),
             ("/detokenize", object_of({"tokens": array(whole(0, 60), 0, 6)}), "openai", None)]

# ---- what is done to them ----

ODD_VALUES = [None, True, False, 0, -1, 1, 2 ** 31, 2 ** 53 + 1, -2 ** 63, 2 ** 63 - 1, 0.5, -0.0, 1e308, "", "x", "\x00", "é" * 50, [], {}, [[]], [{}], {"a": None}, [None], "x" * 3000, {"type": "x"}, [1, "a", {}], {"role": "user"}]
RAW = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":1e400}', b'{"a":"\\ud800"}', b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", b"{}x", b'{"messages":[', b"\xef\xbb\xbf{}", b'{"a":-}', b"{'a':1}", b'{"model":"x","model":"y"}']


def places(value, found, parent=None, key=None):
    if parent is not None:
        found.append((parent, key))
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        places(v, found, value, k)
    return found


def spoil(body):
    """Changes one to three places: another value, none, one too many, or one of another member."""
    for _ in range(random.randint(1, 3)):
        found = places(body, [])
        if not found:
            return
        parent, key = random.choice(found)
        way = random.random()
        if way < 0.6:
            parent[key] = json.loads(json.dumps(random.choice(ODD_VALUES)))
        elif way < 0.75:
            del parent[key]
            if isinstance(parent, list):
                return
        elif way < 0.85 and isinstance(parent, dict):
            parent[random.choice(["zzz", "stream", "n", "max_tokens", "tools", "stop", "grammar", "schema", "type"])] = random.choice(ODD_VALUES)
        else:
            other, other_key = random.choice(found)
            parent[key] = json.loads(json.dumps(other[other_key]))


def make_request():
    """(path, family, kind, body as bytes, whether it should stream)"""
    path, make, family, kind = random.choice(ENDPOINTS)
    body = json.loads(json.dumps(make()))
    streams = kind is not None and random.random() < 0.4
    if streams:
        body["stream"] = True
    way = random.random()
    if way < 0.06:
        data = random.choice(RAW)
    else:
        if way < 0.6:
            spoil(body)
        data = json.dumps(body, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    if way > 0.97:
        i = random.randrange(len(data))
        data = data[:i] + bytes([random.randrange(256)]) + data[i + random.randint(0, 2):]
    return path, family, kind, data


# ---- what comes back ----

def members(o, **types):
    for k, t in types.items():
        assert k in o and isinstance(o[k], t), f"{k} must be {t}: {str(o)[:300]}"


def check_error(family, status, o):
    members(o, error=dict)
    members(o["error"], type=str, message=str)
    assert 10 < len(o["error"]["message"]) < 700, o
    if family == "anthropic":
        assert o["type"] == "error" and o["request_id"].startswith("req_"), o
    else:
        assert set(o["error"]) == {"type", "message", "param", "code"}, o


def check_whole(kind, o):
    if kind == "chat":
        members(o, id=str, object=str, created=int, model=str, choices=list, usage=dict)
        for c in o["choices"]:
            members(c, index=int, message=dict, finish_reason=str)
            assert c["message"]["role"] == "assistant" and c["finish_reason"] in ("stop", "length", "tool_calls"), c
            for t in c["message"].get("tool_calls", []):
                json.loads(t["function"]["arguments"])
    elif kind == "completions":
        members(o, id=str, object=str, created=int, model=str, choices=list, usage=dict)
        for c in o["choices"]:
            members(c, index=int, text=str, finish_reason=str)
    elif kind == "messages":
        members(o, id=str, type=str, role=str, content=list, model=str, stop_reason=str, usage=dict)
        for b in o["content"]:
            members(b, **{"text": {"text": str}, "thinking": {"thinking": str, "signature": str}, "tool_use": {"id": str, "name": str, "input": dict}}[b["type"]])
    elif kind == "responses":
        members(o, id=str, object=str, status=str, output=list, usage=dict)
        for i in o["output"]:
            members(i, type=str, id=str)


def events_of(data):
    for block in filter(None, data.decode().split("\n\n")):
        name = payload = None
        for line in block.split("\n"):
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                payload = line[6:]
            else:
                assert line.startswith(":"), f"no line of an event: {line!r}"
        if payload is not None:
            yield name, payload if payload == "[DONE]" else json.loads(payload)


def check_stream(kind, data):
    events = list(events_of(data))
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
    else:
        assert all(n == e["type"] for n, e in events), "event names"
        assert [e["sequence_number"] for _, e in events] == list(range(len(events))), "sequence"
        assert events[0][0] == "response.created" and events[-1][0] in ("response.completed", "response.incomplete"), events[-1]


class Server:
    def __init__(self):
        call = '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="look">\n<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>'
        rules = [("CALL1", "Hm.</think>I look.\n\n" + call), ("CALL2", "Hm.</think>" + call.replace("</｜DSML｜invoke>\n", "</｜DSML｜invoke>\n" + call.split("\n", 1)[1].split("</｜DSML｜tool")[0])),
                 ("ODD", "Odd.</think>data: x\n\nevent: y\u2028\x00 🙂"), ("MUTANT", "Hm.</think>So: " + call[:90]), ("", "Hm.</think>Hello 🙂.")]
        path = TINY / f"requests-{SEED}.gguf"
        scripted_model.write(path, rules, n_ctx=4096)
        self.process = subprocess.Popen([*EMULATOR, str(TINY / "fathom-scripted"), "serve", "-m", str(path), "--port", "0", "--slots", "4", "--no-store"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.log, self.port = [], None
        threading.Thread(target=self.read, daemon=True).start()
        end = time.monotonic() + WAIT
        while self.port is None:
            assert self.process.poll() is None and time.monotonic() < end, self.log
            time.sleep(0.01)

    def read(self):
        for line in self.process.stderr:
            line = line.decode(errors="replace")
            found = re.search(r"on http://\S+:(\d+),", line)
            if found:
                self.port = int(found[1])
            self.log = self.log[-200:] + [line]

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            c.request(method, path, body)
            r = c.getresponse()
            return r.status, r.getheader("Content-Type") or "", r.read()
        finally:
            c.close()

    def memory(self):
        """Bytes of its own that the process holds, swapped out or not."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return sum(int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1]) * 1024 for name in ("RssAnon", "VmSwap"))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def running(self):
        _, _, data = self.ask("GET", "/metrics")
        return sum(float(v) for v in re.findall(rb"^fathom_jobs_(?:running|waiting)(?:\{[^}]*\})? (\S+)$", data, re.M))


def one(server, request, counts):
    path, family, kind, data = request
    status, content_type, answer = server.ask("POST", path, data)
    counts[status] = counts.get(status, 0) + 1
    try:
        if content_type.startswith("text/event-stream"):
            assert status == 200, status
            check_stream(kind, answer)
        else:
            assert content_type.startswith("application/json"), content_type
            o = json.loads(answer)
            assert status in (200, 400, 413, 429), status
            check_whole(kind, o) if status == 200 else check_error(family, status, o)
    except (AssertionError, KeyError, ValueError, UnicodeDecodeError) as e:
        raise AssertionError(f"seed {SEED}: POST {path} {data[:1500]!r}: {status} {answer[:600]!r}: {type(e).__name__}: {e}") from e


def random_requests(folder):
    server = Server()
    counts, problems, lock = {}, [], threading.Lock()
    rng_requests = [make_request() for _ in range(min(COUNT // 4, 300))]  # the first ones warm up
    for r in rng_requests:
        one(server, r, counts)
    before = (server.memory(), server.files())
    left = [COUNT - len(rng_requests)]

    def client():
        while not problems:
            with lock:
                if left[0] <= 0:
                    return
                left[0] -= 1
                request = make_request()
            try:
                one(server, request, counts)
            except Exception as e:
                problems.append(e)
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if problems:
        raise problems[0]
    assert server.process.poll() is None and server.ask("GET", "/health")[0] == 200
    end = time.monotonic() + WAIT
    while server.running() and time.monotonic() < end:
        time.sleep(0.05)
    assert server.running() == 0, "jobs are left"
    time.sleep(0.5)
    after = (server.memory(), server.files())
    print(f"# seed {SEED}: answers {dict(sorted(counts.items()))}; memory {before[0] / 1e6:.1f} then {after[0] / 1e6:.1f} MB, files {before[1]} then {after[1]}", flush=True)
    assert counts.get(200, 0) > COUNT / 4 and counts.get(400, 0) > COUNT / 8, counts
    assert after[1] <= before[1] + 2, (before, after)
    # What an allocator keeps is bounded; what is lost grows with the requests: 32 MB, and 500 bytes of each.
    if not EMULATOR and not re.search(rb"__[at]san_init", (TINY / "fathom-scripted").read_bytes()):
        assert after[0] < before[0] + 32e6 + 500 * COUNT, (before, after)
    server.process.terminate()
    assert server.process.wait(WAIT) == 0
    time.sleep(0.05)
    check_clean("".join(server.log).encode(), "serve")  # leaks are found here, under a sanitizer


random.seed(SEED)
main([random_requests])
