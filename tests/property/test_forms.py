#!/usr/bin/env python3
"""Random regular expressions, JSON Schemas and grammars: what the machine of the server lets through is judged by others.

    test_forms.py FORM_WALK COUNT SEED [EMULATOR...]

Regular expressions are judged by Python's re, schemas by jsonschema, grammars by a slow matcher below. Both ways: every text
that the machine walks to must match, and texts made from the form by its definition must be taken. TAP on standard output."""
import datetime
import json
import pathlib
import random
import re
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    jsonschema = None

sys.setrecursionlimit(20000)
WALK, COUNT, SEED, EMULATOR = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
MAX_MICROSECONDS = 250000
walker = subprocess.Popen([*EMULATOR, WALK], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
cases = {"taken": 0, "refused": 0, "texts": 0, "cut": 0, "slowest": 0}


def ask(kind, form, n_walks, texts=()):
    """(message or None, walked texts, which of the given texts match)"""
    form = form.encode()
    walker.stdin.write(b"%s %d %d %d %d\n" % (kind.encode(), random.getrandbits(32), n_walks, len(form), len(texts)) + form)
    for t in texts:
        t = t.encode()
        walker.stdin.write(b"%d\n" % len(t) + t)
    walker.stdin.flush()
    first = walker.stdout.readline().decode().split(" ", 2)
    cases["slowest"] = max(cases["slowest"], int(first[1]))
    if first[0] == "refused":
        cases["refused"] += 1
        return first[2].strip(), [], []
    cases["taken"] += 1
    walked = []
    for _ in range(n_walks):
        end, n = walker.stdout.readline().split()
        text = walker.stdout.read(int(n) + 1)[:-1]
        assert end != b"stuck", f"{kind} {form!r}: no way on behind {text!r}"
        if end == b"end":
            walked.append(text.decode())
        else:
            cases["cut"] += 1
    answers = [walker.stdout.readline().strip() == b"yes" for _ in texts]
    cases["texts"] += len(walked) + len(texts)
    return None, walked, answers


# ---- regular expressions: (pattern, a text that matches) ----

ATOMS = [("a", "a"), ("b", "b"), ("xy", "xy"), ("é", "é"), ("日", "日"), (r"\d", "7"), (r"\w", "_"), (r"\s", " "), (r"[a-c]", "c"), (r"[^a-y]", "z"),
         (r"[^\d\s]", "q"), (r"\.", "."), (".", "!"), (r"\S", "#"), (r"\D", "k"), (r"\W", "-"), (r"[\]\\-]", "]"), (r"\x41", "A"), (r"\u00e9", "é"), ('"', '"'),
         (r"\\", "\\"), (r"\n", "\n"), (r"[^\n]", "ß"), ("🙂", "🙂"), (r"[α-ω0-9]", "λ"), (r"[^\x00-\x7f]", "é")]


def random_regex(depth):
    """A pattern and a function that makes a text for it."""
    kind = random.random()
    if depth == 0 or kind < 0.3:
        p, t = random.choice(ATOMS)
        return p, lambda: t
    if kind < 0.6:
        parts = [random_regex(depth - 1) for _ in range(random.randint(1, 4))]
        return "".join(p for p, _ in parts), lambda: "".join(m() for _, m in parts)
    if kind < 0.8:
        parts = [random_regex(depth - 1) for _ in range(random.randint(2, 4))]
        opening = random.choice(["(", "(?:", "(?P<n%d>" % random.getrandbits(40)])
        return opening + "|".join(p for p, _ in parts) + ")", lambda: random.choice(parts)[1]()
    p, make = random_regex(depth - 1)
    low, high = sorted((random.randint(0, 3), random.randint(0, 4)))
    suffix, low, high = random.choice([("*", 0, 4), ("+", 1, 4), ("?", 0, 1), ("*?", 0, 3), ("{%d}" % low, low, low), ("{%d,%d}" % (low, high), low, high),
                                       ("{%d,}" % low, low, low + 3)])
    return f"(?:{p}){suffix}", lambda: "".join(make() for _ in range(random.randint(low, high)))


def regular_expressions():
    for i in range(COUNT):
        pattern, make = random_regex(random.randint(1, 4))
        texts = [make() for _ in range(4)] + ["", "a", "zz"]
        refused, walked, answers = ask("regex", pattern, 3, texts)
        compiled = re.compile(pattern)
        if refused:
            assert "empty" in refused or "too large" in refused, (pattern, refused)
            continue
        for t in walked:
            assert compiled.fullmatch(t), f"/{pattern}/ does not match {t!r}"
        for t, found in zip(texts, answers):
            assert found == bool(compiled.fullmatch(t)), f"/{pattern}/ and {t!r}: {found}"


# ---- schemas ----

def random_pattern():
    pattern, make = random_regex(2)
    if random.random() < 0.3:
        return pattern
    return "^(?:" + pattern + ")$"


def random_schema(depth, refs):
    leaf = [lambda: {"type": "string"}, lambda: {"type": "string", "minLength": random.randint(0, 3), "maxLength": random.randint(3, 9)},
            lambda: {"type": "string", "pattern": random_pattern()}, lambda: {"type": "string", "pattern": "^[a-zé\"]*$", "minLength": 1, "maxLength": random.randint(2, 30)},
            lambda: {"type": "string", "format": random.choice(["date", "date-time", "time", "uuid", "ipv4", "email", "unheard-of"])},
            lambda: {"type": "integer"}, lambda: {"type": "number"}, lambda: {"type": "boolean"}, lambda: {"type": "null"}, lambda: {}, lambda: True,
            lambda: {"type": "integer", **random_bounds()}, lambda: {"type": "number", **random_bounds()},
            lambda: {"enum": random.sample(["a", "b\n", 1, 2.5, None, True, {"k": [1]}, [], "é"], 3)}, lambda: {"const": random.choice(["x", 5, None, {"a": 1}])},
            lambda: {"type": ["string", "null"], "maxLength": 4}, lambda: {"type": "integer", "enum": [1, "no", 3]}, lambda: {"type": "string", "nullable": False}]
    inner = [lambda: {"type": "array", "items": random_schema(depth - 1, refs), "minItems": random.randint(0, 2), "maxItems": random.randint(2, 4)},
             lambda: {"type": "array", "prefixItems": [random_schema(depth - 1, refs) for _ in range(random.randint(1, 3))]},
             lambda: random_object(depth, refs), lambda: {"type": "object", "additionalProperties": random_schema(depth - 1, refs)},
             lambda: {"anyOf": [random_schema(depth - 1, refs) for _ in range(random.randint(1, 4))]},
             lambda: {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "object", "properties": {"k": {"const": 1}, "v": random_schema(depth - 1, refs)}, "required": ["k"]},
                                {"type": "object", "properties": {"k": {"enum": [2, 3]}}, "required": ["k"]}]},
             lambda: {"allOf": [random_schema(depth - 1, refs)], "description": "x"}]
    if refs and random.random() < 0.2:
        return {"$ref": "#/$defs/" + random.choice(refs), "title": "t"}
    return random.choice(leaf + (inner * 3 if depth > 0 else []))()


