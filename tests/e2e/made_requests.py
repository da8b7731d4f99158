"""Bodies and requests made at random from a description of every endpoint: valid ones, nearly valid ones and hostile ones."""
import json
import random
from collections import namedtuple

# ---- functions that make a valid value ----


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
embeddings = object_of({"input": either(one_of("hello", "a b c", "é"), array(one_of("hello", "x", "the world"), 1, 3), array(whole(0, 50), 1, 5), array(array(whole(0, 50), 1, 4), 1, 2))},
                       {"encoding_format": one_of("float", "base64"), "dimensions": one_of(64), "user": text})
turn = object_of({"role": one_of("user", "assistant"), "content": text}, {"parent": whole(0, 4), "reasoning": text, "model": text, "finish": one_of("stop", "length", ""), "created_ms": whole(0, 2 ** 45)})
settings = one_of({}, {"system": "Be brief.", "temperature": 0.5}, {"deep": {"a": [1, {"b": None}]}})
new_conversation = object_of({}, {"title": text, "settings": settings, "created_ms": whole(0, 2 ** 45), "head": whole(0, 1),
                                  "turns": lambda: [{**turn(), "id": i + 1, "parent": random.randint(0, i)} for i in range(random.randint(0, 4))]})
change = object_of({}, {"title": text, "settings": settings, "head": whole(0, 3)})

# What is asked for, and how: method, path (CONVERSATION stands for the id of one), body or None, the family of its errors, the kind of
# its answers, and the statuses that the documents give it beside 400, 404, 405 and 413. WITH_MODEL: of the scripted model; OF_PLAIN:
# of a server with a model that computes, a store and upstreams.
Endpoint = namedtuple("Endpoint", "method path make family kind declared")
WITH_MODEL = [Endpoint("POST", "/v1/chat/completions", chat, "openai", "chat", {200, 429}), Endpoint("POST", "/v1/completions", completions, "openai", "completions", {200, 429}),
              Endpoint("POST", "/v1/messages", messages, "anthropic", "messages", {200, 429}), Endpoint("POST", "/v1/responses", responses, "openai", "responses", {200, 429}),
              Endpoint("POST", "/v1/messages/count_tokens", messages, "anthropic", None, {200}), Endpoint("POST", "/tokenize", object_of({"content": text}, {"add_special": flag}), "openai", None, {200}),
              Endpoint("POST", "/detokenize", object_of({"tokens": array(whole(0, 60), 0, 6)}), "openai", None, {200})]
KEPT = "/conversations/CONVERSATION"
OF_PLAIN = [Endpoint("POST", "/v1/embeddings", embeddings, "openai", "embeddings", {200, 429}), Endpoint("POST", "/conversations", new_conversation, "openai", "created", {201}),
            Endpoint("POST", KEPT + "/turns", turn, "openai", "turn", {201}), Endpoint("PATCH", KEPT, change, "openai", "changed", {200}), Endpoint("GET", KEPT, None, "openai", "conversation", {200}),
            Endpoint("GET", KEPT + "/markdown", None, "openai", "markdown", {200}), Endpoint("DELETE", KEPT, None, "openai", "changed", {200}), Endpoint("GET", "/conversations", None, "openai", "conversations", {200}),
            Endpoint("GET", "/usage", None, "openai", "usage", {200}), Endpoint("GET", "/v1/models", None, "openai", "models", {200}), Endpoint("GET", "/v1/models/NAME", None, "openai", "model", {200}),
            Endpoint("GET", "/metrics", None, "openai", "metrics", {200}), Endpoint("GET", "/health", None, "openai", "health", {200})]
# Of the gateway: an upstream's 4xx is passed on, whatever else goes wrong there is 502.
PASSED = {200, 401, 402, 403, 408, 409, 422, 429, 502}
FORWARDED = [Endpoint("POST", "/v1/chat/completions", chat, "openai", "forwarded", PASSED), Endpoint("POST", "/v1/completions", completions, "openai", "forwarded", PASSED),
             Endpoint("POST", "/v1/embeddings", embeddings, "openai", "forwarded", PASSED), Endpoint("POST", "/v1/responses", responses, "openai", "forwarded", PASSED),
             Endpoint("POST", "/v1/messages", messages, "anthropic", "forwarded", PASSED), Endpoint("POST", "/v1/messages/count_tokens", messages, "anthropic", "forwarded", PASSED)]
REMOTE = ["away", "away-claude", "far-off", "with-fallback"]
QUERIES = {"/conversations": ["limit=2", "limit=500", "limit=0", "limit=501", "limit=-1", "limit=99999999999999999999", "limit=%32", "limit=", "limit", "after=CONVERSATION", "after=none", "after='--", "limit=1&limit=2", "x=y", "&&=&", "%00"],
           "/usage": ["days=1", "days=3660", "days=0", "days=3661", "days=x", "days=1e3", "days=", "days", "days=1&days=0", "%"]}

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


Request = namedtuple("Request", "endpoint method path data")


def fill_in(path, conversations):
    """A path with its placeholders filled, by ids that were given out or others."""
    known = random.choice(conversations) if conversations and random.random() < 0.85 else random.choice(["none", "conv_" + "a" * 24, "%2e%2e", "x" * 150, "é"])
    return path.replace("CONVERSATION", known).replace("NAME", random.choice(["one", "away", "nothing", "%00", "*"]))


def make_body(e):
    body = json.loads(json.dumps(e.make()))
    if e.kind in ("chat", "completions", "messages", "responses", "forwarded") and random.random() < 0.4:
        body["stream"] = True
    if e.kind == "forwarded" and "model" not in body:
        body["model"] = random.choice(REMOTE)
    way = random.random()
    if way < 0.06:
        data = random.choice(RAW)
    else:
        if way < (0.35 if e.kind == "forwarded" else 0.6):
            spoil(body)
        data = json.dumps(body, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    if way > 0.97:
        i = random.randrange(len(data))
        data = data[:i] + bytes([random.randrange(256)]) + data[i + random.randint(0, 2):]
    return data


def make_request(endpoints, conversations=()):
    """A Request; conversations: ids that there are or were."""
    e = random.choice(endpoints)
    path = fill_in(e.path, conversations)
    if e.path in QUERIES and random.random() < 0.6:
        path += "?" + fill_in(random.choice(QUERIES[e.path]), conversations)
    data = make_body(e) if e.make else None
    method = e.method if random.random() < 0.98 else random.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    for other in endpoints:
        if (other.method, other.path) == (method, e.path):
            e = other
    return Request(e, method, path.encode("ascii", "backslashreplace").decode(), data)
