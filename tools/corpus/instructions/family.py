"""What a family of tasks is: a signature, a solution, an oracle that computes the right results another way, wordings."""
import random
import re

FAMILIES = {}


class Family:
    """One function that people ask for. `body` is the solution's text below the def line (or above it, for helpers: see
    `whole`), `note` the sentence that follows the code, `does` its descriptions, `topics` short names of the task."""

    def __init__(self, signature, body, note, oracle, does, topics=(), args=None, whole=False):
        self.signature, self.note, self.oracle, self.does, self.topics, self.args = signature, note, oracle, list(does), list(topics), args
        self.name = signature.split("(")[0]
        self.parameters = [p.strip() for p in signature[len(self.name) + 1:-1].split(",") if p.strip()]
        body = body.strip("\n")
        self.code = body if whole else f"def {signature}:\n{body}"

    def cases(self, rng, n):
        """n argument tuples with the oracle's results, no two alike where the domain allows."""
        found = {}
        for _ in range(n * 6):
            args = self.args(rng) if self.args else tuple(random_argument(rng, p) for p in self.parameters)
            found.setdefault(repr(args), args)
            if len(found) == n:
                break
        return [(args, self.oracle(*copied(args))) for args in found.values()]


def copied(args):
    """Solutions may change their arguments."""
    return tuple(list(a) if isinstance(a, list) else dict(a) if isinstance(a, dict) else a for a in args)


WORDS = ("apple banana cherry kite lamp moon river stone tree bird level noon radar civic code data list loop test word "
         "green blue red cat dog horse house light night paper queen python").split()
TEXTS = ("hello world", "the cat sat on the mat", "Python is fun", "a man a plan a canal panama", "never odd or even", "12 apples and 7 pears",
         "Hello, World!", "ab12cd", "  spaced  out ", "", "x", "level", "Mississippi", "race car", "aabbbc", "One Two three")


def random_argument(rng, parameter):
    kind = parameter.split("=")[0]
    if kind in ("n", "a", "b", "k"):
        return rng.randrange(0, 13)
    if kind in ("s", "t"):
        return rng.choice(TEXTS) if rng.random() < 0.6 else " ".join(rng.sample(WORDS, rng.randrange(1, 5)))
    if kind in ("items", "xs", "ys"):
        return [rng.randrange(-9, 21) for _ in range(rng.choice([1, 2, 3, 5, 6, 8]))]
    if kind == "words":
        return [rng.choice(WORDS) for _ in range(rng.randrange(1, 7))]
    if kind in ("d", "other"):
        return {w: rng.randrange(-3, 10) for w in rng.sample(WORDS, rng.randrange(1, 6))}
    if kind == "rows":
        w = rng.randrange(1, 4)
        return [[rng.randrange(-5, 10) for _ in range(w)] for _ in range(rng.randrange(1, 4))]
    raise KeyError(parameter)


def add(signature, body, note, oracle, *does, topics=(), args=None, whole=False):
    f = Family(signature, body, note, oracle, does, topics, args, whole)
    assert f.name not in FAMILIES, f.name
    assert len(set(does)) == len(does) >= 3 and not any(re.search(r"[.{}]$", d) for d in does), f.name
    FAMILIES[f.name] = f
