#!/usr/bin/env python3
"""Every row of the table of limits that `fathom serve --check` prints: what is at the limit is taken, what is beyond it is refused with
the right status, in the API's own shape, by a sentence that names the limit.

    test_limits.py FATHOM TINY_MODELS [--long] [EMULATOR...]"""
import json
import pathlib
import re
import sys
import threading
import time

from harness import LONG, TINY, Skip, main, run
from serving import WAIT, Server

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"messages": HELLO, "max_tokens": 2, "temperature": 0}
CHATS, COMPLETIONS, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"
TOOL = lambda i: {"type": "function", "function": {"name": f"f{i}"}}  # noqa: E731
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHOICES = lambda n: [f"v{i}" for i in range(n)]  # noqa: E731

# Row of the table -> (limit, path, body of n, what the sentence says besides the limit, beyond the limit alone is tried)
BY_REQUEST = {
    "messages": [(10000, CHATS, lambda n: {**CHAT, "messages": [{"role": "user", "content": ""}] * n}, "messages are read", True),
                 (10000, RESPONSES, lambda n: {"input": [{"role": "user", "content": ""}] * n}, "are read", True)],
    "tools": [(256, CHATS, lambda n: {**CHAT, "tools": [TOOL(i) for i in range(n)]}, "tools are read", False),
              (256, MESSAGES, lambda n: {**CHAT, "tools": [{"name": f"f{i}", "input_schema": {}} for i in range(n)]}, "tools are read", False)],
    "calls": [(256, CHATS, lambda n: {**CHAT, "messages": [*HELLO, {"role": "assistant", "content": "", "tool_calls": [CALL] * n}, *HELLO]}, "calls", False),
              (256, RESPONSES, lambda n: {"input": [{"role": "user", "content": "x"}] + [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}] * n + [{"role": "user", "content": "x"}], "max_output_tokens": 2}, "calls in a row", False)],
    "stops": [(16, CHATS, lambda n: {**CHAT, "stop": CHOICES(n)}, "stop strings", False), (16, MESSAGES, lambda n: {**CHAT, "stop_sequences": CHOICES(n)}, "stop strings", False)],
    "stop length": [(256, CHATS, lambda n: {**CHAT, "stop": "x" * n}, "a stop string has", False)],
    "choices": [(128, CHATS, lambda n: {**CHAT, "max_tokens": 1, "n": n}, "n must be between 1 and", False), (128, COMPLETIONS, lambda n: {"prompt": ["a"] * n, "max_tokens": 1}, "answers can be asked for", False)],
    "inputs": [(2048, "/v1/embeddings", lambda n: {"input": ["a"] * n}, "input must have 1 to", False)],
    "top logprobs": [(20, CHATS, lambda n: {**CHAT, "logprobs": True, "top_logprobs": n}, "top_logprobs must be between 0 and", False), (20, COMPLETIONS, lambda n: {"prompt": "a", "max_tokens": 1, "logprobs": n}, "logprobs must be between 0 and", False)],
    "biases": [(1024, CHATS, lambda n: {**CHAT, "logit_bias": {("0" * (1 + i // 50)) + str(i % 50): 0 for i in range(n)}}, "logit_bias has at most", False)],
    "form": [(65536, CHATS, lambda n: {**CHAT, "guided_regex": "a*" + "b" * (n - 2)}, "bytes", True)],
    "form values": [(4096, CHATS, lambda n: {**CHAT, "guided_choice": CHOICES(n)}, "an array of 1 to", False)],
}
# Those that other tests reach: file below tests/, function.
ELSEWHERE = {
    "body": ("e2e/test_wire.py", "too_large_is_refused_before_it_is_read"), "headers": ("e2e/test_wire.py", "too_large_is_refused_before_it_is_read"), "nesting": ("e2e/test_wire.py", "json_is_read_as_it_is_written"),
    "form states": ("property/test_forms.py", "hostile_forms"), "form depth": ("unit/test_grammar.c", "depth_is_bounded_with_a_way_out"), "connections": ("e2e/test_serve_faults.py", "more_connections_than_there_is_room_for"),
    "idle": ("unit/test_http.c", "silent_connections_are_closed"), "arrival": ("unit/test_http.c", "slow_requests_are_closed"), "wrong keys": ("e2e/test_serve.py", "wrong_keys_are_slowed_down"),
    "wrong key wait": ("e2e/test_serve.py", "wrong_keys_are_slowed_down"), "conversations": ("unit/test_store.c", "limits_hold"), "turns": ("unit/test_store.c", "limits_hold"), "turn": ("unit/test_store.c", "limits_hold"),
    "title": ("e2e/test_conversations.py", "mistakes_are_told"), "settings": ("e2e/test_conversations.py", "mistakes_are_told"), "upstream": ("e2e/test_gateway.py", "errors_have_the_api_s_shape"), "event": ("e2e/test_gateway.py", "errors_have_the_api_s_shape"),
}
HERE = {"queue", "drain"}


def every_row_has_a_test(folder):
    text = run("serve", "-m", TINY / "tiny.gguf", "--no-store", "--check").stdout.decode().split("\n\n")[-1]
    rows = dict(re.findall(r"^(\S+(?: \S+)*) {2,}(\d+) {2}\S", text, re.M))
    assert rows.keys() == BY_REQUEST.keys() | ELSEWHERE.keys() | HERE, rows.keys() ^ (BY_REQUEST.keys() | ELSEWHERE.keys() | HERE)
    for name, cases in BY_REQUEST.items():
        assert {limit for limit, *_ in cases} == {int(rows[name])}, name
    tests = pathlib.Path(__file__).parents[1]
    for name, (file, function) in ELSEWHERE.items():
        assert function in (tests / file).read_text(), f"{name}: {function} is not in {file}"


def scripted(folder, rules, *args, **more):
    if not (TINY / "fathom-scripted").exists():
        raise Skip("the scripted model is not built")
    import scripted_model
    scripted_model.write(folder / "scripted.gguf", rules, **more)
    return Server("--no-store", *args, model=folder / "scripted.gguf", program=TINY / "fathom-scripted")


def requests_meet_them(folder):
    plain = Server("-t", 1, "--slots", 4, "--no-store")
    with_tools = scripted(folder, [("", "Hm.</think>Hello.")])
    for name, cases in BY_REQUEST.items():
        for limit, path, body, says, only_beyond in cases:
            s = plain if path == "/v1/embeddings" else with_tools
            if not only_beyond:
                status, _, text = s.request("POST", path, body(limit))
                assert status == 200, f"{name} at {limit}: {status} {text[:300]}"
            answer = s.post(path, body(limit + 1), code=400)
            message = answer["error"]["message"]
            assert says in message and str(limit) in message and answer["error"]["type"] == "invalid_request_error", f"{name}: {message}"
            assert (answer.get("type") == "error") == (path == MESSAGES), answer
    plain.stop()
    with_tools.stop()


def an_answer_has_so_many_calls(folder):
    call = '<｜DSML｜invoke name="look">\n<｜DSML｜parameter name="n" string="false">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
    s = scripted(folder, [("", "Hm.</think><｜DSML｜tool_calls>\n" + call * 300 + "</｜DSML｜tool_calls>")])
    choice = s.post(CHATS, {"messages": HELLO, "tools": [{"type": "function", "function": {"name": "look"}}]})["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and len(choice["message"]["tool_calls"]) == 256, len(choice["message"]["tool_calls"])
    s.stop()


def a_full_queue_refuses_at_once(folder):
    """All that were let in are answered; the others are told when to come back."""
    s = scripted(folder, [("", "</think>" + "word " * 40)], "--slots", 1, delay_us=1000)
    n, got, lock = 200, [], threading.Lock()

    def ask():
        status, headers, text = s.request("POST", CHATS, {"messages": HELLO})
        with lock:
            got.append((status, headers.get("Retry-After"), json.loads(text)))
    threads = [threading.Thread(target=ask) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    answered, refused = [g for g in got if g[0] == 200], [g for g in got if g[0] == 429]
    assert len(answered) + len(refused) == n and len(answered) >= 64 and refused, (len(answered), len(refused))
    for _, retry_after, body in refused:
        assert int(retry_after) >= 1 and "64 requests are waiting" in body["error"]["message"] and body["error"]["type"] == "rate_limit_error", (retry_after, body)
    assert s.metric("jobs_refused_total") == len(refused)
    s.stop()


def the_end_is_waited_for_so_long(folder):
    if not LONG:
        raise Skip("it takes half a minute; in the suite slow")
    s = scripted(folder, [("", "</think>" + "word " * 4000)], delay_us=20000)
    events = []
    t = threading.Thread(target=lambda: events.extend(s.stream(CHATS, {"messages": HELLO})))
    t.start()
    s.wait_metric("jobs_running", 1, WAIT)
    start = time.monotonic()
    s.stop()
    t.join()
    assert 29 < time.monotonic() - start < 45 and "error" in events[-1][1], (time.monotonic() - start, events[-1])


main([every_row_has_a_test, requests_meet_them, an_answer_has_so_many_calls, a_full_queue_refuses_at_once, the_end_is_waited_for_so_long])
