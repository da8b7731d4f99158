#!/usr/bin/env python3
"""Instruction data for a very small model: requests for Python functions and classes, repairs, explanations, tool calls.

    tools/corpus/instructions/generate.py FOLDER [--n 100000] [--seed 1] [--families NAME,...]

writes
    train.jsonl           conversations for `fathom data chat`
    dev.jsonl             conversations whose requests are worded as no request of train.jsonl, for the loss while training
    eval/NAME.jsonl       tasks for `fathom eval`: paraphrases, wordings, compositions, classes, repairs, explanations, tools, new-tools
    counts.json           examples by family and kind, executions, duplicates left out

--families makes a small set: functions of these families and small talk, nothing else.

Every solution is executed against its tests before it enters; a faulty function counts as such only when its tests fail.
Three things are held out, by hashes of the words alone (wording.py, compositions.py): frames, descriptions and pairs of
both; compositions; tools. The same seed gives the same bytes on any machine.
"""
import argparse
import collections
import json
import pathlib
import random
import signal

import class_tasks
import compositions
import list_tasks  # noqa: F401  (fills FAMILIES, as do the three below)
import number_tasks  # noqa: F401
import recursion_tasks  # noqa: F401
import repair
import talk_tasks
import text_tasks  # noqa: F401
import tool_tasks
import wording
from family import FAMILIES, copied

KINDS = {"known": 36, "composed": 30, "class": 7, "repair": 7, "explain": 5, "tools": 10, "talk": 3, "turns": 2}
EVAL_SIZES = {"paraphrases": 300, "wordings": 200, "compositions": 300, "classes": 60, "repairs": 100, "tools": 200, "new-tools": 60}
N_DEV = 1000
THINKING = 0.35
N_CASES = 5


# ---- running code ----


class Slow(Exception):
    pass


def on_alarm(_signal, _frame):
    raise Slow


executed = collections.Counter()
known_results = {}


def passes(code, tests):
    """The tests hold for the code. Faulty code may loop: it gets a second."""
    key = (code, tests)
    if key not in known_results:
        executed["runs"] += 1
        space = {"print": lambda *a, **k: None}
        signal.setitimer(signal.ITIMER_REAL, 1)
        try:
            exec(code, space)  # written by this generator
            exec(tests, space)
            known_results[key] = True
        except Exception:
            known_results[key] = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return known_results[key]


def literal(x):
    """A value as Python text; sets in order, so that no hash seed shows."""
    return f"set({sorted(x)!r})" if isinstance(x, set) else repr(x)


def cases_as_tests(family, name, seed):
    """Assertions on `name`, made from the oracle's results."""
    lines = []
    for args, want in family.cases(random.Random(seed), N_CASES):
        call = f"{name}({', '.join(map(repr, copied(args)))})"
        lines.append(f"assert abs({call} - {want!r}) < 1e-9" if isinstance(want, float) else f"assert {call} == {literal(want)}")
    return "\n".join(lines)


# ---- pieces of conversations ----


def block(code):
    return f"```python\n{code}\n```"


def conversation(request, answer, thought=None, tools=None):
    reply = {"role": "assistant", "content": answer}
    if thought:
        reply = {"role": "assistant", "reasoning_content": thought, "content": answer}
    out = {"messages": [{"role": "user", "content": request}, reply]}
    return {**out, "tools": tools} if tools else out


def thought_about(rng, family):
    if rng.random() >= THINKING:
        return None
    key = getattr(family, "key", None)
    if key:
        return f"Parts: {', '.join(p for p in key if p)}."
    return f"The function should {family.does[0]}."


def frames_for(split):
    return wording.HELD_OUT_FRAMES + wording.FRAMES if split == "held-out" else wording.FRAMES


