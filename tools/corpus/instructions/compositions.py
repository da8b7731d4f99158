"""Families without end: functions put together from parts, each part with its words, its code and its meaning.

A composition's key names its parts; whether it is held out is decided by a hash of the key alone, so that no wording of a
held-out composition is ever trained on, while each of its parts is seen in others.
"""
import math
import operator

from family import WORDS, Family
from wording import digest

HELD_OUT_COMPOSITIONS = 15  # per cent


class Composition(Family):
    def __init__(self, key, *args, **more):
        super().__init__(*args, **more)
        self.key = key

    def held_out(self):
        return digest("composition", *self.key) % 100 < HELD_OUT_COMPOSITIONS


def is_prime(n):
    return n > 1 and all(n % i for i in range(2, n))


# name, phrases of "{x} numbers" (before or behind the noun), condition, meaning
def filters(rng):
    k = rng.randrange(3, 13)
    return [
        ("all", [("{N}", "")], "", lambda x: True),
        ("even", [("even {N}", ""), ("{N} that are even", "")], "x % 2 == 0", lambda x: not x & 1),
        ("odd", [("odd {N}", ""), ("{N} that are odd", "")], "x % 2 != 0", lambda x: bool(x & 1)),
        ("positive", [("positive {N}", ""), ("{N} that are positive", "")], "x > 0", lambda x: x > 0),
        ("negative", [("negative {N}", ""), ("{N} that are negative", "")], "x < 0", lambda x: x < 0),
        ("nonzero", [("nonzero {N}", ""), ("{N} that are not zero", "")], "x != 0", lambda x: x != 0),
        ("above", [(f"{{N}} greater than {k}", k), (f"{{N}} above {k}", k), (f"{{N}} larger than {k}", k)], f"x > {k}", lambda x: x > k),
        ("below", [(f"{{N}} less than {k}", k), (f"{{N}} below {k}", k), (f"{{N}} smaller than {k}", k)], f"x < {k}", lambda x: x < k),
        ("multiples", [(f"{{N}} divisible by {k}", k), (f"multiples of {k}", k), (f"{{N}} that are multiples of {k}", k)], f"x % {k} == 0", lambda x: x % k == 0),
        ("not_multiples", [(f"{{N}} not divisible by {k}", k), (f"{{N}} that are not divisible by {k}", k)], f"x % {k} != 0", lambda x: x % k != 0),
        ("between", [(f"{{N}} between {k} and {k + 5}", k), (f"{{N}} in the range from {k} to {k + 5}", k)], f"{k} <= x <= {k + 5}", lambda x: x in range(k, k + 6)),
    ]


def maps(rng):
    k = rng.randrange(3, 13)
    return [
        ("", ["the {N}"], "x", lambda x: x),
        ("squares", ["the squares of the {N}", "the squared {N}"], "x * x", lambda x: x ** 2),
        ("cubes", ["the cubes of the {N}", "the cubed {N}"], "x ** 3", lambda x: x * x * x),
        ("doubled", ["the doubles of the {N}", "the doubled {N}", "twice the {N}"], "x * 2", lambda x: x + x),
        ("absolute", ["the absolute values of the {N}"], "abs(x)", lambda x: max(x, -x)),
        ("negated", ["the negated {N}", "the negatives of the {N}"], "-x", lambda x: 0 - x),
        ("plus", [f"the {{N}} plus {k}", f"the {{N}} increased by {k}"], f"x + {k}", lambda x: x - (-k)),
        ("times", [f"the {{N}} times {k}", f"the {{N}} multiplied by {k}"], f"x * {k}", lambda x: sum([x] * k)),
        ("last_digits", ["the last digits of the {N}"], "abs(x) % 10", lambda x: int(str(x)[-1])),
        ("minus", [f"the {{N}} minus {k}", f"the {{N}} decreased by {k}"], f"x - {k}", lambda x: x + (-k)),
    ]


