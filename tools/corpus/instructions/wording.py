"""How a request is worded: frames around a family's descriptions, names, and small differences of style.

A description says what the function does, beginning with a verb in its base form ("return the n-th Fibonacci number"). A
frame turns it into a request. What is held out is decided here, from the words alone, so that training and evaluation
cannot meet: whole frames, whole descriptions of a family, and pairs of both by a hash.
"""
import hashlib
import io
import keyword
import re
import tokenize

# {do} base form, {does} third person, {name} a name to use, {sig} name and parameters.
FRAMES = [
    "Write a function that {does}.",
    "Write a Python function that {does}.",
    "Write a function to {do}.",
    "Write a Python function to {do}.",
    "I need a function that {does}.",
    "I need a Python function to {do}.",
    "Give me a function that {does}.",
    "Give me a Python function which {does}.",
    "Can you write a function that {does}?",
    "Could you write a Python function to {do}?",
    "Please write a function that {does}.",
    "Please write a Python function which {does}.",
    "Implement a function that {does}.",
    "Implement a Python function to {do}.",
    "Create a function that {does}.",
    "Create a Python function to {do}.",
    "Define a function that {does}.",
    "Make a function which {does}.",
    "How do I {do} in Python?",
    "How can I {do}?",
    "Show me how to {do} in Python.",
    "Show me a function that {does}.",
    "Python code to {do}.",
    "Python function to {do}.",
    "Function that {does}.",
    "A function that {does}, please.",
    "In Python, {do}.",
    "Using Python, write code to {do}.",
    "Help me {do}.",
    "I want to {do}.",
    "I would like a function that {does}.",
    "Code a function that {does}.",
    "Write some code to {do}.",
    "Write a function called {name} that {does}.",
    "Write a function named {name} which {does}.",
    "Create a function {name} that {does}.",
    "Implement {name}, a function that {does}.",
    "Define a function called {name} to {do}.",
    "Write a Python function {sig} that {does}.",
    "Write {sig}: it {does}.",
    "Implement {sig} so that it {does}.",
    "I need a function {name} that {does}.",
]
HELD_OUT_FRAMES = [
    "Could you give me a function that {does}?",
    "Write Python code that {does}.",
    "I am looking for a function which {does}.",
    "Please implement a function to {do}.",
    "Make me a Python function that {does}.",
    "Build a function called {name} that {does}.",
]
# Never trained on, in any spelling: the sentence that the shipped model is judged by.
PINNED = [("fibonacci", "return the n-th Fibonacci number", "Write a function that {does}.")]
HELD_OUT_PAIRS = 12  # per cent of (family, description, frame)

NAME_VERBS = ["get", "find", "compute", "make", "do", "calc", "run", "my", "take", "build", "solve", "check", "process"]
NAME_NOUNS = ["result", "value", "it", "data", "answer", "thing", "output", "task", "number", "item", "list", "text", "stuff"]
PLAIN_NAMES = ["f", "g", "solve", "func", "compute", "solution", "helper", "task", "run", "process", "answer", "work", "calc", "go"]
PARAMETERS = {
    "n": ["n", "num", "number", "x", "k", "value", "count", "limit"],
    "a": ["a", "x", "first", "p"],
    "b": ["b", "y", "second", "q"],
    "s": ["s", "text", "string", "word", "line"],
    "items": ["items", "numbers", "nums", "values", "lst", "data", "xs"],
    "words": ["words", "names", "strings", "tokens"],
    "d": ["d", "data", "mapping", "table", "scores"],
    "rows": ["rows", "matrix", "grid", "m"],
}


def digest(*parts):
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


def third_person(phrase):
    verb, _, rest = phrase.partition(" ")
    if re.search(r"(s|sh|ch|x|z|o)$", verb):
        verb += "es"
    elif re.search(r"[^aeiou]y$", verb):
        verb = verb[:-1] + "ies"
    else:
        verb += "s"
    return f"{verb} {rest}" if rest else verb


def held_out_description(family, descriptions, description):
    """One of a family's descriptions is kept for evaluation when there are five or more."""
    if len(descriptions) < 5 or any(p[0] == family and p[1] == description for p in PINNED):
        return False
    free = [d for d in descriptions[1:] if not any(p[0] == family and p[1] == d for p in PINNED)]
    return description == min(free, key=lambda d: digest(family, d))


def held_out_pair(family, description, frame):
    if (family, description, frame) in PINNED:
        return True
    return digest(family, description, frame) % 100 < HELD_OUT_PAIRS


def normal(text):
    """What counts as the same request: case, punctuation and spacing aside."""
    return " ".join(re.sub(r"[^a-z0-9+*/%<>=_ -]", " ", text.lower()).split())


PINNED_NORMAL = {normal(frame.format(does=third_person(d), do=d)) for _, d, frame in PINNED}
PINNED_NORMAL |= {p.replace("n-th", "nth") for p in PINNED_NORMAL}


def random_name(rng, own):
    """The family's own name, a plain one, or two words put together."""
    kind = rng.randrange(4)
    if kind == 0:
        return own
    if kind == 1:
        return rng.choice(PLAIN_NAMES)
    if kind == 2:
        return f"{rng.choice(NAME_VERBS)}_{own}" if rng.random() < 0.5 else f"{own}_{rng.choice(NAME_NOUNS)}"
    return f"{rng.choice(NAME_VERBS)}_{rng.choice(NAME_NOUNS)}"


def rename(code, names):
    """Replaces identifiers, attributes left alone."""
    lines = code.split("\n")
    hits, before = [], ""
    for t in tokenize.generate_tokens(io.StringIO(code).readline):
        if t.type == tokenize.NAME and t.string in names and before != "." and not keyword.iskeyword(t.string):
            hits.append((t.start, t.end, names[t.string]))
        if t.type not in (tokenize.NL, tokenize.COMMENT):
            before = t.string
    for (row, start), (_, end), new in reversed(hits):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + new + line[end:]
    return "\n".join(lines)


def choose_parameters(rng, parameters, used):
    """Other names for some of the parameters; none that the code uses already."""
    names = {}
    for p in parameters:
        options = [x for x in PARAMETERS.get(p, [p]) if x == p or (x not in used and x not in names.values())]
        new = rng.choice(options) if rng.random() < 0.6 else p
        if new != p:
            names[p] = new
    return names


def style(rng, text):
    """Small differences that people make: lower case, no full stop, a word of courtesy."""
    r = rng.random()
    if r < 0.35:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.35 and text.endswith("."):
        text = text[:-1]
    if rng.random() < 0.06:
        text = text.lower()
    if rng.random() < 0.08 and re.match(r"(Write|Give|Show|Make|Create|Define|Implement|Code|Help)\b", text):
        text = "Please " + text[0].lower() + text[1:]
    return text
