#!/usr/bin/env python3
"""Instruction data for a very small model: requests for Python functions and classes, repairs, explanations, tool calls.

    tools/corpus/instructions/generate.py FOLDER [--n 100000] [--seed 1] [--families NAME,...]

writes
    train.jsonl           conversations for `fathom data chat`
    dev.jsonl             conversations whose requests are worded as no request of train.jsonl, for the loss while training
    eval/NAME.jsonl       tasks for `fathom eval`: paraphrases, wordings, compositions, classes, repairs, tools, new-tools,
                          invented-tools
    counts.json           examples by family and kind, executions, duplicates left out

--families makes a small set: functions of these families and small talk, nothing else.

Every solution is executed against its tests before it enters; a faulty function counts as such only when its tests fail.
Three things are held out, by hashes of the words alone (wording.py, compositions.py): frames, descriptions and pairs of
both; compositions; tools, their names and arguments. The same seed gives the same bytes on any machine.
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
from invented_tools import Tool as Invented
from tool_tasks import Known

KINDS = {"known": 34, "composed": 27, "class": 6, "repair": 6, "explain": 4, "tools": 15, "talk": 3, "turns": 5}
EVAL_SIZES = {"paraphrases": 300, "wordings": 200, "compositions": 300, "classes": 60, "repairs": 100, "tools": 200, "new-tools": 60, "invented-tools": 200}
N_DEV = 1000
THINKING = 0.35
INVENTED_TOOLS = 0.6
SYSTEM_MESSAGES = 0.05
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


def held_out_call(name, arguments):
    return wording.digest("call", name, sorted(arguments.items())) % 100 < 10


def call_of(i, name, arguments, thought):
    call = {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    return {**message, "reasoning_content": thought} if thought else message


def schemas(rng, tools):
    rng.shuffle(tools)
    return [{"type": "function", "function": t.schema()} for t in tools]


def tool_task(rng, split):
    """One request for one of up to three tools, and the call that it wants: of a known tool with arguments never met, of a
    tool of which nothing was ever met, or of an invented one whose name was never met."""
    if split == "invented":
        tool = Invented(rng, want_held_out=True)
        others = [Invented(rng, want_held_out=True) for _ in range(2)]
    else:
        tool = Known(rng.choice(sorted(tool_tasks.HELD_OUT_TOOLS if split == "new-tools" else tool_tasks.TOOLS)), invented=0)
        others = [Known(n) for n in rng.sample(sorted(set(tool_tasks.TOOLS) - {tool.name}), 2)]
    request, arguments, *_ = tool.request(rng)
    if split == "held-out" and not held_out_call(tool.name, arguments):
        return None
    offered = schemas(rng, [tool] + others[:rng.choice([0, 0, 1, 1, 2])])
    messages = [{"role": "user", "content": request}, call_of(0, tool.name, arguments, None)]
    return "tools", {"messages": messages, "tools": offered}, {"call": {"name": tool.name, "arguments": arguments}}


def example_tools(rng, split):
    """Up to three requests, most of which want one of the tools that are offered. Most of the tools exist in this
    conversation alone, so that names and values can only be copied."""
    if split != "train":
        return tool_task(rng, split)
    tools = {}
    for _ in range(rng.choice([1, 1, 2, 2, 3])):
        tool = Invented(rng) if rng.random() < INVENTED_TOOLS else Known(rng.choice(sorted(tool_tasks.TOOLS)))
        tools[tool.name] = tool
    thinks = rng.random() < THINKING
    messages, n_calls = [], 0
    n_requests = rng.randrange(1, 5 - len(tools))  # so that the whole fits a row of training
    for i in range(n_requests):
        if rng.random() < (0.2 if i else 0.12):
            other = (example_known if i == 0 and rng.random() < 0.4 else example_talk)(rng, "train")
            if not other or (other[0] == "sums" and "calculator" in tools):
                return None
            messages += [dict(m) for m in other[1]["messages"]]
            messages[-1]["reasoning_content"] = "No tool is needed."
            continue
        tool = tools[rng.choice(sorted(tools))]
        request, arguments, result, answer = tool.request(rng)
        if held_out_call(tool.name, arguments):
            return None
        messages += [{"role": "user", "content": request}, call_of(n_calls, tool.name, arguments, f"I call {tool.name}.")]
        if i + 1 < n_requests or rng.random() < 0.5:
            messages += [{"role": "tool", "tool_call_id": f"call_{n_calls}", "content": result},
                         {"role": "assistant", "reasoning_content": "I have the result.", "content": answer}]
        n_calls += 1
    if not thinks:
        without_thoughts(messages)
    return "tools" if n_calls else "tools unused", {"messages": messages, "tools": schemas(rng, list(tools.values()))}, None


def example_talk(rng, split):
    request, answer, kind = talk_tasks.make(rng)
    if kind == "sums" and (wording.digest(request) % 100 < 10) != (split != "train"):
        return None
    thought = "A short answer will do." if rng.random() < THINKING else None
    return kind, conversation(wording.style(rng, request), answer, thought), None


def without_thoughts(messages):
    for m in messages:
        m.pop("reasoning_content", None)


def follow_up(rng, last):
    """(request, answer, thought) about a function that was just written: another name for it, or what it does."""
    label, c, judge = last
    family, answer = FAMILIES.get(label), c["messages"][-1]["content"]
    if not judge or not answer.startswith("```python\ndef "):
        return None
    if family and rng.random() < 0.6:
        ask = rng.choice(["What does it do?", "Explain it.", "Thanks. What does this do?", "How does it work?", "And what does it do?", "Can you explain it?", "Please explain the code."])
        return ask, f"It {wording.third_person(family.does[0])}. {family.note}", "I explain the function."
    code, note = answer.removeprefix("```python\n").split("\n```\n")
    entry, name = judge["entry"], wording.random_name(rng, judge["entry"])
    if name == entry or name in code.replace("(", " ").split():
        return None
    renamed = wording.rename(code, {entry: name})
    if not passes(renamed, wording.rename(judge["tests"], {entry: name})):
        raise SystemExit(f"renamed, the solution fails its tests:\n{renamed}")
    ask = rng.choice(["Call it {n}.", "Rename it to {n}.", "Now call the function {n}.", "The name should be {n}.", "Can you name it {n}?", "Good, but call it {n}, please."])
    return wording.style(rng, ask.format(n=name)), f"{block(renamed)}\n{note}", f"The name should be {name}."


def example_turns(rng, split):
    """Two to four requests in one conversation. Only the last answer may have been thought about: V4's format drops the
    thoughts of earlier ones."""
    makers = {example_known: 34, example_composed: 14, example_talk: 36, example_class: 5, example_repair: 6, example_explain: 5}
    messages, last = [], None
    for i in range(rng.choices([2, 3, 4], [65, 25, 10])[0]):
        follows = follow_up(rng, last) if i and rng.random() < 0.4 else None
        if follows:
            messages += conversation(*follows)["messages"]
            last = (None, {"messages": messages}, None)
            continue
        last = rng.choices(list(makers), list(makers.values()))[0](rng, split)
        if not last:
            return None
        messages += [dict(m) for m in last[1]["messages"]]
    without_thoughts(messages if rng.random() >= THINKING else messages[:-1])
    return "turns", {"messages": messages}, None


def with_instructions(rng, example):
    """Some conversations begin with what a program tells every model."""
    label, c, judge = example
    if rng.random() >= SYSTEM_MESSAGES:
        return example
    return label, {**c, "messages": [{"role": "system", "content": rng.choice(talk_tasks.INSTRUCTIONS)}, *c["messages"]]}, judge


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
    if not args.families:
        train = [with_instructions(rng, example) for example in train]
    write_lines(args.folder / "train.jsonl", (c for _, c, _ in train))
    trained = {r for _, c, _ in train for r in requests_of(c)}

    rng, held = random.Random(args.seed + 1), set()
    scale = min(1.0, args.n / 20_000)  # small runs are for tests
    plans = {"paraphrases": (example_known, "held-out"), "wordings": (example_known, "wording"), "compositions": (example_held_out_composition, ""),
             "classes": (example_class, "held-out"), "repairs": (example_repair, "held-out"), "tools": (example_tools, "held-out"), "new-tools": (example_tools, "new-tools"), "invented-tools": (example_tools, "invented")}
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