# name, phrases with {M} for what is taken, code with {e} expression, {x} loop over, meaning of a list
REDUCERS = [
    ("sum", ["return the sum of {M}", "add up {M}", "compute the sum of {M}", "sum {M}"], "    return sum({e} {x})", lambda v: -sum(-x for x in v), "It adds {M}."),
    ("product", ["return the product of {M}", "compute the product of {M}", "multiply {M}"],
     "    result = 1\n    for x in {over}:\n{guard}        {pad}result *= {e}\n    return result", math.prod, "It multiplies {M}."),
    ("list", ["return a list of {M}", "make a list of {M}", "list {M}", "collect {M} in a list"], "    return [{e} {x}]", list, "It collects {M}."),
    ("max", ["return the largest of {M}", "find the maximum of {M}", "get the biggest of {M}"], "    return max(({e} {x}), default=None)", lambda v: sorted(v)[-1] if v else None, "It returns None when there are none."),
    ("min", ["return the smallest of {M}", "find the minimum of {M}", "get the least of {M}"], "    return min(({e} {x}), default=None)", lambda v: sorted(v)[0] if v else None, "It returns None when there are none."),
    ("sorted", ["return {M} in sorted order", "sort {M}", "return a sorted list of {M}"], "    return sorted({e} {x})", sorted, "It sorts {M}."),
    ("set", ["return the set of {M}", "make a set of {M}", "collect {M} in a set"], "    return {{{e} {x}}}", set, "A set keeps each value once."),
    ("average", ["return the average of {M}", "compute the mean of {M}", "find the average of {M}"],
     "    values = [{e} {x}]\n    if not values:\n        return 0\n    return sum(values) / len(values)", lambda v: sum(v) / len(v) if v else 0, "It returns 0 when there are none."),
    ("reversed", ["return {M} in reverse order", "list {M} backwards", "return a list of {M} in reverse order"], "    return [{e} {x}][::-1]", lambda v: list(reversed(v)), "The slice reverses the list."),
    ("first", ["return the first of {M}", "find the first of {M}", "get the first of {M}"], "    return next(({e} {x}), None)", lambda v: v[0] if v else None, "It returns None when there are none."),
]
COUNT = ("count", ["count {M}", "return the number of {M}", "tell how many of {M} there are"], "    return sum(1 {x})", len, "It counts {M}.")


def number_pipeline(rng):
    """A reducer over mapped and filtered numbers of a list or a range."""
    over_list = rng.random() < 0.7
    where = rng.choice(["in a list", "of a list"]) if over_list else "from 1 to n"
    f_name, f_phrases, condition, keep = rng.choice(filters(rng))
    m_name, m_phrases, expression, change = rng.choice(maps(rng))
    r_name, r_phrases, template, reduce, note = rng.choice(REDUCERS + [COUNT])
    if r_name == "count":
        m_name, m_phrases, expression, change = maps(rng)[0]
    if (f_name == "all" and m_name == "") or (not over_list and f_name in ("negative", "positive", "nonzero")):
        return None
    noun = rng.choice(["numbers", "elements"]) if over_list else "numbers"
    what = rng.choice(m_phrases).replace("{N}", rng.choice(f_phrases)[0].replace("{N}", noun))
    over = "items" if over_list else "range(1, n + 1)"
    loop = f"for x in {over}" + (f" if {condition}" if condition else "")
    guard, pad = (f"        if {condition}:\n", "    ") if condition else ("", "")
    code = template.format(e=expression, x=loop, over=over, guard=guard, pad=pad)
    does = [p.replace("{M}", f"{what} {where}") for p in r_phrases]
    name = "_".join(p for p in (r_name, m_name, "" if f_name == "all" else f_name) if p)

    def oracle(v):
        return reduce([change(x) for x in (v if over_list else range(1, v + 1)) if keep(x)])

    return Composition(("numbers", "list" if over_list else "range", r_name, m_name, f_name), f"{name}({'items' if over_list else 'n'})", code,
                       note.replace("{M}", what), oracle, does, args=None if over_list else lambda r: (r.randrange(0, 25),))


