#!/usr/bin/env python3
"""fathom serve with several models from one configuration: names, loading when asked for, room made, the same bits as alone.

    test_serve_models.py FATHOM TINY_MODELS [EMULATOR...]"""
import http.client
import json
import threading
import time

from harness import GGUF, TINY, main, refused, run
from serving import Server

CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 12, "temperature": 0}
OTHER = str(TINY / "tiny-f32.gguf")
SEVERAL = f"""# two small models
threads = 1
{{}}
[model.one]
model = "{GGUF}"
slots = 2
ctx = 16384
aliases = ["gpt-x", "claude-*"]

[model.two]
model = "{OTHER}"
slots = 1
ctx = 2048
"""


def several(folder, top=""):
    path = folder / "serve.toml"
    path.write_text(SEVERAL.format(top))
    return path


def states(s):
    return {m["id"]: m["state"] for m in json.loads(s.request("GET", "/v1/models")[2])["data"]}


def say(s, model, **more):
    return s.post("/v1/chat/completions", {**CHAT, **({"model": model} if model else {}), **more})


def text(answer):
    return answer["choices"][0]["message"]["content"]


def needed(folder):
    """Megabytes of each model, as --check prints them."""
    out = run("serve", "--check", "--config", several(folder)).stdout.decode()
    return [float(line.split(",")[-1].split()[0]) for line in out.splitlines() if "slots of" in line]


def a_model_is_loaded_when_it_is_asked_for(folder):
    alone = {}
    for name, path in (("one", GGUF), ("two", OTHER)):
        s = Server("-t", 1, model=path)
        alone[name] = text(say(s, "whatever name"))
        s.stop()
    s = Server("--config", several(folder), model=None)
    assert states(s) == {"one": "unloaded", "two": "unloaded"}
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(say(s, "two"))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert states(s) == {"one": "unloaded", "two": "loaded"} and {text(a) for a in answers} == {alone["two"]}
    for name in ("one", "gpt-x", "claude-anything", None):
        answer = say(s, name)
        assert text(answer) == alone["one"] and answer["model"] == (name or "one"), answer
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "x"}), ("/v1/responses", {"input": "x"}),
                       ("/tokenize", {"content": "x"}), ("/v1/embeddings", {"input": "x"})):
        e = s.post(path, {**body, "model": "absent"}, code=404)["error"]
        assert e["code"] == "model_not_found" and e["param"] == "model" and "absent" in e["message"], e
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        e = s.post(path, {**CHAT, "model": "claud"}, code=404)
        assert e["type"] == "error" and e["error"]["type"] == "not_found_error", e
    s.post("/v1/chat/completions", '{"model":"two","messages":', code=400)
    s.post("/v1/chat/completions", "[]", code=400)
    assert s.post("/tokenize", {"content": "hello", "model": "two"})["max_model_len"] == 2048
    # Members may come in any order, and both models compute at a time: the bits are those of a model alone.
    got = {"one": [], "two": []}

    def ask(name):
        for _ in range(5):
            got[name].append(text(s.post("/v1/chat/completions", {**CHAT, "stop": ["\x00"], "model": name})))
    threads = [threading.Thread(target=ask, args=(name,)) for name in ("one", "two", "one", "two")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {name: set(found) for name, found in got.items()} == {name: {found} for name, found in alone.items()}
    s.stop()


def start_stream(s, **body):
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
    c.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True, **body}))
    r = c.getresponse()
    assert r.status == 200
    return c, r


