#!/usr/bin/env python3
"""End to end on a pseudo-terminal: the conversation as a person has it."""
import json
import signal

from harness import GGUF, TIMEOUT, Terminal, main, plain

CHAT = ["run", "-m", GGUF, "--temp", "0", "-n", "16"]
LONG = ["run", "-m", GGUF, "--temp", "0"]
PROMPT = r"> $"
REPORT = r"context \d+/\d+"  # the line after an answer


def chat(*more, args=CHAT, folder):
    t = Terminal(*args, *more, cwd=folder)
    t.expect("Ctrl-D leaves")
    t.expect(PROMPT)
    return t


def leave(t):
    t.type("\x04")
    t.end(0)


def a_question_is_answered(folder):
    t = chat(folder=folder)
    t.type("hello world\r")
    t.expect(REPORT)
    t.expect(PROMPT)
    t.type("and again\r")
    t.expect(REPORT)
    t.expect(PROMPT)
    leave(t)


def help_lists_the_commands(folder):
    t = chat(folder=folder)
    t.type("/help\r")
    found = t.expect(r"(?s)/help.*Ctrl-C stops an answer")
    for name in ("/reset", "/save", "/load", "/system", "/stats"):
        assert name in found[0], name
    t.expect(PROMPT)
    t.type("/hepl\r")
    t.expect("did you mean /help")
    t.expect(PROMPT)
    leave(t)


def stats_and_system_work(folder):
    t = chat(folder=folder)
    t.type("/system Be brief.\r")
    t.expect("system message set")
    t.expect(PROMPT)
    t.type("/stats\r")
    t.expect(r"context +0 of \d+ tokens, 1 messages")
    t.expect(PROMPT)
    leave(t)


def a_conversation_is_saved_and_loaded(folder):
    t = chat(folder=folder)
    t.type("hello\r")
    t.expect(REPORT)
    t.expect(PROMPT)
    t.type("/save talk.json\r")
    t.expect("2 messages saved")
    t.expect(PROMPT)
    t.type("/reset\r")
    t.expect("forgotten")
    t.expect(PROMPT)
    t.type("/load talk.json\r")
    t.expect("2 messages loaded")
    t.expect(PROMPT)
    leave(t)
    assert "hello" in json.dumps(json.loads((folder / "talk.json").read_text()))
    (folder / "broken.json").write_text("{\"messages\": [")
    t = chat(folder=folder)
    t.type("/load broken.json\r")
    t.expect("broken.json")
    t.expect(PROMPT)
    leave(t)


def ctrl_c_stops_the_answer_and_not_the_program(folder):
    t = chat(args=LONG, folder=folder)
    t.type("hello\r")
    t.expect(r"hello\n(.|\n)")  # the answer has begun
    t.type("\x03")
    t.expect("stopped")
    t.expect(PROMPT)
    t.type("/stats\r")
    t.expect("answers +1")
    t.expect(PROMPT)
    leave(t)


def ctrl_c_twice_at_the_prompt_leaves(folder):
    t = chat(folder=folder)
    t.type("\x03")
    t.expect("once more")
    t.expect(PROMPT)
    t.type("\x03")
    t.end(0)


def ctrl_c_ends_a_single_answer(folder):
    t = Terminal(*LONG, "-p", "hello", cwd=folder)
    t.pump(10)
    t.pump(1)
    for _ in range(100):  # slow machines show how far they are with loading
        if not plain(t.seen).rstrip().endswith("left"):
            break
        t.pump(1)
    t.type("\x03")
    t.end(130)


def a_resize_is_survived(folder):
    t = chat(folder=folder)
    t.type("a line that is longer than the terminal will be wide in a moment")
    t.settle()
    t.resize(20, 10)
    t.process.send_signal(signal.SIGWINCH)
    t.settle()
    t.type(" more\r")
    t.expect(REPORT)
    t.expect(PROMPT)
    t.resize(1, 1)
    t.process.send_signal(signal.SIGWINCH)
    t.settle()
    t.resize(80, 24)
    t.process.send_signal(signal.SIGWINCH)
    t.type("hello\r")
    t.expect(REPORT)
    t.expect(PROMPT)
    leave(t)


def a_paste_stays_one_message(folder):
    t = chat(folder=folder)
    t.type("\x1b[200~first line\nsecond line\x1b[201~")
    t.settle()
    t.type("\r")
    t.expect(REPORT)
    t.expect(PROMPT)
    t.type("/save pasted.json\r")
    t.expect("2 messages saved")
    t.expect(PROMPT)
    leave(t)
    assert "first line\nsecond line" in str(json.loads((folder / "pasted.json").read_text())).replace("\\n", "\n")


def answers_send_no_control_sequences(folder):
    """The random model speaks every byte; what reaches the terminal is text and the program's own sequences."""
    t = Terminal("run", "-m", GGUF, "-p", "hello", "--temp", "5", "--seed", "3", "-n", "400", cwd=folder)
    t.end(0)
    rest = plain(t.seen)
    bad = [c for c in rest if (ord(c) < 32 and c not in "\n\t\b") or 0x7F <= ord(c) < 0xA0]
    assert not bad, f"{bad[:10]!r}"


def editing_keys_work(folder):
    t = chat(folder=folder)
    t.type("/hxlp\x1b[D\x1b[D\x7fe\x1b[F\r")  # left, left, backspace, e, end
    t.expect("Ctrl-C stops an answer")
    t.expect(PROMPT)
    t.type("\x1b[A\r")  # up: the same again
    t.expect("Ctrl-C stops an answer")
    t.expect(PROMPT)
    leave(t)


def ctrl_c_between_answer_and_prompt_is_survived(folder):
    t = chat(folder=folder)
    for _ in range(8):
        t.type("hello world\r")
        t.expect(REPORT)
        t.process.send_signal(signal.SIGINT)  # as Ctrl-C in the moment when the report stands and the prompt does not
        t.expect(PROMPT)
    leave(t)


def a_hangup_ends_the_program(folder):
    t = chat(folder=folder)
    t.process.send_signal(signal.SIGHUP)
    code = t.process.wait(TIMEOUT)
    assert code in (0, 1, -signal.SIGHUP), code


main([a_question_is_answered, help_lists_the_commands, stats_and_system_work, a_conversation_is_saved_and_loaded,
      ctrl_c_stops_the_answer_and_not_the_program, ctrl_c_twice_at_the_prompt_leaves, ctrl_c_ends_a_single_answer,
      a_resize_is_survived, a_paste_stays_one_message, answers_send_no_control_sequences, editing_keys_work,
      ctrl_c_between_answer_and_prompt_is_survived,
      a_hangup_ends_the_program])
