#!/usr/bin/env python3
"""The clients that people have, against `fathom serve` with a scripted model: SDKs, and coding agents that do a small task with a tool.

    test_clients.py FATHOM_SCRIPTED SUPPORT_FOLDER CLIENTS

CLIENTS is where tools/clients.sh puts the packages of tools/clients.txt, by folders. What is absent is skipped aloud."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PROGRAM, SUPPORT, CLIENTS = (pathlib.Path(a).absolute() for a in sys.argv[1:4])
HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))
import scripted_model  # noqa: E402

NODE = CLIENTS / "node"
PYTHON = CLIENTS / "python/bin/python"
TABLE = HERE.parents[1] / "tools/clients.txt"
TIMEOUT = 120


class Skip(Exception):
    pass


def call(name, **arguments):
    """A turn that thinks, says something and calls a tool, as DeepSeek V4 writes it."""
    parameters = "\n".join(f'<｜DSML｜parameter name="{k}" string="true">{v}</｜DSML｜parameter>' for k, v in arguments.items())
    return ('A tool can do it.</think>I use the tool.\n\n<｜DSML｜tool_calls>\n'
            f'<｜DSML｜invoke name="{name}">\n{parameters}\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>')


class Server:
    def __init__(self, folder, rules, **more):
        model = folder / "scripted.gguf"
        scripted_model.write(model, [("<tool_result>", "It worked.</think>Done: the file is written.")] + rules +
                             [("", "Nothing to do.</think>Hello, here I am. 🙂 naïve 日本")], **more)
        self.process = subprocess.Popen([PROGRAM, "serve", "-m", model, "--port", "0", "--store", folder / "store.db"], stderr=subprocess.PIPE)
        self.lines, self.port = [], None
        threading.Thread(target=self.read, daemon=True).start()
        end = time.monotonic() + TIMEOUT
        while self.port is None and time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.01)
        assert self.port, self.lines

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode())
            found = re.search(r"on http://\S+:(\d+),", self.lines[-1])
            self.port = self.port or (int(found[1]) if found else None)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        text = "".join(self.lines)
        assert code == 0 and not re.search("Sanitizer|runtime error|internal error", text), (code, text[-2000:])

    def requests(self):
        """(prompt tokens, of those kept) of each finished answer."""
        return [(int(m[1]), int(m[2])) for m in re.finditer(r"prompt (\d+), of it kept (\d+)", "".join(self.lines))]


def environment(folder, **more):
    """No configuration, no keys, no telemetry of whoever runs the tests."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    path = os.environ["PATH"]
    return {"PATH": path, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
            "CI": "1", "NO_COLOR": "1", **more}


def run(command, folder, **env):
    done = subprocess.run([str(c) for c in command], cwd=folder, env=environment(folder, **env), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT)
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"exit {done.returncode}: {text[-1500:]}"
    return text


def need(there, what):
    if not there:
        raise Skip(f"{what} is absent; make check-clients installs it")


def program(name):
    path = NODE / "node_modules/.bin" / name
    need(path.exists(), f"the npm program {name}")
    return path


def sdk(package, script, where):
    """The case of one package of a folder with a script of this one."""
    def case(folder):
        home = CLIENTS / where
        if script.endswith(".py"):
            command = [home / "bin/python", HERE / script]
            need(command[0].exists() and not subprocess.run([command[0], "-c", f"import {package}"], stderr=subprocess.DEVNULL).returncode,
                 f"the Python package {package} of {where}")
        else:
            need((home / "node_modules" / package).exists(), f"the npm package {package} of {where}")
            command = ["node", shutil.copy(HERE / script, home)]  # modules are looked for beside the script
        server = Server(folder, [("weather", call("get_weather", city="Rome"))])
        try:
            text = run([*command, server.port], folder)
        finally:
            server.stop()
        assert text.strip().endswith("all well"), text[-1500:]
    return f"{package} in {'Python' if script.endswith('.py') else 'JavaScript'}", where, package, case


MARKDOWN = "A list.</think># Title\n\nA **bold** word.\n\n- one\n- two\n  - three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```c\nint main(void) { return 0; } // done\n```\n"
HOSTILE = ("Evil.</think><img src=x onerror=\"window.pwned=1;alert(1)\"> <script>window.pwned=1</script>\n\n[a](javascript:window.pwned=1) "
           "[b](data:text/html,x) ![c](http://evil.test/x.png) <iframe src=//evil.test></iframe> [d](https://example.com)\n\n"
           "`<svg onload=window.pwned=1>` <style>body{display:none}</style> **<b onclick=x>**\n\n```html\n<script>window.pwned=1</script>\n```\n")


def web_page(folder):
    """Set FATHOM_PICTURES to a folder to keep the screenshots."""
    need(PYTHON.exists() and not subprocess.run([PYTHON, "-c", "import playwright"], stderr=subprocess.DEVNULL).returncode,
         "the Python package playwright")
    need(shutil.which("chromium"), "chromium")
    server = Server(folder, [("MARKDOWN", MARKDOWN), ("HOSTILE", HOSTILE), ("LONG", "Long.</think>" + "word after word " * 20000)], delay_us=300)
    try:
        pictures = os.environ.get("FATHOM_PICTURES")
        text = run([PYTHON, HERE / "page_client.py", server.port, *([pictures] if pictures else [])], folder)
    finally:
        server.stop()
    assert text.strip().endswith("all well"), text[-1500:]