def choose_wording(rng, family, split):
    """(description, frame, what is new about the pair) of the split; None when the draw belongs to the other one."""
    frame = rng.choice(frames_for(split))
    if split == "wording":
        frame = rng.choice(wording.FRAMES)
    d = rng.choice(family.does)
    composed = hasattr(family, "key")
    new_words = not composed and wording.held_out_description(family.name, family.does, d)
    new_frame = frame in wording.HELD_OUT_FRAMES
    new_pair = not composed and wording.held_out_pair(family.name, d, frame)
    if split == "train":
        return None if new_words or new_frame or new_pair else (d, frame)
    if split == "wording":
        return (d, frame) if new_words and "{name}" not in frame and "{sig}" not in frame else None
    return (d, frame) if not new_words and (new_frame or new_pair) else None


def code_task(rng, family, split):
    """(request, code, name of the function) with names as the request says."""
    found = None
    for _ in range(400):
        found = choose_wording(rng, family, split)
        if found:
            break
    if not found:
        return None
    does, frame = found
    names = {}
    if "{name}" in frame or "{sig}" in frame:
        name = wording.random_name(rng, family.name)
        if name != family.name and name not in family.code.replace("(", " ").split():
            names[family.name] = name
    name = names.get(family.name, family.name)
    parameters = family.parameters
    if "{sig}" in frame and 'f"' not in family.code:  # names inside f-strings are text to the tokenizer of Python 3.11
        used = set(wording.re.findall(r"\w+", family.code)) | {name}
        names |= wording.choose_parameters(rng, parameters, used)
        parameters = [names.get(p, p) for p in parameters]
    elif split == "train" and family.topics and rng.random() < 0.08:
        frame = rng.choice(["Write {t} in Python.", "Implement {t}.", "{t} in Python", "Python {t}", "Show me {t}.", "I need code for {t}.", "How does {t} look in Python?"])
        frame = frame.replace("{t}", rng.choice(family.topics))
    request = frame.format(do=does, does=wording.third_person(does), name=name, sig=f"{name}({', '.join(parameters)})")
    request = wording.style(rng, request)
    code = wording.rename(family.code, names) if names else family.code
    named = "{name}" in frame or "{sig}" in frame
    return request, code, name, named


def verified(family, code, name, seed):
    tests = cases_as_tests(family, name, seed)
    if not passes(code, tests):
        raise SystemExit(f"the solution fails its tests:\n{code}\n{tests}")
    return tests


def random_family(rng, composed):
    if not composed:
        return FAMILIES[rng.choice(sorted(FAMILIES))]
    while True:
        c = compositions.make(rng)
        if not c.held_out():
            return c


# ---- examples by kind; each returns (family name, conversation, task or None) ----


def example_code(rng, split, family):
    task = code_task(rng, family, split)
    if not task or (split == "train" and wording.normal(task[0]) in wording.PINNED_NORMAL):
        return None
    request, code, name, named = task
    tests = verified(family, code, name, rng.getrandbits(32) % 5)
    label = "/".join(family.key[:2]) if hasattr(family, "key") else family.name
    c = conversation(request, f"{block(code)}\n{family.note}", thought_about(rng, family))
    return label, c, {"tests": tests, "entry": name, "named": named}


def example_known(rng, split):
    return example_code(rng, split, random_family(rng, False))


def example_composed(rng, split):
    return example_code(rng, split, random_family(rng, True))


def example_held_out_composition(rng, _split):
    while True:
        family = compositions.make(rng)
        if family.held_out():
            return example_code(rng, "train", family)


def example_class(rng, split):
    known = rng.random() < 0.35
    if known:
        name = rng.choice(sorted(class_tasks.KNOWN))
        code, note, tests, does = class_tasks.KNOWN[name]
        label = name
    else:
        key, code, note, tests, does = class_tasks.make(rng)
        name, label = key[1], "class"
        if class_tasks.held_out(key) != (split != "train"):
            return None
    if known and split != "train":
        return None
    tests = "\n".join(tests)
    if not passes(code, tests):
        raise SystemExit(f"the class fails its tests:\n{code}\n{tests}")
    frame = rng.choice(class_tasks.FRAMES if split == "train" else class_tasks.FRAMES + class_tasks.HELD_OUT_FRAMES)
    does = rng.choice(does)
    request = frame.format(does=does)
    thought = f"The class is {name}." if rng.random() < THINKING else None
    return f"class {label}", conversation(request, f"{block(code)}\n{note}", thought), {"tests": tests, "entry": name, "named": True}