def word_filters(rng):
    k, c = rng.randrange(3, 7), rng.choice("abcdlmnprst")
    return [
        ("all", ["words"], "", lambda w: True),
        ("longer", [f"words longer than {k} letters", f"words with more than {k} letters"], f"len(w) > {k}", lambda w: len(w) >= k + 1),
        ("shorter", [f"words shorter than {k} letters", f"words with fewer than {k} letters"], f"len(w) < {k}", lambda w: len(w) <= k - 1),
        ("starting", [f"words that start with \"{c}\"", f"words starting with \"{c}\""], f'w.startswith("{c}")', lambda w: w[:1] == c),
        ("ending", [f"words that end with \"{c}\"", f"words ending with \"{c}\""], f'w.endswith("{c}")', lambda w: w[-1:] == c),
        ("containing", [f"words that contain \"{c}\"", f"words containing \"{c}\"", f"words with a \"{c}\""], f'"{c}" in w', lambda w: w.find(c) >= 0),
        ("palindromes", ["words that are palindromes", "palindromes"], "w == w[::-1]", lambda w: list(w) == list(reversed(w))),
    ]


WORD_MAPS = [
    ("", ["the {N}"], "w", lambda w: w),
    ("upper", ["the {N} in upper case", "the upper case {N}"], "w.upper()", lambda w: "".join(c.upper() for c in w)),
    ("capitalized", ["the capitalized {N}", "the {N} with a capital letter"], "w.capitalize()", lambda w: w[:1].upper() + w[1:].lower()),
    ("reversed", ["the reversed {N}", "the {N} spelled backwards"], "w[::-1]", lambda w: "".join(reversed(w))),
    ("lengths", ["the lengths of the {N}"], "len(w)", len),
    ("initials", ["the first letters of the {N}"], "w[0]", lambda w: w[:1]),
]
WORD_REDUCERS = [
    ("list", ["return a list of {M}", "make a list of {M}", "collect {M}"], "    return [{e} {x}]", list, "It collects {M}."),
    ("sorted", ["return {M} in sorted order", "sort {M}", "return a sorted list of {M}"], "    return sorted({e} {x})", sorted, "It sorts {M}."),
    ("set", ["return the set of {M}", "make a set of {M}"], "    return {{{e} {x}}}", set, "A set keeps each value once."),
    ("joined", ["join {M} with commas", "return {M} as one string with commas", "put {M} into a text with commas"], "    return \",\".join({s} {x})", lambda v: ",".join(map(str, v)), "It joins them with commas."),
    ("longest", ["return the longest of {M}", "find the longest of {M}"], "    return max(({e} {x}), key=len, default=None)", lambda v: next((w for w in v if len(w) == max(map(len, v))), None), "It returns None when there are none."),
    ("total_length", ["return the total length of {M}", "compute the sum of the lengths of {M}"], "    return sum(len({e}) {x})", lambda v: len("".join(v)), "It adds the lengths."),
    ("first", ["return the first of {M}", "get the first of {M}"], "    return next(({e} {x}), None)", lambda v: v[0] if v else None, "It returns None when there are none."),
]
WORD_COUNT = ("count", ["count {M}", "return the number of {M}", "tell how many of {M} there are"], "    return sum(1 {x})", len, "It counts {M}.")


def word_pipeline(rng):
    f_name, f_phrases, condition, keep = rng.choice(word_filters(rng))
    m_name, m_phrases, expression, change = rng.choice(WORD_MAPS)
    r_name, r_phrases, template, reduce, note = rng.choice(WORD_REDUCERS + [WORD_COUNT])
    if r_name in ("count", "total_length", "longest"):
        m_name, m_phrases, expression, change = WORD_MAPS[0]
    if f_name == "all" and m_name == "":
        return None
    what = rng.choice(m_phrases).replace("{N}", rng.choice(f_phrases))
    loop = "for w in words" + (f" if {condition}" if condition else "")
    code = template.format(e=expression, x=loop, s=f"str({expression})" if m_name == "lengths" else expression)
    does = [p.replace("{M}", f"{what} {rng.choice(['in a list', 'of a list'])}") for p in r_phrases]
    name = "_".join(p for p in (r_name, m_name, "" if f_name == "all" else f_name) if p)
    return Composition(("words", r_name, m_name, f_name), f"{name}(words)", code, note.replace("{M}", what),
                       lambda v: reduce([change(w) for w in v if keep(w)]), does,
                       args=lambda r: ([r.choice(WORDS + ["cat", "abba", "dad", "mom", "pop"]) for _ in range(r.randrange(0, 8))],))