def random_bounds():
    low, high = sorted(random.choice([-10 ** 12, -1000, -105, -9, -1, 0, 1, 3, 9, 10, 99, 100, 12345, 10 ** 12]) for _ in range(2))
    words = {random.choice(["minimum", "exclusiveMinimum"]): low, random.choice(["maximum", "exclusiveMaximum"]): high}
    return dict(random.sample(sorted(words.items()), random.randint(1, 2)))


def random_object(depth, refs):
    names = random.sample(["a", "ab", "b", "name", "quote\"", "é", "x" * 20], random.randint(0, 4))
    return {"type": "object", "properties": {n: random_schema(depth - 1, refs) for n in names}, "required": random.sample(names, random.randint(0, len(names))),
            "additionalProperties": random.choice([False, True])}


def schemas():
    if jsonschema is None:
        raise Skip("python3-jsonschema is not installed")
    import warnings
    warnings.simplefilter("ignore")
    n_refused = 0
    formats = jsonschema.FormatChecker(["date", "uuid", "ipv4", "email"])
    formats.checks("time", ValueError)(lambda v: not isinstance(v, str) or datetime.time.fromisoformat(v) is not None)
    formats.checks("date-time", ValueError)(lambda v: not isinstance(v, str) or datetime.datetime.fromisoformat(v) is not None)
    for i in range(COUNT):
        refs = ["p", "q"][:random.randint(0, 2)]
        schema = random_object(3, refs) if random.random() < 0.7 else random_schema(3, refs)
        if schema is True:
            continue
        schema["$defs"] = {r: random_schema(2, refs) for r in refs}
        refused, walked, _ = ask("schema", json.dumps(schema), 3)
        n_refused += bool(refused)
        checker = jsonschema.Draft202012Validator(schema, format_checker=formats)
        for t in walked:
            value = json.loads(t)
            error = next(checker.iter_errors(value), None)
            assert error is None, f"{json.dumps(schema)}: {t!r}: {error.message}"
    assert n_refused < 0.35 * COUNT, f"{n_refused} of {COUNT} are refused"


