#!/usr/bin/env python3
"""What `fathom serve` keeps, conversations and usage: the endpoints, owners, limits, files that cannot be used, and sudden ends.

    test_conversations.py FATHOM TINY_MODELS [EMULATOR...]"""
import hashlib
import json
import os
import pathlib
import random
import resource
import signal
import sqlite3
import stat
import threading
import time

from harness import GGUF, LONG, main, refused, run
from serving import Server

KEYS = ["the-first-key-0123456789", "the-second-key-0123456789"]


def start(folder, *args, **more):
    return Server("-t", 1, "--slots", 1, "--ctx", 256, "--store", folder / "store.db", *args, **more)


def call(s, method, path, body=None, code=200, key=None):
    status, headers, text = s.request(method, path, body, headers={"Authorization": f"Bearer {key}"} if key else {})
    assert status == code, f"{method} {path}: {status}, expected {code}: {text[:300]!r}"
    return json.loads(text) if headers["Content-Type"] == "application/json" else text.decode()


def error(s, method, path, body, code, says, **more):
    message = call(s, method, path, body, code, **more)["error"]["message"]
    assert says in message, message


def turn(parent, role, content, **more):
    return {"parent": parent, "role": role, "content": content, **more}


def conversations_are_kept(folder):
    s = start(folder)
    assert call(s, "GET", "/conversations") == {"object": "list", "data": [], "has_more": False}
    one = call(s, "POST", "/conversations", {"title": "Moons", "settings": {"system": "Be brief.", "temperature": 0.5}}, 201)["id"]
    path = f"/conversations/{one}"
    text = "Name a moon.\u0000 \u00e9\u65e5\U0001f642 \u2028 </script>"
    assert call(s, "POST", path + "/turns", turn(0, "user", text), 201)["id"] == 1
    assert call(s, "POST", path + "/turns", turn(1, "assistant", "Titan.", reasoning="Saturn has many.", model="m", finish="stop"), 201)["id"] == 2
    assert call(s, "POST", path + "/turns", turn(1, "assistant", "Rhea.", finish="length"), 201)["id"] == 3
    kept = call(s, "GET", path)
    assert (kept["title"], kept["head"], kept["settings"]) == ("Moons", 3, {"system": "Be brief.", "temperature": 0.5}), kept
    assert [(t["id"], t["parent"], t["role"], t["content"], t["reasoning"], t["model"], t["finish"]) for t in kept["turns"]] == [
        (1, 0, "user", text, "", "", ""), (2, 1, "assistant", "Titan.", "Saturn has many.", "m", "stop"),
        (3, 1, "assistant", "Rhea.", "", "", "length")], kept
    assert abs(kept["turns"][0]["created_ms"] / 1000 - time.time()) < 600 and "damaged" not in kept["turns"][0]
    call(s, "PATCH", path, {"title": "Saturn", "head": 2})
    call(s, "PATCH", path, {"settings": {"system": "Longer."}})
    s.stop()
    s = start(folder)
    again = call(s, "GET", path)
    assert again == {**kept, "title": "Saturn", "head": 2, "settings": {"system": "Longer."}}, again
    listed = call(s, "GET", "/conversations")["data"]
    assert [(c["id"], c["title"], c["n_turns"]) for c in listed] == [(one, "Saturn", 3)], listed
    markdown = call(s, "GET", path + "/markdown")
    assert markdown.startswith("# Saturn\n\n## You\n\nName a moon.") and "Rhea" not in markdown, markdown
    assert markdown.endswith("## m\n\n<details><summary>Thinking</summary>\n\nSaturn has many.\n\n</details>\n\nTitan.\n"), markdown
    copy = call(s, "POST", "/conversations", again, 201)["id"]  # an export is an import
    second = call(s, "GET", f"/conversations/{copy}")
    assert {**second, "id": one, "updated_ms": again["updated_ms"]} == again and copy != one
    call(s, "DELETE", path)
    error(s, "GET", path, None, 404, "there is no conversation conv_")
    assert [c["id"] for c in call(s, "GET", "/conversations")["data"]] == [copy]
    s.stop()