def string_steps(rng):
    c, d, k = rng.choice("aeiost"), rng.choice("xyz*-_"), rng.randrange(2, 6)
    # name, phrase for the first step, phrase for a later one, code, meaning
    return [
        ("lower", "convert a string to lower case", "convert it to lower case", "s.lower()", lambda s: "".join(x.lower() for x in s)),
        ("upper", "convert a string to upper case", "convert it to upper case", "s.upper()", lambda s: "".join(x.upper() for x in s)),
        ("reverse", "reverse a string", "reverse it", "s[::-1]", lambda s: "".join(reversed(s))),
        ("strip", "strip white space from a string", "strip white space from it", "s.strip()", lambda s: s.lstrip().rstrip()),
        ("no_spaces", "remove the spaces from a string", "remove its spaces", 's.replace(" ", "")', lambda s: "".join(s.split(" "))),
        ("no_vowels", "remove the vowels from a string", "remove its vowels", '"".join(c for c in s if c.lower() not in "aeiou")', lambda s: s.translate({ord(x): None for x in "aeiouAEIOU"})),
        ("no_digits", "remove the digits from a string", "remove its digits", '"".join(c for c in s if not c.isdigit())', lambda s: s.translate({ord(x): None for x in "0123456789"})),
        ("letters", "keep only the letters of a string", "keep only its letters", '"".join(c for c in s if c.isalpha())', lambda s: "".join(filter(str.isalpha, s))),
        ("first", f"take the first {k} characters of a string", f"take its first {k} characters", f"s[:{k}]", lambda s: s[0:k]),
        ("last", f"take the last {k} characters of a string", f"take its last {k} characters", f"s[-{k}:]", lambda s: s[max(0, len(s) - k):]),
        ("replace", f'replace "{c}" by "{d}" in a string', f'replace "{c}" by "{d}" in it', f's.replace("{c}", "{d}")', lambda s: d.join(s.split(c))),
        ("append", f'append "{d}" to a string', f'append "{d}" to it', f's + "{d}"', lambda s: f"{s}{d}"),
        ("prepend", f'put "{d}" before a string', f'put "{d}" before it', f'"{d}" + s', lambda s: f"{d}{s}"),
        ("repeat", f"repeat a string {k} times", f"repeat it {k} times", f"s * {k}", lambda s: "".join([s] * k)),
        ("sort", "sort the characters of a string", "sort its characters", '"".join(sorted(s))', lambda s: "".join(x for n in range(0x250) for x in s if ord(x) == n)),
        ("swapcase", "swap the case of a string", "swap its case", "s.swapcase()", lambda s: "".join(x.lower() if x.isupper() else x.upper() for x in s)),
    ]


STRING_ENDS = [
    ("", None, "s", lambda s: s),
    ("length", "return its length", "len(s)", lambda s: sum(1 for _ in s)),
    ("words", "split it into words", "s.split()", lambda s: [w for w in s.split(" ") if w]),
    ("vowels", "count its vowels", 'sum(1 for c in s if c.lower() in "aeiou")', lambda s: sum(map(s.lower().count, "aeiou"))),
    ("is_palindrome", "check if it is a palindrome", "s == s[::-1]", lambda s: list(s) == list(reversed(s))),
    ("unique", "return the set of its characters", "set(s)", lambda s: {x for x in s}),
    ("list", "return a list of its characters", "list(s)", lambda s: [x for x in s]),
]
LINKS = ["{a} and {b}", "{a}, then {b}", "{a} and then {b}"]
LINKS3 = ["{a}, {b} and {c}", "{a}, {b}, then {c}", "{a}, then {b} and {c}"]


def string_chain(rng):
    """Two or three steps on a string, the last of which may leave the strings."""
    steps = rng.sample(string_steps(rng), 2)
    end = rng.choice(STRING_ENDS) if rng.random() < 0.6 else STRING_ENDS[0]
    if end[0] and rng.random() < 0.6:
        steps = steps[:1]
    phrases = [steps[0][1]] + [s[2] for s in steps[1:]] + ([end[1]] if end[0] else [])
    if len(phrases) < 2:
        return None
    links = LINKS if len(phrases) == 2 else LINKS3
    does = [link.format(a=phrases[0], b=phrases[1], c=phrases[-1]) for link in links]
    code = "".join(f"    s = {s[3]}\n" for s in steps) + f"    return {end[2]}"
    if not end[0]:
        code = "".join(f"    s = {s[3]}\n" for s in steps[:-1]) + f"    return {steps[-1][3]}"
    name = "_".join([s[0] for s in steps] + ([end[0]] if end[0] else []))

    def oracle(s):
        for step in steps:
            s = step[4](s)
        return end[3](s)

    return Composition(("string", *[s[0] for s in steps], end[0]), f"{name}(s)", code, "Each line does one step." if len(phrases) > 2 or end[0] else "The steps are done in order.",
                       oracle, does)