# ---- grammars: trees of ("text", t) ("class", spelled, characters) ("seq", ...) ("or", ...) ("times", low, high, x) ("rule", n) ----

def random_rule(depth, n_rules, i):
    kind = random.random()
    if depth == 0 or kind < 0.3:
        text = random.choice(["a", "b", "ab", "é", "(", ")", " ", '"', "\\", "\n", "日本"])
        return random.choice([("text", text), ("class", "[a-c]", "abc"), ("class", "[^a-z]", "AZ0é\n"), ("class", ".", "ax"), ("text", text)])
    if kind < 0.45 and n_rules > 1:
        return ("rule", random.randrange(n_rules))
    if kind < 0.7:
        return ("seq", *[random_rule(depth - 1, n_rules, i) for _ in range(random.randint(1, 3))])
    if kind < 0.85:
        return ("or", *[random_rule(depth - 1, n_rules, i) for _ in range(random.randint(2, 3))])
    low = random.randint(0, 2)
    return ("times", low, random.choice([low + 1, None, low + 2]), random_rule(depth - 1, n_rules, i))


def spell(x):
    if x[0] == "text":
        return '"' + x[1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if x[0] == "class":
        return x[1]
    if x[0] == "rule":
        return "root" if x[1] == 0 else f"r{x[1]}"
    if x[0] == "seq":
        return " ".join(spell(y) for y in x[1:])
    if x[0] == "or":
        return "(" + " | ".join(spell(y) for y in x[1:]) + ")"
    low, high, y = x[1:]
    suffix = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high)) or ("{%d,%s}" % (low, "" if high is None else high))
    return f"({spell(y)}){suffix}"


CLASSES = {"[a-c]": re.compile("[a-c]"), "[^a-z]": re.compile("[^a-z]"), ".": re.compile("(?s).")}


def ends(rules, x, text, starts, known):
    """Where x may end that begins at one of the places. known: what was found for rules, which never begin with themselves."""
    if x[0] == "text":
        return {i + len(x[1]) for i in starts if text.startswith(x[1], i)}
    if x[0] == "class":
        return {i + 1 for i in starts if i < len(text) and CLASSES[x[1]].match(text[i])}
    if x[0] == "rule":
        for i in starts:
            if (x[1], i) not in known:
                known[x[1], i] = ends(rules, rules[x[1]], text, {i}, known)
        return set().union(*[known[x[1], i] for i in starts])
    if x[0] == "seq":
        for y in x[1:]:
            starts = ends(rules, y, text, starts, known) if starts else starts
        return starts
    if x[0] == "or":
        return set().union(*[ends(rules, y, text, starts, known) for y in x[1:]])
    low, high, y = x[1:]
    found = set(starts) if low == 0 else set()
    here, n = set(starts), 0
    while here and (high is None or n < high) and n <= len(text) + low:
        here = ends(rules, y, text, here, known)
        n += 1
        if n >= low:
            here -= found if high is None else set()
            found |= here
    return found


