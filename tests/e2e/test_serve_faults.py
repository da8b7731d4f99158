#!/usr/bin/env python3
"""fathom serve while things go wrong around it: slow, silent and many clients, ends in the middle, a killed process, a full disk.

    test_serve_faults.py FATHOM TINY_MODELS [EMULATOR...]"""
import contextlib
import hashlib
import http.client
import json
import pathlib
import random
import re
import resource
import signal
import socket
import threading
import time

from harness import EMULATOR, LONG, built_with, main
from serving import WAIT, Server, events_of

HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"messages": HELLO, "max_tokens": 12, "temperature": 0}
SLOW = bool(EMULATOR) or built_with("asan") or built_with("tsan")
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


def connect(s):
    c = socket.create_connection(("127.0.0.1", s.port), timeout=WAIT)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c


def start_stream(s, n, messages=HELLO):
    c = connect(s)
    body = json.dumps({"messages": messages, "max_tokens": n, "stream": True, "temperature": 0}).encode()
    c.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return c


def health_times(s, n):
    times = []
    for _ in range(n):
        start = time.monotonic()
        assert s.request("GET", "/health")[0] == 200
        times.append(time.monotonic() - start)
    return sorted(times)


def peak_memory(s):
    """Bytes that the process held at most."""
    return int(re.search(r"^VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{s.process.pid}/status").read_text(), re.M)[1]) * 1024


def slow_clients_hold_up_nobody(folder):
    """Hundreds of connections that send a header, a body or nothing, a byte now and then."""
    s = Server("-t", 1, "--slots", 2)
    starts = [b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", POST + b"Content-Length: 1000\r\n\r\n{\"messages\"", b""]
    slow = [(connect(s), starts[i % 3]) for i in range(100 if SLOW else 900)]
    for c, start in slow:
        c.sendall(start)
    for c, start in slow[::3]:
        c.sendall(b"a")
    times = health_times(s, 50)
    assert times[-1] < (2 if SLOW else 0.5), times[-5:]
    assert s.post("/v1/chat/completions", CHAT)["choices"]
    for c, _ in slow:
        c.close()
    s.stop()


def more_connections_than_there_is_room_for(folder):
    """Beyond the limit they are refused or wait; those that are there go on, and all is well when they have left."""
    s = Server("-t", 1)
    many = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    for _ in range(1300):
        try:
            many.append(socket.create_connection(("127.0.0.1", s.port), timeout=2))
        except OSError:
            break
    assert len(many) >= 1000, len(many)
    many[0].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    many[0].settimeout(WAIT)
    assert many[0].recv(100).startswith(b"HTTP/1.1 200")
    for c in many:
        c.close()
    end = time.monotonic() + WAIT
    while True:
        try:
            assert s.request("GET", "/health", timeout=5)[0] == 200
            break
        except OSError:
            assert time.monotonic() < end, "no connection is accepted any more"
            time.sleep(0.1)
    s.stop()


def clients_that_leave_end_their_work(folder):
    """At random moments, by closing, by reset and by closing their half: slots come free, and the others' answers are the same."""
    s = Server("-t", 1, "--slots", 3)
    body = {**CHAT, "messages": [{"role": "user", "content": "the world of hello " * 10}], "max_tokens": 40}
    alone = s.post("/v1/chat/completions", body)["choices"][0]["message"]
    rng = random.Random(5)
    for i in range(20 if SLOW else 2000 if LONG else 200):
        c = start_stream(s, 12000, [{"role": "user", "content": f"hello {i} " * rng.choice([1, 1, 300])}])
        time.sleep(rng.choice([0, 0.001, 0.01, 0.03]))
        way = rng.randrange(3)
        if way == 0:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        elif way == 1:
            c.shutdown(socket.SHUT_WR)
        c.close()
        if i % 10 == 0:
            assert s.post("/v1/chat/completions", body)["choices"][0]["message"] == alone
    s.wait_metric("jobs_running", 0, 10)
    s.wait_metric("jobs_waiting", 0, 10)
    assert s.post("/v1/chat/completions", body)["choices"][0]["message"] == alone
    s.stop()


class BadLine:
    """Between clients and a server: bytes come late, in odd pieces, with long pauses, and some connections are cut."""

    def __init__(self, port, cuts):
        self.port, self.cuts = port, cuts
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for i in range(1 << 30):
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self.port))
            rng = random.Random(i)
            left = [rng.randrange(200, 3000) if rng.random() < self.cuts else 1 << 30]  # bytes until it is cut
            for a, b in ((c, there), (there, c)):
                threading.Thread(target=self.carry, args=(a, b, rng, left), daemon=True).start()

    def carry(self, a, b, rng, left):
        try:
            while data := a.recv(4096):
                while data:
                    n = rng.choice([1, 7, 100, 1460])
                    time.sleep(rng.choice([0, 0, 0, 0.001, 0.01]) if rng.random() < 0.99 else 0.2)
                    b.sendall(data[:n])
                    data = data[n:]
                    left[0] -= n
                    if left[0] < 0:
                        raise OSError("cut")
            b.shutdown(socket.SHUT_WR)
        except OSError:
            for s in (a, b):
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)  # close alone says nothing while the other thread reads
                s.close()