def agent(folder, rules, start):
    """An agent writes hello.txt by one call; its second request must not be read again."""
    server = Server(folder, rules)
    try:
        text = start(f"http://127.0.0.1:{server.port}")
    finally:
        server.stop()
    written = folder / "hello.txt"
    assert written.exists() and "hello from the tool" in written.read_text(), text[-1500:]
    assert "Done: the file is written." in text, text[-1500:]
    long = [(prompt, kept) for prompt, kept in server.requests() if prompt > 3000]
    assert len(long) >= 2, server.requests()
    prompt, kept = long[-1]
    assert prompt - kept < 0.02 * prompt, f"the second turn read {prompt - kept} of {prompt} tokens again: {server.requests()}"
    print(f"# second turn: {prompt - kept} of {prompt} tokens read", flush=True)


def claude_code(folder):
    claude = program("claude")
    agent(folder, [("TASK", call("Write", file_path=folder / "hello.txt", content="hello from the tool"))], lambda url: run(
        [claude, "-p", "TASK: write hello.txt", "--allowedTools", "Write"], folder, ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN="x",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", DISABLE_AUTOUPDATER="1"))


def codex(folder):
    exe = program("codex")
    home = folder / "codex-home"
    home.mkdir()

    def start(url):
        (home / "config.toml").write_text(f'model = "local"\nmodel_provider = "fathom"\n[model_providers.fathom]\nname = "fathom"\n'
                                          f'base_url = "{url}/v1"\nwire_api = "responses"\n[analytics]\nenabled = false\n')
        return run([exe, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "TASK: write hello.txt"], folder,
                   CODEX_HOME=str(home))
    agent(folder, [("TASK", call("exec_command", cmd=f"echo hello from the tool > {folder}/hello.txt"))], start)


def opencode(folder):
    exe = program("opencode")

    def start(url):
        (folder / "opencode.json").write_text(json.dumps({
            "provider": {"fathom": {"npm": "@ai-sdk/openai-compatible", "name": "Fathom", "options": {"baseURL": url + "/v1"},
                                    "models": {"local": {"name": "local"}}}},
            "model": "fathom/local", "autoupdate": False, "share": "disabled", "permission": {"edit": "allow"}}))
        return run([exe, "run", "TASK: write hello.txt"], folder, OPENCODE_DISABLE_AUTOUPDATE="1", OPENCODE_DISABLE_MODELS_FETCH="1")
    agent(folder, [("TASK", call("write", filePath=folder / "hello.txt", content="hello from the tool"))], start)


def qwen_code(folder):
    exe = program("qwen")
    agent(folder, [("TASK", call("write_file", file_path=folder / "hello.txt", content="hello from the tool"))], lambda url: run(
        [exe, "--auth-type", "openai", "--yolo", "-p", "TASK: write hello.txt"], folder, OPENAI_BASE_URL=url + "/v1", OPENAI_API_KEY="x",
        OPENAI_MODEL="local", QWEN_TELEMETRY_ENABLED="0"))


CASES = [  # name, folder, package, case
    sdk("openai", "openai_client.py", "python"),
    sdk("openai", "openai_client.py", "python-older"),
    sdk("anthropic", "anthropic_client.py", "python"),
    sdk("anthropic", "anthropic_client.py", "python-older"),
    sdk("litellm", "litellm_client.py", "python"),
    sdk("openai", "openai_client.mjs", "node"),
    sdk("openai", "openai_client.mjs", "node-older"),
    sdk("@anthropic-ai/sdk", "anthropic_client.mjs", "node"),
    sdk("@anthropic-ai/sdk", "anthropic_client.mjs", "node-older"),
    sdk("@ai-sdk/openai-compatible", "ai_client.mjs", "node"),
    ("web page by Playwright", "python", "playwright", web_page),
    ("Claude Code", "node", "@anthropic-ai/claude-code", claude_code),
    ("Codex", "node", "@openai/codex", codex),
    ("opencode", "node", "opencode-ai", opencode),
    ("Qwen Code", "node", "@qwen-code/qwen-code", qwen_code),
]


def main():
    versions = {tuple(line.split()[:2]): line.split()[2] for line in TABLE.read_text().splitlines() if line and line[0] != "#"}
    print(f"1..{len(CASES)}", flush=True)
    failed = 0
    for i, (name, where, package, case) in enumerate(CASES, 1):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-clients-"))
        name += " " + versions[where, package]
        try:
            case(folder)
            print(f"ok {i} - {name}", flush=True)
        except Skip as s:
            print(f"ok {i} - {name} # SKIP {s}", flush=True)
        except Exception as e:
            failed += 1
            where = traceback.extract_tb(e.__traceback__)[-1]
            print(f"not ok {i} - {name}\n# {type(e).__name__} at {where.filename}:{where.lineno}", flush=True)
            print("\n".join("# " + line for line in str(e).splitlines()), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(failed > 0)


main()
