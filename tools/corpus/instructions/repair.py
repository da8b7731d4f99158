"""Small faults put into correct functions, and how their repair is described. A fault counts only if the tests fail with it."""
import re

# name, pattern, replacement, what was wrong
FAULTS = [
    ("plus_minus", r" \+ ", " - ", "It must add, not subtract."),
    ("minus_plus", r" - ", " + ", "It must subtract, not add."),
    ("less", r" < ", " > ", "The comparison was the wrong way round."),
    ("greater", r" > ", " < ", "The comparison was the wrong way round."),
    ("equal", r" == ", " != ", "The condition was the wrong way round."),
    ("unequal", r" != ", " == ", "The condition was the wrong way round."),
    ("end", r"n \+ 1\)", "n)", "The range must include n."),
    ("start", r"range\(1, ", "range(2, ", "The range must begin at 1."),
    ("zero", r"(total|result|steps|count) = 0\b", r"\1 = 1", "The start value must be 0."),
    ("one", r"result = 1\b", "result = 0", "The start value must be 1."),
    ("times", r" \*= ", " += ", "It must multiply, not add."),
    ("adds", r" \+= ", " -= ", "It must add, not subtract."),
    ("product", r" \* ", " + ", "It must multiply, not add."),
    ("floor", r" // ", " / ", "It must divide to a whole number."),
    ("remainder", r" % 2", " % 3", "The remainder must be by 2."),
    ("true", r"return True", "return False", "It returned the wrong truth value."),
    ("false", r"return False", "return True", "It returned the wrong truth value."),
    ("step", r"\[::-1\]", "[::1]", "The step must be -1."),
    ("index", r"\[0\]", "[1]", "The first index is 0."),
    ("and_or", r" and ", " or ", "Both conditions must hold."),
    ("or_and", r" or ", " and ", "One condition is enough."),
    ("max", r"\bmax\(", "min(", "It must take the largest."),
    ("min", r"\bmin\(", "max(", "It must take the smallest."),
    ("not_in", r" not in ", " in ", "The condition was the wrong way round."),
    ("upper", r"\.upper\(\)", ".lower()", "It must be upper case."),
    ("lower", r"\.lower\(\)", ".upper()", "It must be lower case."),
    ("return", r"return (result|total|count|counts|steps)$", r"print(\1)", "It must return the result."),
]
REQUESTS = ["Fix this function: it should {do}.", "Fix the bug in this function. It should {do}.", "This function should {do}, but it does not. Fix it.", "Find and fix the bug: the function should {do}.",
            "There is a bug in this code. It is meant to {do}.", "What is wrong with this function? It should {do}.", "Please correct this code so that it {does}.", "Debug this function that {does}.",
            "My code does not work. It should {do}.", "Repair this function, which {does}."]
HELD_OUT_REQUESTS = ["Can you fix this function? It should {do}.", "This code is broken: it should {do}."]
EXPLAIN = ["What does this function do?", "Explain this code.", "Explain this function.", "What does this code do?", "Tell me what this function does.", "Describe this function.", "Describe what this code does.",
           "Can you explain this code?", "What is the purpose of this function?", "Say in one sentence what this code does."]
HELD_OUT_EXPLAIN = ["Please explain what this function does.", "What is this code for?"]


def faults(code):
    """(name, code with one fault, what was wrong) for every place where a fault fits."""
    head = code.index("\n") if "\n" in code else 0
    for name, pattern, new, wrong in FAULTS:
        for hit in re.finditer(pattern, code, re.M):
            if hit.start() > head:
                yield name, code[:hit.start()] + hit.expand(new) + code[hit.end():], wrong
