#!/usr/bin/env python3
"""fathom serve as a service: what it tells its manager, its log as JSON, its unit file.

    test_service.py FATHOM TINY_MODELS [EMULATOR...]"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess

from harness import FATHOM, Skip, main, refused
from serving import Server

CHAT = {"messages": [{"role": "user", "content": "a canary sings"}], "max_tokens": 12, "temperature": 0}


def the_manager_is_told(folder):
    for path in (str(folder / "notify"), f"@fathom-test-{os.getpid()}"):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(path.replace("@", "\0"))
        listener.settimeout(30)
        s = Server("-t", 1, "--slots", 1, "--no-store", env={"NOTIFY_SOCKET": path})
        assert listener.recv(100) == b"READY=1" and s.port
        s.stop()
        assert listener.recv(100) == b"STOPPING=1"
        listener.close()
    for nobody in (str(folder / "absent"), "relative", "/" + "x" * 300, ""):  # is no reason not to serve
        s = Server("-t", 1, "--slots", 1, "--no-store", env={"NOTIFY_SOCKET": nobody})
        s.stop(signal.SIGINT)


def the_log_may_be_json(folder):
    s = Server("-t", 1, "--slots", 1, "--no-store", "--log", "json")
    answer = s.post("/v1/chat/completions", {**CHAT, "model": "a \"name\"\n"})
    s.request("GET", "/nowhere-canary")
    s.request("GET", "/health?canary")
    s.stop()
    entries = [json.loads(line) for line in s.log]
    assert all(e["time"].endswith("Z") and e["event"] for e in entries), entries
    events = [e["event"] for e in entries]
    assert events[0] == "ready" and "ending" in events[-2:], events  # the last request may be noted after its client has its answer
    assert events.count("request") == 3 and events.count("answer") == 1, events
    done = next(e for e in entries if e["event"] == "answer")
    assert done["prompt"] == answer["usage"]["prompt_tokens"] and done["generated"] == 12 and done["model"] == "tiny" and done["id"].startswith("req_"), done
    first = next(e for e in entries if e["event"] == "request")
    assert (first["method"], first["path"], first["status"], first["id"]) == ("POST", "/v1/chat/completions", 200, done["id"]), first
    assert "canary" not in "".join(s.log) and answer["choices"][0]["message"]["content"] not in "".join(s.log)
    refused("serve", "--log", "xml", says="--log")


def the_unit_is_sound(folder):
    unit = pathlib.Path(FATHOM).parent / "fathom.service"
    if not unit.exists():
        raise Skip("the build folder has no unit file")
    text = unit.read_text()
    assert "@BINDIR@" not in text and "Type=notify" in text and "DynamicUser=yes" in text
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is absent")
    here = folder / "fathom.service"
    here.write_text("\n".join(f"ExecStart={shutil.which('true')} serve" if line.startswith("ExecStart=") else line for line in text.splitlines()
                              if not line.startswith("Documentation=man:")) + "\n")
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", here], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


main([the_manager_is_told, the_log_may_be_json, the_unit_is_sound])
