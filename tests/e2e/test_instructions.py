#!/usr/bin/env python3
"""The generator of instruction data: the same seed gives the same files, and nothing that is held out is trained on.

    test_instructions.py SOURCE_ROOT"""
import json
import pathlib
import subprocess
import sys
import tempfile

root = pathlib.Path(sys.argv[1])
generator = root / "tools/corpus/instructions/generate.py"
sys.path.insert(0, str(generator.parent))
import compositions  # noqa: E402
import generate  # noqa: E402
import invented_tools  # noqa: E402
import tool_tasks  # noqa: E402
import wording  # noqa: E402

N = 3000


def make(seed):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-instructions-"))
    subprocess.run([sys.executable, generator, folder, "--n", str(N), "--seed", str(seed)], check=True, capture_output=True)
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*.json*"))}


first = make(1)
train = [json.loads(line) for line in first["train.jsonl"].splitlines()]
tasks = {p.stem: [json.loads(line) for line in first[f"eval/{p.name}"].splitlines()] for p in map(pathlib.Path, first) if p.parts[0] == "eval"}


def first_request(c):
    return next(m["content"] for m in c["messages"] if m["role"] == "user")


trained = {wording.normal(m["content"]) for c in train for m in c["messages"] if m["role"] == "user"}


def the_same_seed_gives_the_same_bytes():
    assert make(1) == first
    assert make(2)["train.jsonl"] != first["train.jsonl"]


def no_request_is_in_both():
    for name, rows in tasks.items():
        assert rows, name
        for t in rows:
            assert wording.normal(t["messages"][0]["content"]) not in trained, (name, t["messages"])
    dev = [json.loads(line) for line in first["dev.jsonl"].splitlines()]
    assert not trained & {wording.normal(c["messages"][0]["content"]) for c in dev}


def the_pinned_sentence_is_asked_and_never_trained():
    sentence = "write a function that returns the n-th Fibonacci number"
    assert wording.normal(sentence) not in trained and wording.normal(sentence.replace("n-th", "nth")) not in trained
    assert any(t["messages"][0]["content"] == sentence for t in tasks["paraphrases"])
    assert any("fibonacci" in r for r in trained)


def held_out_words_are_never_trained():
    """No training request is a held-out frame around any description, or any frame around a held-out description."""
    heads = [wording.normal(f.split("{")[0]) for f in wording.HELD_OUT_FRAMES]
    kept = [d for f in generate.FAMILIES.values() for d in f.does if wording.held_out_description(f.name, f.does, d)]
    assert len(kept) > 150
    rest = {d for f in generate.FAMILIES.values() for d in f.does} - set(kept)
    endings = {wording.normal(w(d)) for d in kept for w in (str, wording.third_person)} - {wording.normal(w(d)) for d in rest for w in (str, wording.third_person)}
    code_requests = {wording.normal(first_request(c)) for c in train if "```" not in first_request(c) and "tools" not in c}
    for r in code_requests:
        assert not any(r.startswith(h) for h in heads), r
        if not any(r.endswith(" " + wording.normal(d)) or r.endswith(" " + wording.normal(wording.third_person(d))) for d in rest):
            assert not any(r.endswith(" " + e) for e in endings), r


def held_out_compositions_share_no_key():
    rng, held, known = generate.random.Random(3), set(), set()
    for _ in range(3000):
        c = compositions.make(rng)
        (held if c.held_out() else known).add(c.key)
    assert not held & known and len(held) > 100 and len(known) > 600
    bodies = {c["messages"][-1]["content"].split("\n", 2)[2].split("```")[0] for c in train if c["messages"][-1]["content"].startswith("```python\ndef ")}
    for family in (compositions.make(rng) for _ in range(2000)):
        if family.held_out():
            assert family.code.split("\n", 1)[1] + "\n" not in bodies or not family.key[0] == "numbers", family.key


def held_out_tools_are_never_offered():
    """Neither the tools of the task files nor invented ones with a held-out name; their words are not said in the names."""
    offered = {t["function"]["name"] for c in train for t in c.get("tools", [])}
    called = {x["function"]["name"] for c in train for m in c["messages"] for x in m.get("tool_calls", [])}
    assert called <= offered and offered > set(tool_tasks.TOOLS) and not offered & set(tool_tasks.HELD_OUT_TOOLS)
    invented = offered - set(tool_tasks.TOOLS)
    assert len(invented) > 300 and not any(map(invented_tools.held_out, invented))
    assert not any(w in name for name in invented for w in ("delete", "stock", "price"))
    for t in tasks["invented-tools"]:
        names = {x["function"]["name"] for x in t["tools"]}
        assert t["call"]["name"] in names and not names & offered, t


