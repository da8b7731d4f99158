"""Runs the program `fathom` for the end-to-end tests: TAP cases, and a terminal to type into.

    SCRIPT FATHOM TINY_MODELS [--long] [EMULATOR...]"""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

LONG = "--long" in sys.argv  # counts of the suite `slow`
sys.argv = [a for a in sys.argv if a != "--long"]
FATHOM, TINY, EMULATOR = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).absolute(), sys.argv[3:]
EMULATOR[:1] = [shutil.which(program) for program in EMULATOR[:1]]  # whatever PATH a test gives the program
GGUF = str(TINY / "tiny.gguf")
TIMEOUT = 300  # of one run: a sanitizer on a busy machine is slow, a hang is for ever
SIGNS_OF_A_BUG = re.compile(rb"Sanitizer|runtime error:|internal error|Segmentation|core dumped")


class Skip(Exception):
    pass


def built_with(sanitizer):
    return f"__{sanitizer}_init".encode() in pathlib.Path(FATHOM).read_bytes()


def command(*args):
    return [*EMULATOR, FATHOM, *map(str, args)]


def run(*args, stdin=b"", code=0, timeout=TIMEOUT, **more):
    """Runs to the end; checks the exit code and that no bug showed itself."""
    done = subprocess.run(command(*args), input=stdin, capture_output=True, timeout=timeout, **more)
    check_clean(done.stderr, args)
    assert done.returncode == code, f"{args}: exit {done.returncode}, expected {code}; stderr: {done.stderr[-400:]!r}"
    return done


def check_clean(stderr, args):
    assert not SIGNS_OF_A_BUG.search(stderr), f"{args}: {stderr[-2000:].decode(errors='replace')}"


def refused(*args, says, code=1, **more):
    """A failure in one sentence on standard error that contains the given texts."""
    done = run(*args, code=code, **more)
    message = done.stderr.decode()
    for text in [says] if isinstance(says, str) else says:
        assert text in message, f"{args}: {text!r} is not in {message!r}"
    assert message.startswith("fathom") and message.count("\n") == 1, f"{args}: not one line: {message!r}"
    return message


def read_safetensors(path):
    """name -> (dtype, shape, bytes)"""
    raw = pathlib.Path(path).read_bytes()
    (n,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    body = raw[8 + n:]
    return {k: (v["dtype"], v["shape"], body[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in header.items()}


def take_terminal():
    """The child's side of a new terminal. Whoever started the tests may ignore hang-ups (nohup does); a shell would not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """The program on a pseudo-terminal of 80 x 24."""

    def __init__(self, *args, cwd=None, env=None):
        self.master, self.slave = pty.openpty()
        self.resize(80, 24)
        self.modes = termios.tcgetattr(self.slave)
        env = dict(os.environ, TERM="xterm-256color", **(env or {}))
        self.process = subprocess.Popen(command(*args), stdin=self.slave, stdout=self.slave, stderr=self.slave, cwd=cwd, env=env,
                                        start_new_session=True, preexec_fn=take_terminal)
        self.seen = b""   # everything the program wrote
        self.mark = 0     # where in the plain text the next expect() starts to look

    def resize(self, cols, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def pump(self, seconds):
        """Reads what arrives in the given time; false once the program's side is closed."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                return False
        return True

    def expect(self, pattern, timeout=TIMEOUT):
        """Waits for the pattern in the plain text (escape sequences removed) after what the last expect() found."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = re.compile(pattern).search(plain(self.seen), self.mark)
            if found:
                self.mark = found.end()
                return found
            if self.process.poll() is not None and not self.pump(0.1):
                break
            self.pump(0.1)
        raise AssertionError(f"no {pattern!r} in {plain(self.seen)[self.mark:][-600:]!r}")

    def settle(self, seconds=0.3):
        """Reads until nothing has come for a while."""
        n = -1
        while n != len(self.seen):
            n = len(self.seen)
            self.pump(seconds)

    def end(self, code, timeout=TIMEOUT):
        """Waits for the program to end; the terminal must be as it was."""
        end = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < end:
            self.pump(0.1)
        if self.process.poll() is None:
            self.process.kill()
            raise AssertionError(f"still running; last output {plain(self.seen)[-400:]!r}")
        self.settle(0.05)
        check_clean(self.seen, self.process.args)
        assert self.process.returncode == code, f"exit {self.process.returncode}, expected {code}: {plain(self.seen)[-400:]!r}"
        assert termios.tcgetattr(self.slave) == self.modes, "terminal modes were not restored"
        os.close(self.master)
        os.close(self.slave)


def plain(raw):
    """Bytes as text, without escape sequences; carriage returns become line ends."""
    text = raw.decode(errors="replace")
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_=>78]", "", text)
    return re.sub(r"\r+\n?", "\n", text)


def main(cases):
    """Runs the functions as TAP cases, each in a folder of its own with an empty home."""
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    for i, case in enumerate(cases, 1):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-e2e-"))
        os.environ.update(HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache"), XDG_STATE_HOME=str(folder / "state"))
        name = case.__name__.replace("_", " ")
        try:
            case(folder)
            print(f"ok {i} - {name}", flush=True)
        except Skip as s:
            print(f"ok {i} - {name} # SKIP {s}", flush=True)
        except Exception as e:
            failed += 1
            print(f"not ok {i} - {name}", flush=True)
            where = traceback.extract_tb(e.__traceback__)[-1]
            lines = [f"{type(e).__name__} at {where.filename}:{where.lineno}", *str(e).splitlines()]
            print("\n".join("# " + line for line in lines), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(failed > 0)


def stop(process):
    process.send_signal(signal.SIGINT)