def make(rules, x, depth):
    """A text of x, or None when it would be too deep."""
    if x[0] == "text":
        return x[1]
    if x[0] == "class":
        return random.choice(x[2])
    if x[0] == "rule":
        return None if depth == 0 else make(rules, rules[x[1]], depth - 1)
    if x[0] == "or":
        return make(rules, random.choice(x[1:]), depth)
    parts = x[1:] if x[0] == "seq" else [x[3]] * random.randint(x[1], x[1] + 2 if x[2] is None else x[2])
    texts = [make(rules, y, depth) for y in parts]
    return None if None in texts else "".join(texts)


def grammars():
    n_refused = 0
    for i in range(COUNT):
        n_rules = random.randint(1, 4)
        rules = [random_rule(3, n_rules, r) for r in range(n_rules)]
        form = "\n".join(f"{spell(('rule', r))} ::= {spell(x)} # {r}" for r, x in enumerate(rules)) + "\n"
        texts = [t for t in (make(rules, ("rule", 0), 5) for _ in range(6)) if t is not None and len(t) < 40]
        refused, walked, answers = ask("gbnf", form, 3, texts)
        if refused:
            assert re.search("left recursion|nothing can meet|empty answer", refused), (form, refused)
            n_refused += 1
            continue
        for t in walked:
            if len(t) < 100:
                assert len(t) in ends(rules, ("rule", 0), t, {0}, {}), f"{form}: {t!r}"
        for t, found in zip(texts, answers):
            assert found, f"{form}: refuses {t!r}"
    assert n_refused < 0.6 * COUNT, f"{n_refused} of {COUNT} are refused"


# ---- forms that must be refused, or must not take long ----

