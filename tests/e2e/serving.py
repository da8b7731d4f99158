"""`fathom serve` as a process of the tests, and its streams."""
import atexit
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

from harness import EMULATOR, FATHOM, GGUF, check_clean

WAIT = 240  # of one answer: a sanitizer on a busy machine is slow


class Server:
    """A running server; the same one serves most cases."""

    def __init__(self, *args, model=GGUF, env=None, program=None):
        self.process = subprocess.Popen([*EMULATOR, program or FATHOM, "serve", *(["-m", model] if model else []), "--port", "0", *map(str, args)],
                                        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))
        atexit.register(self.process.kill)  # of a case that failed
        self.log = []
        self.port = None
        threading.Thread(target=self.read, daemon=True).start()
        end = time.monotonic() + WAIT
        while self.port is None:
            assert self.process.poll() is None and time.monotonic() < end, f"the server did not start: {self.log}"
            time.sleep(0.01)

    def read(self):
        for line in self.process.stderr:
            line = line.decode(errors="replace")
            self.log.append(line)
            found = re.search(r"on http://\S+:(\d+),", line)
            if found:
                self.port = int(found[1])

    def stop(self, signal_number=signal.SIGTERM, code=0):
        self.process.send_signal(signal_number)
        found = self.process.wait(WAIT)
        time.sleep(0.05)
        check_clean("".join(self.log).encode(), "serve")
        assert found == code, f"exit {found}: {self.log[-5:]}"

    def request(self, method, path, body=None, headers=None, timeout=WAIT, source=None):
        """(status, headers, body bytes)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout, source_address=source and (source, 0))
        try:
            c.request(method, path, body if body is None or isinstance(body, (bytes, str)) else json.dumps(body), headers or {})
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read()
        finally:
            c.close()

    def post(self, path, body, code=200, **more):
        status, _, text = self.request("POST", path, body, **more)
        assert status == code, f"{path}: {status}, expected {code}: {text[:400]!r}"
        return json.loads(text)

    def stream(self, path, body, **more):
        """The events of a stream: (event name or None, data)."""
        status, headers, text = self.request("POST", path, {**body, "stream": True}, **more)
        assert status == 200, f"{path}: {status}: {text[:400]!r}"
        assert headers["Content-Type"].startswith("text/event-stream"), headers
        return events_of(text)

    def raw(self, data, timeout=10):
        """Sends bytes, returns all that comes back until the server closes or nothing comes for a while."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        s.settimeout(timeout)
        try:
            s.sendall(data)
            got = b""
            while True:
                try:
                    more = s.recv(65536)
                except (TimeoutError, ConnectionResetError):
                    return got
                if not more:
                    return got
                got += more
        except (BrokenPipeError, ConnectionResetError):
            return b""
        finally:
            s.close()

    def metric(self, name):
        _, _, text = self.request("GET", "/metrics")
        return float(re.search(rf"^fathom_{name} (\S+)$", text.decode(), re.M)[1])

    def wait_metric(self, name, value, seconds=10):
        end = time.monotonic() + seconds
        while self.metric(name) != value:
            assert time.monotonic() < end, f"{name} is {self.metric(name)}, not {value}"
            time.sleep(0.02)


def events_of(text):
    events = []
    for block in text.decode().split("\n\n"):
        name, data = None, None
        for line in filter(None, block.split("\n")):
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = line[6:]
            else:
                assert line.startswith(":"), f"not a line of an event: {line!r}"
        if data is not None:
            events.append((name, data if data == "[DONE]" else json.loads(data)))
    return events