def example_repair(rng, split):
    family = random_family(rng, rng.random() < 0.3)
    options = list(repair.faults(family.code))
    if not options:
        return None
    _, broken, wrong = rng.choice(options)
    tests = verified(family, family.code, family.name, rng.getrandbits(32) % 5)
    if passes(broken, tests):
        return None
    frame = rng.choice(repair.REQUESTS if split == "train" else repair.HELD_OUT_REQUESTS)
    does = rng.choice([d for d in family.does if hasattr(family, "key") or not wording.held_out_description(family.name, family.does, d)])
    request = f"{frame.format(do=does, does=wording.third_person(does))}\n{block(broken)}"
    thought = wrong if rng.random() < THINKING else None
    return "repair", conversation(request, f"{block(family.code)}\n{wrong}", thought), {"tests": tests, "entry": family.name, "named": True}


def example_explain(rng, split):
    family = random_family(rng, rng.random() < 0.3)
    verified(family, family.code, family.name, rng.getrandbits(32) % 5)
    frame = rng.choice(repair.EXPLAIN if split == "train" else repair.HELD_OUT_EXPLAIN)
    answer = f"It {wording.third_person(family.does[0])}. {family.note}"
    return "explain", conversation(f"{frame}\n{block(family.code)}", answer, thought_about(rng, family)), None