def a_bad_line_breaks_no_answer(folder):
    """Streams arrive as they were or are cut off; what was cut ends its work, and nothing is left."""
    s = Server("-t", 1, "--slots", 4)
    bodies = [{**CHAT, "messages": [{"role": "user", "content": "the world of hello " * (1 + i)}], "max_tokens": 30} for i in range(4)]
    expected = [s.stream("/v1/chat/completions", b) for b in bodies]
    text = lambda events: "".join(e["choices"][0]["delta"].get("content") or "" for _, e in events[:-1])  # noqa: E731
    line = BadLine(s.port, 0.3)
    whole, cut, wrong = [], [], []

    def ask(k):
        for i in range(40 if LONG else 3):
            body = json.dumps({**bodies[(i + k) % 4], "stream": True})
            c = http.client.HTTPConnection("127.0.0.1", line.listener.getsockname()[1], timeout=WAIT)
            try:
                c.request("POST", "/v1/chat/completions", body)
                r = c.getresponse()
                if r.getheader("Transfer-Encoding") != "chunked":
                    raise http.client.HTTPException("cut within its head, which Python does not notice")
                events = events_of(r.read())
                (whole if r.status == 200 and events and events[-1][1] == "[DONE]" and text(events) == text(expected[(i + k) % 4]) else wrong).append(events)
            except (OSError, http.client.HTTPException):
                cut.append(i)
            finally:
                c.close()
    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    line.listener.close()
    assert not wrong and whole and cut and len(whole) + len(cut) == 8 * (40 if LONG else 3), (len(whole), len(cut), wrong[:1])
    for name in ("jobs_running", "jobs_waiting"):
        s.wait_metric(name, 0, WAIT)
    s.stop()
    print(f"# {len(whole)} whole, {len(cut)} cut")


def readers_that_do_not_read(folder):
    """Many at once: each costs the memory of one answer that waits, and others are served."""
    s = Server("-t", 1, "--slots", 6)
    before = peak_memory(s)
    many = []
    for _ in range(20 if SLOW else 60):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.connect(("127.0.0.1", s.port))
        body = json.dumps({"messages": HELLO, "max_tokens": 15000, "stream": True, "temperature": 0}).encode()
        c.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        many.append(c)
    assert s.request("GET", "/health")[0] == 200
    time.sleep(2)
    assert SLOW or peak_memory(s) < before + len(many) * (256 << 10), (before, peak_memory(s))
    for c in many:
        c.close()
    for name in ("jobs_running", "jobs_waiting"):
        s.wait_metric(name, 0, WAIT)
    assert s.post("/v1/chat/completions", CHAT)["choices"]
    s.stop()


def many_answers_of_a_prompt_that_is_too_long(folder):
    """It is measured before it is copied for each of them."""
    s = Server("-t", 1, "--no-store")
    prompt = "x y " * 300000
    for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": prompt}]}), ("/v1/completions", {"prompt": prompt, "echo": True})):
        s.post(path, {**body, "n": 1}, code=400)
        before = peak_memory(s)
        error = s.post(path, {**body, "n": 128}, code=400)["error"]
        assert error["code"] == "context_length_exceeded" and "1200" in error["message"], error
        assert SLOW or peak_memory(s) < before + 64e6, (before, peak_memory(s))
    s.stop()