def lists_have_pages(folder):
    s = start(folder)
    ids = [call(s, "POST", "/conversations", {"title": str(i), "turns": [turn(0, "user", "x")]}, 201)["id"] for i in range(5)]
    first = call(s, "GET", "/conversations?limit=2")
    assert [c["id"] for c in first["data"]] == ids[:2:-1] and first["has_more"], first
    rest = call(s, "GET", f"/conversations?limit=3&after={first['data'][-1]['id']}")
    assert [c["id"] for c in rest["data"]] == ids[2::-1] and not rest["has_more"], rest
    for limit in ("0", "501", "x", "", "2x"):
        error(s, "GET", f"/conversations?limit={limit}", None, 400, "limit must be between 1 and 500")
    s.stop()


def mistakes_are_told(folder):
    s = start(folder)
    one = "/conversations/" + call(s, "POST", "/conversations", {}, 201)["id"]
    cases = [("POST", "/conversations", {"title": 1}, "title must be a string"),
             ("POST", "/conversations", {"title": "x" * 401}, "title: 401 bytes, at most 400"),
             ("POST", "/conversations", {"settings": []}, "settings must be an object"),
             ("POST", "/conversations", {"settings": {"a": "x" * 70000}}, "settings: more than 65536 bytes"),
             ("POST", "/conversations", {"turns": {}}, "turns must be an array"),
             ("POST", "/conversations", {"turns": [1]}, "turns[0] must be an object"),
             ("POST", "/conversations", {"turns": [{"id": 2}]}, "turns[0]: expected id 1"),
             ("POST", "/conversations", {"turns": [turn(1, "user", "x")]}, "a parent before it"),
             ("POST", "/conversations", {"turns": [turn(0, "tool", "x")]}, "turns[0]: role: expected user or assistant, found tool"),
             ("POST", "/conversations", {"head": 1}, "head: there is no turn 1"),
             ("POST", "/conversations", {"turns": [turn(0, "user", "x")] * 10001}, "turns: 10001, at most 10000"),
             ("POST", "/conversations", "nonsense", "not valid JSON"),
             ("POST", one + "/turns", turn(7, "user", "x"), "the conversation has no turn 7"),
             ("POST", one + "/turns", turn(-1, "user", "x"), "parent must be between"),
             ("POST", one + "/turns", {"role": "user", "content": 5}, "content must be a string"),
             ("POST", one + "/turns", turn(0, "user", "x" * (16777216 + 1)), "content: 16777217 bytes"),
             ("PATCH", one, {"head": 3}, "the conversation has no turn 3"),
             ("PATCH", one, [], "must be a JSON object")]
    for method, path, body, says in cases:
        error(s, method, path, body, 400, says)
    assert call(s, "GET", one)["turns"] == [] and len(call(s, "GET", "/conversations")["data"]) == 1
    for method, path in (("GET", "/conversations/none"), ("DELETE", "/conversations/none"), ("PATCH", "/conversations/none"),
                         ("POST", "/conversations/none/turns"), ("GET", "/conversations/none/markdown")):
        call(s, method, path, turn(0, "user", "x") if method in ("PATCH", "POST") else None, 404)
    status, headers, _ = s.request("PUT", one)
    assert status == 405 and headers["Allow"] == "GET, PATCH, DELETE", headers
    for path in ("/conversations/", "/conversations/a/b", "/conversations/a/turns/1", "/conversations//turns", "/v1/conversations"):
        assert s.request("GET", path)[0] in (404, 405), path
    # pages of others neither read nor write
    for headers in ({"Origin": "http://evil.test"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.test"}):
        assert s.request("DELETE", one, headers=headers)[0] == 403 and s.request("GET", one, headers=headers)[0] == 403
    call(s, "GET", one)
    s.stop()


def owners_do_not_meet(folder):
    (folder / "keys").write_text("".join(hashlib.sha256(k.encode()).hexdigest() + "\n" for k in KEYS))
    s = start(folder, "--api-keys", folder / "keys")
    one = "/conversations/" + call(s, "POST", "/conversations", {"title": "secret-title"}, 201, key=KEYS[0])["id"]
    for method, path, body in (("GET", one, None), ("GET", one + "/markdown", None), ("PATCH", one, {"title": "x"}),
                               ("POST", one + "/turns", turn(0, "user", "x")), ("DELETE", one, None)):
        call(s, method, path, body, 404, key=KEYS[1])
        call(s, method, path, body, 401)
    assert call(s, "GET", "/conversations", key=KEYS[1])["data"] == []
    call(s, "GET", "/conversations", code=401)
    assert call(s, "GET", one, key=KEYS[0])["title"] == "secret-title"
    s.stop()
    stored = b"".join(f.read_bytes() for f in folder.glob("store.db*"))
    assert not any(k.encode() in stored for k in KEYS) and "secret-title" not in "".join(s.log)


def files_are_private_and_the_store_can_be_off(folder):
    old = os.umask(0)
    s = Server("-t", 1)  # at its usual place
    os.umask(old)
    call(s, "POST", "/conversations", {}, 201)
    kept = pathlib.Path(os.environ["XDG_STATE_HOME"]) / "fathom"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700, oct(kept.stat().st_mode)
    for f in kept.iterdir():
        assert stat.S_IMODE(f.stat().st_mode) == 0o600, (f, oct(f.stat().st_mode))
    s.stop()
    before = (kept / "serve.db").read_bytes()
    s = Server("-t", 1, "--no-store")
    error(s, "GET", "/conversations", None, 404, "keeps no conversations")
    error(s, "POST", "/conversations", {}, 404, "keeps no conversations")
    s.stop()
    assert (kept / "serve.db").read_bytes() == before


def files_that_cannot_be_used(folder):
    (folder / "text").write_text("no database, but long enough to be taken for one at a glance" * 10)
    refused("serve", "-m", GGUF, "--port", "0", "--store", folder / "text", says="expected an SQLite database")
    refused("serve", "-m", GGUF, "--port", "0", "--store", folder / "none/x", says="cannot be opened: No such file")
    start(folder).stop()
    db = sqlite3.connect(folder / "store.db")
    db.execute("PRAGMA user_version = 99")
    db.commit()
    db.close()
    refused("serve", "-m", GGUF, "--port", "0", "--store", folder / "store.db", says="a newer Fathom wrote it")
    # at the usual place: the server does without, and says so
    usual = pathlib.Path(os.environ["XDG_STATE_HOME"]) / "fathom"
    usual.mkdir(parents=True)
    (usual / "serve.db").write_text("no database, but long enough to be taken for one at a glance" * 10)
    s = Server("-t", 1)
    error(s, "GET", "/conversations", None, 404, "keeps no conversations")
    assert any("expected an SQLite database" in line and "not kept" in line for line in s.log), s.log
    s.stop()


def a_locked_file_is_said_and_passes(folder):
    s = start(folder)
    one = "/conversations/" + call(s, "POST", "/conversations", {}, 201)["id"]
    db = sqlite3.connect(folder / "store.db", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")  # another program holds it
    error(s, "POST", one + "/turns", turn(0, "user", "x"), 503, "another program has it locked")
    assert s.request("GET", one)[0] == 200 and s.request("GET", "/health")[0] == 200
    db.execute("ROLLBACK")
    call(s, "POST", one + "/turns", turn(0, "user", "x"), 201)
    db.close()
    s.stop()


def damage_is_shown(folder):
    s = start(folder)
    one = "/conversations/" + call(s, "POST", "/conversations", {"turns": [turn(0, "user", "a-text-to-be-damaged"), turn(1, "assistant", "fine")]}, 201)["id"]
    s.stop()
    raw = (folder / "store.db").read_bytes()
    assert raw.count(b"a-text-to-be-damaged") == 1
    (folder / "store.db").write_bytes(raw.replace(b"a-text-to-be-damaged", b"a-text-that-is-damag"))
    s = start(folder)
    turns = call(s, "GET", one)["turns"]
    assert turns[0]["damaged"] is True and "damaged" not in turns[1], turns
    assert "This text was damaged on the disk." in call(s, "GET", one + "/markdown")
    s.stop()


def a_sudden_end_loses_nothing(folder):
    """SIGKILL at random moments while turns are saved: what was acknowledged is there, what was not is there whole or not at all."""
    rng = random.Random(7)
    acknowledged, sent, one = [], [], None
    for round_ in range(300 if LONG else 12):
        s = start(folder)
        if one is None:
            one = "/conversations/" + call(s, "POST", "/conversations", {}, 201)["id"]
        kept = [t["content"] for t in call(s, "GET", one)["turns"]]
        assert kept[:len(acknowledged)] == acknowledged, f"round {round_}: an acknowledged turn is lost or altered"
        assert kept == [c for c in sent if c in kept] and len(kept) <= len(sent), f"round {round_}: a turn nobody sent"
        acknowledged, sent = list(kept), list(kept)
        if len(kept) > 5000:  # another before it is full
            one = "/conversations/" + call(s, "POST", "/conversations", {}, 201)["id"]
            acknowledged, sent = [], []
        killer = threading.Timer(rng.uniform(0.001, 0.15), s.process.kill)
        killer.start()
        try:
            while True:
                text = f"turn {len(sent)} of round {round_} " + rng.choice("abc") * rng.randrange(9000)
                sent.append(text)
                call(s, "POST", one + "/turns", turn(0, "user", text), 201)
                acknowledged.append(text)
        except OSError:
            pass
        except Exception as e:  # the answer was cut off
            assert s.process.poll() is not None or "http.client" in type(e).__module__, e
        killer.join()
        s.process.wait()
    assert LONG or len(acknowledged) >= 12, acknowledged
    s = start(folder)
    assert [t["content"] for t in call(s, "GET", one)["turns"]][:len(acknowledged)] == acknowledged
    s.stop(signal.SIGINT)


def usage_is_counted(folder):
    (folder / "keys").write_text("".join(hashlib.sha256(k.encode()).hexdigest() + "\n" for k in KEYS))
    (folder / "prices.json").write_text('{"tiny": {"input": 10, "cached": 1, "output": 1000}}')
    names = [hashlib.sha256(k.encode()).hexdigest()[:16] for k in KEYS]
    args = ("--api-keys", folder / "keys", "--prices", folder / "prices.json")
    s = start(folder, *args)
    expected = dict.fromkeys(("requests", "prompt_tokens", "cached_tokens", "completion_tokens"), 0)
    chat = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "temperature": 0}
    for path, body in (("/v1/chat/completions", chat), ("/v1/chat/completions", {**chat, "n": 2}),
                       ("/v1/completions", {"prompt": "hello world", "max_tokens": 3}), ("/v1/embeddings", {"input": ["hello", "the world"]})):
        u = call(s, "POST", path, body, key=KEYS[0])["usage"]
        for name, value in (("requests", 1), ("prompt_tokens", u["prompt_tokens"]), ("completion_tokens", u.get("completion_tokens", 0)),
                            ("cached_tokens", u.get("prompt_tokens_details", {}).get("cached_tokens", 0))):
            expected[name] += value
    call(s, "POST", "/v1/chat/completions", {**chat, "max_tokens": -1}, 400, key=KEYS[0])  # nothing was done
    used = call(s, "GET", "/usage", key=KEYS[0])
    assert {k: used["total"][k] for k in expected} == expected, (used, expected)
    (row,) = used["data"]
    assert (row["key"], row["model"], row["day"]) == (names[0], "tiny", time.strftime("%Y-%m-%d", time.gmtime())), row
    cost = ((expected["prompt_tokens"] - expected["cached_tokens"]) * 10 + expected["cached_tokens"] + expected["completion_tokens"] * 1000) / 1e6
    assert abs(row["cost"] - cost) < 1e-12 and row["cost"] == used["total"]["cost"], (row, cost)
    assert call(s, "GET", "/usage", key=KEYS[1])["data"] == []
    call(s, "POST", "/v1/chat/completions", chat, key=KEYS[1])
    for days in ("0", "x", "9999"):
        error(s, "GET", f"/usage?days={days}", None, 400, "days must be between 1 and 3660", key=KEYS[0])
    shown = run("serve", "--usage", "--store", folder / "store.db", "--prices", folder / "prices.json").stdout.decode()  # beside the server
    s.stop()
    after = run("serve", "--usage", "--store", folder / "store.db", "--prices", folder / "prices.json").stdout.decode()
    lines = after.splitlines()
    assert len(lines) == 4 and lines[0].split() == ["day", "key", "model", "requests", "prompt", "cached", "generated", "cost"], after
    assert {lines[1].split()[1], lines[2].split()[1]} == set(names) and lines[3].split()[:2] == ["total", "5"], after
    assert shown.splitlines()[0] == lines[0] and names[0] in shown, shown
    assert not any(k in after for k in KEYS)
    s = start(folder, *args)
    assert call(s, "GET", "/usage?days=1", key=KEYS[0]) == used, "usage outlives the server"
    s.stop()
    s = Server("-t", 1, "--no-store")
    error(s, "GET", "/usage", None, 404, "counts no usage")
    s.stop()
    refused("serve", "--usage", "--no-store", says="there is nothing")
    (folder / "prices.json").write_text("[]")
    refused("serve", "-m", GGUF, "--prices", folder / "prices.json", says="expected an object of models")


def usage_outlives_a_sudden_end(folder):
    """It is written when an answer ends, not when there is time."""
    expected, waits = 0, []
    for _ in range(20 if LONG else 4):
        s = start(folder)
        for _ in range(3):
            call(s, "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2})
            expected += 1
            began = time.monotonic()
            while True:
                db = sqlite3.connect(f"file:{folder}/store.db?mode=ro", uri=True)
                ((found,),) = db.execute("SELECT sum(requests) FROM usage").fetchall()
                db.close()
                if found == expected:
                    break
                assert time.monotonic() - began < 60, (found, expected)
                time.sleep(0.005)
            waits.append(time.monotonic() - began)
        s.process.kill()
        s.process.wait()
    assert min(waits) < 0.5, waits
    s = start(folder)
    assert call(s, "GET", "/usage")["total"]["requests"] == expected
    s.stop()


def files_that_may_not_grow(folder):
    """Writes come back short, then fail: nothing more is acknowledged, reading goes on, and a restart has all that was acknowledged."""
    for limit in (40000, 70001, 150000) if not LONG else range(40000, 240000, 4001):
        s = start(folder)
        one = "/conversations/" + call(s, "POST", "/conversations", {}, 201)["id"]
        resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        acknowledged, status = [], 201
        while status == 201:
            text = f"turn {len(acknowledged)} " + "x" * 3000
            status, _, answer = s.request("POST", one + "/turns", turn(len(acknowledged), "user", text))
            if status == 201:
                acknowledged.append(text)
            assert len(acknowledged) < 200, "the limit was never met"
        message = json.loads(answer)["error"]["message"]
        assert status == 503 and "store.db: " in message, (status, message)
        again = call(s, "POST", one + "/turns", turn(0, "user", "x"), 503)["error"]["message"]
        assert "until a restart" in again or "disk is full" in again, again
        assert call(s, "GET", "/health")["status"] == "degraded", "a failed write is said"
        assert [t["content"] for t in call(s, "GET", one)["turns"]] == acknowledged
        assert call(s, "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2})["choices"], "answers go on"
        s.process.kill()
        s.process.wait()
        s = start(folder)
        assert [t["content"] for t in call(s, "GET", one)["turns"]] == acknowledged and call(s, "GET", "/health")["status"] == "ok"
        call(s, "POST", one + "/turns", turn(0, "user", "x"), 201)
        s.stop()
        (folder / "store.db").unlink()


main([conversations_are_kept, lists_have_pages, mistakes_are_told, owners_do_not_meet, files_are_private_and_the_store_can_be_off,
      files_that_cannot_be_used, a_locked_file_is_said_and_passes, damage_is_shown, usage_is_counted, usage_outlives_a_sudden_end, files_that_may_not_grow,
      a_sudden_end_loses_nothing])