def hostile_forms():
    hostile = [("regex", "(" * 60000), ("regex", "(" * 150 + "a" + "){9}" * 150), ("regex", "a{1,1000000000}"), ("regex", "((a{100}){100}){100}"),
               ("regex", "(a|b)*a(a|b){40}"), ("regex", "(?=a)b"), ("regex", r"(a)\1"), ("regex", r"\bword"), ("regex", "a**"), ("regex", "*a"), ("regex", "[z-a]"),
               ("regex", "[a"), ("regex", "(a"), ("regex", "a)"), ("regex", ""), ("regex", "()"), ("regex", "[]a]"), ("regex", "a{3,2}"), ("regex", "\\"), ("regex", r"\p{L}"),
               ("regex", "(?i)a"), ("regex", "^$"), ("regex", "a^"), ("regex", r"\ud800"), ("regex", "(a?){5000}" * 5), ("regex", "|".join("x%d" % i for i in range(60000))),
               ("gbnf", ""), ("gbnf", "root ::="), ("gbnf", "root ::= root \"a\" | \"b\""), ("gbnf", "root ::= a\na ::= b | \"x\"\nb ::= \"\" a"),
               ("gbnf", "root ::= \"a\" root"), ("gbnf", "x ::= \"a\""), ("gbnf", "root ::= y"), ("gbnf", "root ::= \"a"), ("gbnf", "root ::= [a"), ("gbnf", "root ::= (\"a\""),
               ("gbnf", "root ::= \"a\")"), ("gbnf", "root := \"a\""), ("gbnf", "root ::= \"a\"\nroot ::= \"b\""), ("gbnf", "root ::= \"a\"{9,1}"),
               ("gbnf", "root ::= \"a\"{0,1000000000}"), ("gbnf", "root ::= " + "(" * 60000), ("gbnf", "root ::= \"\\q\""), ("gbnf", "root ::= \"\\uD800\""),
               ("gbnf", "".join(f"r{i} ::= r{i + 1}\n" for i in range(5000)) + "r5000 ::= \"a\"\nroot ::= r0"),
               ("gbnf", "root ::= <think>"), ("gbnf", "root ::= \"a\" | *"), ("gbnf", "root ::= (\"a\"?){4000}" + " (\"b\"?){4000}" * 8),
               ("schema", json.dumps({"enum": [f"v{i}" for i in range(100000)]})), ("schema", '{"pattern":"(a+)+(?!b)"}'), ("schema", '{"$ref":"#"}'),
               ("schema", '{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}'), ("schema", '{"type":"string","pattern":"^a$","minLength":2}'), ("schema", '{"type":"string","pattern":"^.{3000}$","maxLength":9000}'),
               ("schema", '{"oneOf":[{"type":"integer"},{"type":"number"}]}'), ("schema", '{"type":"integer","minimum":5,"maximum":4}'), ("schema", '{"type":"number","exclusiveMinimum":1,"maximum":1}'),
               ("schema", '{"anyOf":[{"type":"string"}],"maxLength":3}'), ("schema", '{"$ref":"#/$defs/a","minLength":2,"$defs":{"a":{"type":"string"}}}'), ("schema", '{"not":{}}'),
               ("schema", '{"type":"object","patternProperties":{"a":{}}}'), ("schema", '{"type":"number","multipleOf":3}'), ("schema", '{"if":{},"then":{}}'),
               ("schema", json.dumps({"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(5000)}})),
               ("schema", json.dumps({"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{(i + 1) % 900}"}, "minItems": 1} for i in range(900)}}))]
    for kind, form in hostile:
        cases["slowest"] = 0
        refused, _, _ = ask(kind, form, 1)
        assert refused and refused.startswith("400 "), f"{kind} {form[:80]}: {refused}"
        assert len(refused) < 400 and cases["slowest"] < LIMIT, f"{kind} {form[:80]}: {cases['slowest']} us: {refused}"
    large = [("regex", "a{0,4000}"), ("regex", ".{1,1500}"), ("regex", "(a|ab|abc)*(b|c)?"), ("regex", "(x+x+)+y"), ("schema", '{"type":"string","maxLength":4000000000}'),
             ("schema", json.dumps({"enum": [f"v{i}" for i in range(5000)]})), ("gbnf", "root ::= (a | b)*\na ::= \"a\" a?\nb ::= \"b\"* \"c\""),
             ("gbnf", "root ::= s\ns ::= \"(\" s \")\" s | \"\"\n"), ("regex", "(a?){50}a{50}")]
    for kind, form in large:
        refused, _, _ = ask(kind, form, 2)
        assert not refused and cases["slowest"] < LIMIT, f"{kind} {form[:80]}: {refused} {cases['slowest']} us"


def all_at_once():
    print(f"# seed {SEED}: {cases['taken']} forms taken, {cases['refused']} refused, {cases['texts']} texts judged, {cases['cut']} walks too long", flush=True)
    assert cases["texts"] > COUNT


class Skip(Exception):
    pass


slow = EMULATOR or re.search(rb"__[at]san_init", pathlib.Path(WALK).read_bytes())
LIMIT = MAX_MICROSECONDS * (20 if slow else 1)  # of CPU
tests = [regular_expressions, schemas, grammars, hostile_forms, all_at_once]
print(f"1..{len(tests)}")
failed = False
for number, test in enumerate(tests, 1):
    random.seed(f"{SEED} {test.__name__}")
    name = test.__name__.replace("_", " ")
    try:
        test()
        print(f"ok {number} - {name}", flush=True)
    except Skip as s:
        print(f"ok {number} - {name} # SKIP {s}", flush=True)
    except Exception as e:
        failed = True
        print(f"not ok {number} - {name}\n# " + f"{type(e).__name__}: {e}".replace("\n", "\n# "), flush=True)
walker.stdin.close()
sys.exit(failed or walker.wait() != 0)