def predicates(rng):
    k, j = rng.randrange(3, 13), rng.randrange(2, 60)
    return [
        ("even", "even", "n % 2 == 0", lambda n: not n & 1),
        ("odd", "odd", "n % 2 == 1", lambda n: bool(n & 1)),
        ("positive", "positive", "n > 0", lambda n: n > 0),
        ("negative", "negative", "n < 0", lambda n: n < 0),
        ("multiple", f"divisible by {k}", f"n % {k} == 0", lambda n: n // k * k == n),
        ("not_multiple", f"not divisible by {k}", f"n % {k} != 0", lambda n: n // k * k != n),
        ("above", f"greater than {j}", f"n > {j}", lambda n: n > j),
        ("below", f"less than {j}", f"n < {j}", lambda n: n < j),
        ("between", f"between {j} and {j + 20}", f"{j} <= n <= {j + 20}", lambda n: n in range(j, j + 21)),
        ("square", "a perfect square", "n >= 0 and int(n ** 0.5) ** 2 == n", lambda n: n in [i * i for i in range(20)]),
        ("ends_with", f"a number that ends in {k % 10}", f"abs(n) % 10 == {k % 10}", lambda n: str(n)[-1] == str(k % 10)),
    ]


CHECKS = ["check if a number is {P}", "return True if n is {P}", "tell whether a number is {P}", "test if a number is {P}"]


def number_check(rng):
    """Two conditions on a number, or one that chooses between two answers."""
    a, b = rng.sample(predicates(rng), 2)
    kind = rng.choice(["and", "or", "choose", "choose"])
    numbers = lambda r: (r.choice([r.randrange(-20, 90), r.randrange(0, 30)]),)  # noqa: E731
    if kind == "choose":
        yes, no = rng.sample(["yes", "no", "big", "small", "good", "bad", "hot", "cold", "in", "out", "even", "odd", "left", "right", "ok", "wrong"], 2)
        does = [w.format(y=f'"{yes}"', n=f'"{no}"', P=a[1]) for w in
                ("return {y} if a number is {P} and {n} otherwise", "return {y} if n is {P}, else {n}", "give {y} for a number that is {P} and {n} for others")]
        return Composition(("choose", a[0]), f"{a[0]}_or_not(n)", f'    if {a[2]}:\n        return "{yes}"\n    return "{no}"', "The condition decides.",
                           lambda n: yes if a[3](n) else no, does, args=numbers)
    does = [c.format(P=f"{a[1]} {kind} {b[1]}") for c in CHECKS]
    either = [f"({p[2]})" if " and " in p[2] and kind == "or" else p[2] for p in (a, b)]
    joined = operator.and_ if kind == "and" else operator.or_
    return Composition(("check", kind, *sorted((a[0], b[0]))), f"is_{a[0]}_{kind}_{b[0]}(n)", f"    return {either[0]} {kind} {either[1]}",
                       "Both conditions must hold." if kind == "and" else "One condition is enough.", lambda n: joined(bool(a[3](n)), bool(b[3](n))), does, args=numbers)


def arithmetic_chain(rng):
    """Two steps of arithmetic on a number."""
    k, j = rng.randrange(2, 20), rng.randrange(2, 20)
    steps = [("double", "double a number", "double it", "({}) * 2", lambda n: n + n), ("square", "square a number", "square it", "({}) ** 2", lambda n: n * n),
             ("add", f"add {k} to a number", f"add {k}", "({}) + " + str(k), lambda n: n - -k), ("subtract", f"subtract {k} from a number", f"subtract {k}", "({}) - " + str(k), lambda n: n + -k),
             ("multiply", f"multiply a number by {j}", f"multiply by {j}", "({}) * " + str(j), lambda n: sum([n] * j)), ("negate", "negate a number", "negate it", "-({})", lambda n: 0 - n),
             ("remainder", f"take a number modulo {j}", f"take it modulo {j}", "({}) % " + str(j), lambda n: n - n // j * j), ("halve", "halve a number", "halve it", "({}) // 2", lambda n: (n - n % 2) // 2)]
    a, b = rng.sample(steps, 2)
    first = a[3].format("n").replace("(n)", "n")
    code = f"    n = {first}\n    return {b[3].format('n').replace('(n)', 'n')}"
    does = [link.format(a=a[1], b=b[2]) for link in LINKS]
    return Composition(("arithmetic", a[0], b[0]), f"{a[0]}_{b[0]}(n)", code, "The steps are done in order.", lambda n: b[4](a[4](n)), does)


def dict_pipeline(rng):
    """Entries of a dictionary by a condition on the value, and what to return of them."""
    k = rng.randrange(1, 9)
    conditions = [("above", [f"greater than {k}", f"above {k}"], f"v > {k}", lambda v: v > k), ("below", [f"less than {k}", f"below {k}"], f"v < {k}", lambda v: v < k),
                  ("even", ["that is even"], "v % 2 == 0", lambda v: not v & 1), ("odd", ["that is odd"], "v % 2 != 0", lambda v: bool(v & 1)),
                  ("positive", ["that is positive"], "v > 0", lambda v: v > 0), ("equal", [f"equal to {k}", f"of exactly {k}"], f"v == {k}", lambda v: v == k),
                  ("not_equal", [f"other than {k}", f"different from {k}"], f"v != {k}", lambda v: not v == k)]
    takes = [("keys", ["return the keys with a value {P}", "list the keys whose value is one {P}", "find all keys with a value {P}"], "    return [k for k, v in d.items() if {c}]", lambda p: [k for k, _ in p]),
             ("filter", ["keep only the entries of a dictionary with a value {P}", "return a dict of the items with a value {P}", "filter a dictionary for values that are {Q}"], "    return {{k: v for k, v in d.items() if {c}}}", dict),
             ("count", ["count the entries of a dictionary with a value {P}", "return how many values of a dict are {Q}", "tell how many items have a value {P}"], "    return sum(1 for v in d.values() if {c})", len),
             ("sum", ["add the values of a dictionary that are {Q}", "return the sum of the values in a dict that are {Q}", "sum all values of a dictionary that are {Q}"], "    return sum(v for v in d.values() if {c})", lambda p: sum(v for _, v in p)),
             ("values", ["return the values of a dictionary that are {Q}", "list all values of a dict that are {Q}", "collect the values of a dictionary that are {Q}"], "    return [v for v in d.values() if {c}]", lambda p: [v for _, v in p]),
             ("sorted_keys", ["return the sorted keys with a value {P}", "sort the keys whose value is one {P}", "list in order the keys with a value {P}"], "    return sorted(k for k, v in d.items() if {c})", lambda p: sorted(k for k, _ in p)),
             ("any", ["check if any value of a dictionary is {Q}", "tell whether a dict has a value {P}", "return True if some value is {Q}"], "    return any({c} for v in d.values())", lambda p: len(p) > 0)]
    c_name, c_phrases, condition, keep = rng.choice(conditions)
    t_name, t_phrases, template, take = rng.choice(takes)
    p = rng.choice(c_phrases)
    q = p.removeprefix("that is ").replace("of exactly", "equal to")
    does = [x.format(P=p, Q=q) for x in t_phrases]
    return Composition(("dict", t_name, c_name), f"{t_name}_{c_name}(d)", template.format(c=condition), "It looks at each value.", lambda d: take([i for i in d.items() if keep(i[1])]), does)


MAKERS = [(number_pipeline, 40), (word_pipeline, 18), (string_chain, 22), (number_check, 12), (arithmetic_chain, 8), (dict_pipeline, 10)]


def make(rng):
    """A random composition."""
    while True:
        c = rng.choices([m for m, _ in MAKERS], [w for _, w in MAKERS])[0](rng)
        if c:
            return c