def example_tools(rng, split):
    pool = tool_tasks.HELD_OUT_TOOLS if split == "new-tools" else tool_tasks.TOOLS
    name = rng.choice(sorted(pool))
    request, arguments, result, answer = pool[name][0](rng)
    if split == "train" and (wording.digest("call", name, sorted(arguments.items())) % 100 < 10):
        return None
    if split == "held-out" and not (wording.digest("call", name, sorted(arguments.items())) % 100 < 10):
        return None
    tools = tool_tasks.offer(rng, name)
    if split == "train" and rng.random() < 0.12:  # tools are there, but this needs none
        other = example_known(rng, "train") if rng.random() < 0.6 else example_talk(rng, "train")
        if not other:
            return None
        return "tools unused", {**other[1], "tools": tools}, None
    call = {"id": "call_0", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    messages = [{"role": "user", "content": request}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    thought = f"I call {name}." if rng.random() < THINKING else None
    if thought:
        messages[1]["reasoning_content"] = thought
    elif rng.random() < 0.5 and split == "train":
        messages += [{"role": "tool", "tool_call_id": "call_0", "content": result}, {"role": "assistant", "content": answer}]
    elif rng.random() < 0.2 and split == "train":  # thinking, with the result at hand
        messages[1]["reasoning_content"] = f"I call {name}."
        messages += [{"role": "tool", "tool_call_id": "call_0", "content": result},
                     {"role": "assistant", "reasoning_content": "I have the result.", "content": answer}]
    return "tools", {"messages": messages, "tools": tools}, {"call": {"name": name, "arguments": arguments}}


def example_talk(rng, split):
    request, answer, kind = talk_tasks.make(rng)
    if kind == "sums" and (wording.digest(request) % 100 < 10) != (split != "train"):
        return None
    thought = "A short answer will do." if rng.random() < THINKING else None
    return kind, conversation(wording.style(rng, request), answer, thought), None


def example_turns(rng, split):
    """Two questions in one conversation."""
    first, second = example_known(rng, split), rng.choice([example_known, example_composed, example_talk])(rng, split)
    if not first or not second:
        return None
    messages = first[1]["messages"] + second[1]["messages"]
    if rng.random() < 0.4:
        family = FAMILIES[first[0]]
        messages[2:] = [{"role": "user", "content": rng.choice(["What does it do?", "Explain it.", "Thanks. What does this do?", "How does it work?"])},
                        {"role": "assistant", "content": f"It {wording.third_person(family.does[0])}. {family.note}"}]
    for m in messages:
        m.pop("reasoning_content", None)
    return "turns", {"messages": messages}, None


MAKERS = {"known": example_known, "composed": example_composed, "class": example_class, "repair": example_repair, "explain": example_explain, "tools": example_tools, "talk": example_talk, "turns": example_turns}


# ---- files ----


def requests_of(example):
    return [wording.normal(m["content"]) for m in example["messages"] if m["role"] == "user"]


def draw(rng, make, split, n, seen, forbidden=frozenset()):
    """n examples; none whose last request is among the forbidden ones. Exact copies are left out, but of small talk, which
    has few words and must be met often."""
    out, tries = [], 0
    while len(out) < n and tries < 200 * n + 10000:
        tries += 1
        made = make(rng, split)
        if not made:
            continue
        text = json.dumps(made[1])
        if text in seen and made[0] not in ("talk", "cannot"):
            executed["copies left out"] += 1
            continue
        if forbidden and not forbidden.isdisjoint(requests_of(made[1])):
            executed["requests of training left out"] += 1
            continue
        seen.add(text)
        out.append(made)
    return out


def write_lines(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


def task_of(made):
    """What evaluation needs: the conversation up to the answer, and how to judge it."""
    label, c, judge = made
    task = {"family": label, "messages": c["messages"][:1], **judge}
    if "tools" in c:
        task["tools"] = c["tools"]
    return task


def pinned_tasks():
    for name, description, frame in wording.PINNED:
        if name not in FAMILIES:
            continue
        family = FAMILIES[name]
        does = wording.third_person(description)
        tests = cases_as_tests(family, name, 0)
        for request in (frame.format(does=does), frame.format(does=does)[0].lower() + frame.format(does=does)[1:-1]):
            yield {"family": name, "messages": [{"role": "user", "content": request}], "tests": tests, "entry": name, "named": False}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", type=lambda text: text.split(","), default=[])
    args = parser.parse_args()
    kinds = {"known": 85, "talk": 15} if args.families else KINDS
    for name in sorted(set(FAMILIES) - set(args.families)) if args.families else []:
        del FAMILIES[name]
    signal.signal(signal.SIGALRM, on_alarm)
    (args.folder / "eval").mkdir(parents=True, exist_ok=True)
    rng, seen, train = random.Random(args.seed), set(), []
    total = sum(kinds.values())
    for kind, share in kinds.items():
        train += draw(rng, MAKERS[kind], "train", args.n * share // total, seen)
    rng.shuffle(train)
    write_lines(args.folder / "train.jsonl", (c for _, c, _ in train))
    trained = {r for _, c, _ in train for r in requests_of(c)}

    rng, held = random.Random(args.seed + 1), set()
    scale = min(1.0, args.n / 20_000)  # small runs are for tests
    plans = {"paraphrases": (example_known, "held-out"), "wordings": (example_known, "wording"), "compositions": (example_held_out_composition, ""),
             "classes": (example_class, "held-out"), "repairs": (example_repair, "held-out"), "tools": (example_tools, "held-out"), "new-tools": (example_tools, "new-tools")}
    if args.families:
        plans = {k: plans[k] for k in ("paraphrases", "wordings")}
    sets = {}
    for name, (make, split) in plans.items():
        sets[name] = draw(rng, make, split, max(5, int(EVAL_SIZES[name] * scale)), held, trained)
        tasks = [task_of(m) for m in sets[name]]
        write_lines(args.folder / "eval" / f"{name}.jsonl", (list(pinned_tasks()) if name == "paraphrases" else []) + tasks)
    dev = draw(rng, example_known, "held-out", max(5, int(N_DEV * scale)), held, trained)
    write_lines(args.folder / "dev.jsonl", (c for _, c, _ in dev))
    families = collections.Counter(label for label, _, _ in train)
    counts = {"train": len(train), "families": len(families), "eval": {k: len(v) for k, v in sets.items()}, "dev": len(dev), **executed, "by family": dict(families.most_common())}
    (args.folder / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
    print(json.dumps({k: v for k, v in counts.items() if k != "by family"}))


if __name__ == "__main__":
    main()