def a_queue_is_fair_among_keys(folder):
    """One key has queued many requests; the first of another is the next to run."""
    owners = ["first-owner-0123456789", "other-owner-0123456789"]
    (folder / "keys").write_text("".join(hashlib.sha256(k.encode()).hexdigest() + "\n" for k in owners))
    s = Server("-t", 1, "--slots", 1, "--api-keys", folder / "keys")
    done, lock = [], threading.Lock()

    def ask(owner, n):
        s.post("/v1/chat/completions", {**CHAT, "max_tokens": n}, headers={"Authorization": f"Bearer {owners[owner]}"})
        with lock:
            done.append(owner)
    metric = lambda name: float(dict(line.split() for line in s.request("GET", "/metrics", headers={"x-api-key": owners[0]})[2].decode().splitlines()  # noqa: E731
                                     if line and line[0] != "#" and len(line.split()) == 2)["fathom_" + name])
    threads = [threading.Thread(target=ask, args=(0, 4000)) for _ in range(6)]
    for t in threads:
        t.start()
    end = time.monotonic() + WAIT
    while metric("jobs_waiting") < 5 and not done:
        assert time.monotonic() < end
        time.sleep(0.005)
    other = threading.Thread(target=ask, args=(1, 5))
    other.start()
    for t in [*threads, other]:
        t.join()
    # The one that runs is not interrupted; at most one more may have begun before the request came in.
    assert done.index(1) <= 2, done
    s.stop()


def a_killed_server_leaves_nothing_wrong(folder):
    """kill -9 while states are being written: what is there afterwards is whole, and the answers are those of a fresh server."""
    keep = folder / "keep"
    bodies = [{**CHAT, "messages": [{"role": "user", "content": word * 400}]} for word in ("hello world ", "the world of ", "other words than ")]
    s = Server("-t", 1, "--slots", 1)
    expected = [s.post("/v1/chat/completions", b)["choices"][0]["message"] for b in bodies]
    s.stop()
    rng = random.Random(3)
    for _ in range(3 if SLOW else 300 if LONG else 12):
        s = Server("-t", 1, "--slots", 1, "--keep", keep)
        for _ in range(2):
            i = rng.randrange(3)
            assert s.post("/v1/chat/completions", bodies[i])["choices"][0]["message"] == expected[i]
        if rng.random() < 0.5:
            s.process.send_signal(signal.SIGTERM)  # which saves the slots
            time.sleep(rng.random() * 0.02)
        s.process.kill()
        s.process.wait()
    for name in ("00000000000000fd.ids.part.1", "00000000000000fe.state.part.1", "00000000000000ff.state"):
        (keep / name).write_bytes(b"not whole")
    s = Server("-t", 1, "--slots", 1, "--keep", keep)
    for b, e in zip(bodies, expected):
        assert s.post("/v1/chat/completions", b)["choices"][0]["message"] == e
    s.stop()
    names = {f.stem for f in keep.iterdir()}
    assert all((keep / f"{n}.ids").exists() and (keep / f"{n}.state").exists() for n in names), sorted(keep.iterdir())


def a_full_disk_costs_only_time(folder):
    """No file may grow beyond 4 KB: states cannot be kept, answers are given all the same, and nothing half is left."""
    keep = folder / "keep"
    s = Server("-t", 1, "--slots", 1, "--keep", keep)
    resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    for word in ("hello world ", "the world of ", "hello world "):
        assert s.post("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": word * 400}]})["choices"]
    assert s.metric("states_failed_total") >= 2
    s.stop()
    assert not list(keep.iterdir()), list(keep.iterdir())


main([slow_clients_hold_up_nobody, more_connections_than_there_is_room_for, clients_that_leave_end_their_work, a_bad_line_breaks_no_answer,
      readers_that_do_not_read, many_answers_of_a_prompt_that_is_too_long,
      a_queue_is_fair_among_keys, a_killed_server_leaves_nothing_wrong, a_full_disk_costs_only_time])
