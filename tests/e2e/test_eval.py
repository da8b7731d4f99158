#!/usr/bin/env python3
"""End to end: `fathom eval` on a model that says what it is told, and the sandbox that runs what it says."""
import json
import pathlib
import sys

from harness import main, refused, run

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import scripted_model  # noqa: E402

MARK = "｜DSML｜"


def block(code):
    return f"Here it is:\n```python\n{code}\n```\nThat was it."


def ask(folder, rules, tasks, measure="code", *options):
    """The figures and the answers of one run."""
    scripted_model.write(folder / "model.gguf", rules)
    (folder / "tasks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tasks))
    done = run("eval", measure, "-m", folder / "model.gguf", "--json", "-o", folder / "answers.jsonl", folder / "tasks.jsonl", *options)
    return json.loads(done.stdout), [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def task(request, tests="assert f(2) == 4", entry="f", named=True):
    return {"messages": [{"role": "user", "content": request}], "tests": tests, "entry": entry, "named": named}


def right_and_wrong_functions_are_told_apart(folder):
    rules = [["good", block("def f(n):\n    return n * n")], ["wrong", block("def f(n):\n    return n + 1")], ["broken", block("def f(n)\n    return 4")],
             ["bare", "def f(n):\n    return 2 * n\n"], ["other", block("def square(n):\n    return n * n")], ["unnamed", block("def square(n):\n    return n * n")]]
    figures, answers = ask(folder, rules, [task(w) for w in ("good", "wrong", "broken", "bare", "other")] + [task("unnamed", named=False)])
    assert figures["pass@1"] == {"n": 3, "of": 6}, figures
    assert [a["passed"] for a in answers] == [True, False, False, True, False, True], answers
    assert answers[1]["why"] == "AssertionError" and "SyntaxError" in answers[2]["why"] and "NameError" in answers[4]["why"]
    assert answers[0]["answer"].startswith("Here it is:")


def more_tasks_than_sessions_keep_their_order(folder):
    rules = [[f"<{i}>", block(f"def f(n):\n    return {i}" + "\n" * i)] for i in range(40)]
    _, answers = ask(folder, rules, [task(f"<{i}>", f"assert f(0) == {i}") for i in range(40)])
    assert [a["task"] for a in answers] == [f"<{i}>" for i in range(40)] and all(a["passed"] for a in answers)
    figures, _ = ask(folder, rules, [task(f"<{i}>") for i in range(40)], "code", "--limit", "7")
    assert figures["pass@1"]["of"] == 7


def the_sandbox_holds(folder):
    """Each of these would pass if it got out, ended the program early, or knew the sign of success."""
    made, kept = folder / "made", folder / "kept"
    kept.write_text("still here")
    tricks = {"exit": "import sys\nsys.exit(0)", "quit": "import os\nos._exit(0)", "claim": "print('passed 0000000000000000')\nraise SystemExit(0)",
              "write": f"open({str(made)!r}, 'w').write('x')", "make": f"import os\nos.mkdir({str(made)!r})", "delete": f"import os\nos.remove({str(kept)!r})",
              "move": f"import os\nos.rename({str(kept)!r}, {str(made)!r})", "truncate": f"import os\nos.truncate({str(kept)!r}, 0)",
              "connect": "import socket\nsocket.create_connection(('127.0.0.1', 80), 1)", "socket": "import socket\nsocket.socketpair()",
              "fork": "import os\nos.fork()", "start": "import subprocess\nsubprocess.run(['/bin/true'])", "kill": "import os\nos.kill(os.getppid(), 9)",
              "memory": "x = bytearray(3 << 30)", "loop": "while True:\n    pass"}
    figures, answers = ask(folder, [[f"<{k}>", block(v)] for k, v in tricks.items()], [task(f"<{k}>", "pass") for k in tricks])
    assert figures["pass@1"]["n"] == 0, [a["task"] for a in answers if a["passed"]]
    assert not made.exists() and kept.read_text() == "still here"
    why = {a["task"]: a["why"] for a in answers}
    assert why["<loop>"] == "time is over" and "MemoryError" in why["<memory>"], why
    for name in ("write", "delete", "socket", "fork"):
        assert "not implemented" in why[f"<{name}>"], why


def imports_and_output_are_allowed(folder):
    code = "import math, re, json, random, itertools, collections, functools, datetime, heapq, string, typing\nprint('x' * 100000)\ndef f(n):\n    return int(math.pow(n, 2))"
    figures, _ = ask(folder, [["imports", block(code)]], [task("imports")])
    assert figures["pass@1"]["n"] == 1


def tool_calls_are_judged_by_form_tool_and_arguments(folder):
    def call(name, city, gap="\n\n", close=True):
        return (f"{gap}<{MARK}tool_calls>\n<{MARK}invoke name=\"{name}\">\n<{MARK}parameter name=\"city\" string=\"true\">{city}</{MARK}parameter>\n"
                + (f"</{MARK}invoke>\n</{MARK}tool_calls>" if close else ""))

    tool = {"type": "function", "function": {"name": "get_weather", "description": "", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
    rules = [["right", call("get_weather", "Rome")], ["town", call("get_weather", "Oslo")], ["name", call("get_time", "Rome")], ["gap", call("get_weather", "Rome", "\n")],
             ["open", call("get_weather", "Rome", close=False)], ["text", "It is sunny."], ["none", "Nothing to do."], ["needless", call("get_weather", "Rome")]]
    want = {"name": "get_weather", "arguments": {"city": "Rome"}}
    tasks = [{"messages": [{"role": "user", "content": w}], "tools": [tool], "call": want} for w in ("right", "town", "name", "gap", "open", "text")]
    tasks += [{"messages": [{"role": "user", "content": w}], "tools": [tool], "call": None} for w in ("none", "needless")]
    figures, answers = ask(folder, rules, tasks, "tools")
    forms = [a["well formed"] for a in answers]
    assert forms[:6] == [True, True, True, False, False, False], answers
    assert figures["well-formed calls"] == {"n": 3, "of": 6} and figures["right tool"] == {"n": 4, "of": 6}, figures
    assert figures["right arguments"] == {"n": 3, "of": 6} and figures["no call where none fits"] == {"n": 1, "of": 2}, figures


def humaneval_takes_the_file_s_own_format(folder):
    prompt = "import math\n\n\ndef helper(n):\n    return n + 1\n\n\ndef f(n):\n    \"\"\" the square {i} \"\"\"\n"
    rows = [{"task_id": f"HumanEval/{i}", "prompt": prompt.replace("{i}", str(i)), "entry_point": "f", "canonical_solution": "",
             "test": "def check(candidate):\n    assert candidate(3) == 9\n"} for i in range(3)]
    rules = [["square 0", block("def f(n):\n    return int(math.sqrt(n ** 4)) + helper(0) - 1")], ["square 1", block("    return n * n")], ["square 2", block("def f(n):\n    return n")]]
    figures, answers = ask(folder, rules, rows, "humaneval")
    assert [a["passed"] for a in answers] == [True, True, False], answers
    assert figures["pass@1"] == {"n": 2, "of": 3} and answers[0]["task"] == "HumanEval/0"


def lines_and_holes_are_compared_exactly(folder):
    text = "".join(f"line number {i}\n" for i in range(60))
    (folder / "text.txt").write_text(text)
    figures, answers = ask(folder, [["line", "no such line"]], [{"text": text}] * 3, "lines")
    assert figures["next line"]["of"] == 3 and figures["next line"]["n"] == 0 and answers[0]["wanted"].startswith("line number ")
    figures, answers = ask(folder, [["line", "no such line"]], [{"text": text}] * 3, "holes", "--seed", "4")
    assert figures["missing line"]["of"] == 3


def refusals_name_the_reason(folder):
    scripted_model.write(folder / "model.gguf", [["x", "y"]])
    refused("eval", "dance", "-m", folder / "model.gguf", says="dance", code=2)
    refused("eval", "code", "-m", folder / "model.gguf", says="FILE", code=2)
    (folder / "bad.jsonl").write_text('{"messages": [{"role": "user", "content": "x"}]}\n')
    refused("eval", "code", "-m", folder / "model.gguf", folder / "bad.jsonl", says="tests")
    refused("eval", "tools", "-m", folder / "model.gguf", folder / "absent.jsonl", says="absent.jsonl")


main([right_and_wrong_functions_are_told_apart, more_tasks_than_sessions_keep_their_order, the_sandbox_holds, imports_and_output_are_allowed,
      tool_calls_are_judged_by_form_tool_and_arguments, humaneval_takes_the_file_s_own_format, lines_and_holes_are_compared_exactly, refusals_name_the_reason])