def held_out_calls_are_never_made():
    asked = {(t["call"]["name"], json.dumps(t["call"]["arguments"])) for name in ("tools", "new-tools", "invented-tools") for t in tasks[name]}
    made = {(x["function"]["name"], x["function"]["arguments"]) for c in train for m in c["messages"] for x in m.get("tool_calls", [])}
    assert len(made) > 300 and not asked & made


def calls_fit_their_schemas():
    """Every call names an offered tool, every required parameter and no other, with values of the type that the schema says,
    and all of them can be read in the request."""
    types = {"string": str, "number": (int, float), "integer": int, "boolean": bool, "array": list}
    for c in train:
        tools = {t["function"]["name"]: t["function"]["parameters"] for t in c.get("tools", [])}
        request = ""
        for m in c["messages"]:
            request = m["content"] if m["role"] == "user" else request
            for x in m.get("tool_calls", []):
                schema, arguments = tools[x["function"]["name"]], json.loads(x["function"]["arguments"])
                assert set(schema["required"]) <= set(arguments) <= set(schema["properties"]), x
                assert list(arguments) == [p for p in schema["properties"] if p in arguments], x
                for p, v in arguments.items():
                    assert isinstance(v, types[schema["properties"][p]["type"]]), x
                    assert all(str(w) in request for w in (v if isinstance(v, list) else [] if isinstance(v, bool) else [v])), (request, x)


def every_answer_passes_and_the_faults_fail():
    """The tests of the tasks are met by the family's own solution, and a wrong one is noticed."""
    n = 0
    for t in tasks["paraphrases"] + tasks["wordings"]:
        family = generate.FAMILIES[t["family"]]
        code = wording.rename(family.code, {family.name: t["entry"]}) if t["entry"] != family.name else family.code
        assert generate.passes(code, t["tests"]), t
        assert not generate.passes(f"def {t['entry']}(*args):\n    return object()", t["tests"]), t
        n += 1
    assert n > 50
    for t in tasks["repairs"]:
        broken = t["messages"][0]["content"].split("```python\n")[1].split("\n```")[0]
        assert not generate.passes(broken, t["tests"]), t


def every_conversation_ends_with_the_assistant():
    for c in train:
        roles = [m["role"] for m in c["messages"]]
        assert roles[-1] == "assistant" and roles[0 if roles[0] == "user" else 1] == "user" and roles.count("system") <= (roles[0] == "system")
        assert any(c["messages"][-1].get(k) for k in ("content", "tool_calls"))


def turns_follow_each_other():
    """Greetings and thanks come behind code, requests behind greetings; functions get other names, and only thinking in the
    last turn is kept where no tool is offered."""
    plain = [[m for m in c["messages"] if m["role"] != "system"] for c in train if "tools" not in c]
    longer = [c for c in plain if len(c) > 2]
    assert any(len(c) > 4 for c in longer)
    code, words = [c for c in longer if "```" in c[1]["content"]], [c for c in longer if "```" not in c[1]["content"]]
    assert any(c[3]["content"] == "You are welcome." for c in code) and any("```" in c[3]["content"] for c in words)
    assert any("name should be" in c[-1].get("reasoning_content", "") for c in longer)
    assert not any(m.get("reasoning_content") for c in longer for m in c[:-1])
    for c in train:
        thoughts = [bool(m.get("reasoning_content")) for m in c["messages"] if m["role"] == "assistant"]
        assert "tools" not in c or len(set(thoughts)) == 1, c


cases = [the_same_seed_gives_the_same_bytes, no_request_is_in_both, the_pinned_sentence_is_asked_and_never_trained, held_out_words_are_never_trained,
         held_out_compositions_share_no_key, held_out_tools_are_never_offered, held_out_calls_are_never_made, calls_fit_their_schemas, every_answer_passes_and_the_faults_fail, every_conversation_ends_with_the_assistant,
         turns_follow_each_other]
generate.signal.signal(generate.signal.SIGALRM, generate.on_alarm)
print(f"1..{len(cases)}", flush=True)
failed = 0
for i, case in enumerate(cases, 1):
    try:
        case()
        print(f"ok {i} - {case.__name__.replace('_', ' ')}", flush=True)
    except AssertionError as e:
        failed += 1
        print(f"not ok {i} - {case.__name__.replace('_', ' ')}\n# {str(e)[:400]}", flush=True)
sys.exit(failed > 0)