def room_is_made_but_not_of_what_is_in_use(folder):
    one, two = needed(folder)
    keep = folder / "keep"
    top = f'ram = "{max(one, two) * 1.1:.0f}000K"\nkeep = "{keep}"\nload-wait = 4\n'
    s = Server("--config", several(folder, top), model=None)
    long = {"messages": [{"role": "user", "content": "hello world " * 300}]}
    first = say(s, "one", **long)
    assert states(s) == {"one": "loaded", "two": "unloaded"}
    say(s, "two")
    assert states(s) == {"one": "unloaded", "two": "loaded"}
    again = say(s, "one", **long)  # the state on disk outlasts the model
    assert text(again) == text(first) and again["usage"]["prompt_cache_miss_tokens"] < 3, again["usage"]
    assert s.metric("jobs_total") == 3 and s.metric("states_loaded_total") == 1
    c, r = start_stream(s, model="one", max_tokens=15000, n=16)  # longer than anyone waits
    r.read(10)
    status, headers, body = s.request("POST", "/v1/chat/completions", {**CHAT, "model": "two"})
    assert status == 503 and headers["Retry-After"] and "in use" in json.loads(body)["error"]["message"], body
    assert states(s) == {"one": "loaded", "two": "unloaded"}
    late = []
    t = threading.Thread(target=lambda: late.append(say(s, "two")))
    t.start()
    time.sleep(0.2)
    assert not late
    c.close()  # the answer ends with its client
    t.join()
    assert late[0]["choices"] and states(s) == {"one": "unloaded", "two": "loaded"}
    s.stop()
    assert sorted(p.name for p in keep.iterdir()) == ["one", "two"] and keep.joinpath("one").stat().st_mode & 0o077 == 0


def a_model_that_cannot_be_loaded_harms_no_other(folder):
    broken = folder / "broken.gguf"
    broken.write_bytes((TINY / "tiny.gguf").read_bytes())
    path = several(folder)
    path.write_text(path.read_text().replace(OTHER, str(broken)))
    s = Server("--config", path, model=None)
    broken.write_bytes(b"GGUF but no more")
    e = s.post("/v1/chat/completions", {**CHAT, "model": "two"}, code=500)["error"]
    assert "log" in e["message"] and str(folder) not in e["message"], e
    assert say(s, "one")["choices"] and states(s)["two"] == "unloaded"
    assert any("broken.gguf" in line for line in s.log)
    s.stop()


def mistakes_name_file_and_line(folder):
    for change, says in ((("slots = 2", "slots = 200"), [":6:", "slots"]), (("ctx = 2048", "ctxx = 2048"), [":13:", "did you mean ctx?"]),
                         (("[model.two]", "[model.t o]"), [":11:", "name"]), (("gpt-x", "two"), ["[model.two]", "also a name of one"]),
                         (("threads = 1", "thread = 1"), [":2:", "did you mean threads?"]), (("threads = 1", "threads = 1\nthreads = 2"), [":3:", "two"]),
                         (("threads = 1", "check = true"), [":2:", "check"]), (("[model.two]", "[models]"), [":11:", "[models]"]),
                         (("threads = 1", "host = 127.0.0.1"), [":2:", "quoted"]), ((f'model = "{OTHER}"', ""), ["[model.two]", "model is missing"]),
                         ((OTHER, "/absent.gguf"), ["[model.two]", "/absent.gguf"]), (("ctx = 2048", "ctx = 99999999"), ["[model.two]", "context"])):
        path = several(folder)
        text_of_file = path.read_text()
        assert change[0] in text_of_file
        path.write_text(text_of_file.replace(*change))
        refused("serve", "--check", "--config", path, says=says)
    refused("serve", "--check", "--config", several(folder), "-m", GGUF, says="leave out --model")
    refused("serve", "--check", "--config", folder / "absent.toml", says="absent.toml")


def the_command_line_goes_before(folder):
    path = folder / "one.toml"
    path.write_text(f'model = "{GGUF}"\nslots = 3\nport = 1\nallow-host = ["a.test", "b.test"]\nname = "from-file"\n')
    out = run("serve", "--check", "--config", path, "--slots", 2).stdout.decode()
    assert "2 slots of" in out and "port 1\n" in out and "from-file" in out, out
    s = Server("--config", path, model=None)
    assert s.request("GET", "/health", headers={"Host": "b.test"})[0] == 200 and s.request("GET", "/health", headers={"Host": "c.test"})[0] == 403
    assert say(s, "any name")["model"] == "any name" and states(s) == {"from-file": "loaded"}
    s.stop()


main([a_model_is_loaded_when_it_is_asked_for, room_is_made_but_not_of_what_is_in_use, a_model_that_cannot_be_loaded_harms_no_other,
      mistakes_name_file_and_line, the_command_line_goes_before])
