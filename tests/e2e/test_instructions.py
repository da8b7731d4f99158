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
    code_requests = {wording.normal(c["messages"][0]["content"]) for c in train if "```" not in c["messages"][0]["content"] and "tools" not in c}
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
    offered = {t["function"]["name"] for c in train for t in c.get("tools", [])}
    assert offered == set(tool_tasks.TOOLS) and not offered & set(tool_tasks.HELD_OUT_TOOLS)


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
        assert c["messages"][-1]["role"] == "assistant" and c["messages"][0]["role"] == "user"
        assert any(c["messages"][-1].get(k) for k in ("content", "tool_calls"))


cases = [the_same_seed_gives_the_same_bytes, no_request_is_in_both, the_pinned_sentence_is_asked_and_never_trained, held_out_words_are_never_trained,
         held_out_compositions_share_no_key, held_out_tools_are_never_offered, every_answer_passes_and_the_faults_fail, every_conversation_ends_with_the_assistant]
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
