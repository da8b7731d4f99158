"""Families that ask for recursion."""
import itertools
import math

from family import TEXTS, add


def nested(r, depth=3):
    return [nested(r, depth - 1) if depth > 1 and r.random() < 0.4 else r.randrange(9) for _ in range(r.randrange(1, 4))]


def leaves(x):
    return [int(c) for c in repr(x) if c.isdigit()]


add("factorial_recursive(n)", "    if n <= 1:\n        return 1\n    return n * factorial_recursive(n - 1)", "The case n <= 1 ends the recursion.", math.factorial,
    "compute the factorial recursively", "return the factorial of n with recursion", "calculate n factorial by recursion", "find the factorial using a recursive function",
    "recursively compute n!", topics=["a recursive factorial"])
add("fibonacci_recursive(n)", "    if n < 2:\n        return n\n    return fibonacci_recursive(n - 1) + fibonacci_recursive(n - 2)", "The first two numbers end the recursion.",
    lambda n: [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144][n],
    "compute the n-th Fibonacci number recursively", "return the nth Fibonacci number with recursion", "calculate Fibonacci numbers by recursion", "find the nth Fibonacci number using recursion",
    "recursively compute Fibonacci numbers", topics=["a recursive Fibonacci function"])
add("sum_recursive(items)", "    if not items:\n        return 0\n    return items[0] + sum_recursive(items[1:])", "The empty list ends the recursion.", sum,
    "sum a list recursively", "add the numbers of a list with recursion", "compute the sum of a list by recursion", "return the sum of a list using recursion", "recursively add up a list")
add("power_recursive(base, n)", "    if n == 0:\n        return 1\n    return base * power_recursive(base, n - 1)", "The exponent 0 ends the recursion.", lambda b, n: b ** n,
    "compute a power recursively", "raise a number to the power n with recursion", "calculate base to the power n by recursion", "return base ** n using recursion", "recursively compute a power",
    args=lambda r: (r.randrange(-3, 6), r.randrange(0, 7)))
add("reverse_recursive(s)", "    if s == \"\":\n        return \"\"\n    return reverse_recursive(s[1:]) + s[0]", "The empty string ends the recursion.", lambda s: s[::-1],
    "reverse a string recursively", "turn a string around with recursion", "reverse a string by recursion", "return the reverse of a string using recursion", "recursively reverse a text")
add("count_down_recursive(n)", "    if n == 0:\n        return []\n    return [n] + count_down_recursive(n - 1)", "Zero ends the recursion.", lambda n: list(range(n, 0, -1)),
    "count down from n recursively", "make a countdown list with recursion", "list the numbers from n to 1 by recursion", "return a countdown from n using recursion", "recursively count down from n")
add("gcd_recursive(a, b)", "    if b == 0:\n        return a\n    return gcd_recursive(b, a % b)", "A remainder of 0 ends the recursion.", math.gcd,
    "compute the gcd recursively", "return the greatest common divisor with recursion", "calculate the gcd of two numbers by recursion", "find the greatest common divisor using recursion",
    "recursively compute the gcd of a and b")
add("is_palindrome_recursive(s)", "    if len(s) < 2:\n        return True\n    return s[0] == s[-1] and is_palindrome_recursive(s[1:-1])", "It compares the ends and goes inside.", lambda s: s == s[::-1],
    "check for a palindrome recursively", "test if a string is a palindrome with recursion", "check if a word is a palindrome by recursion", "tell whether a string is a palindrome using recursion",
    "recursively check if a string is a palindrome", args=lambda r: (r.choice(["level", "noon", "abc", "", "x", "abca", "radar"]),))
add("sum_digits_recursive(n)", "    if n < 10:\n        return n\n    return n % 10 + sum_digits_recursive(n // 10)", "A single digit ends the recursion.", lambda n: sum(map(int, str(n))),
    "sum the digits of a number recursively", "compute the digit sum with recursion", "add the digits of n by recursion", "return the sum of digits using recursion", "recursively add the digits of a number",
    args=lambda r: (r.randrange(0, 99999),))
add("max_recursive(items)", "    if len(items) == 1:\n        return items[0]\n    rest = max_recursive(items[1:])\n    return items[0] if items[0] > rest else rest", "One element ends the recursion.", max,
    "find the largest number of a list recursively", "return the maximum of a list with recursion", "compute the maximum of a list by recursion", "get the biggest element using recursion",
    "recursively find the maximum of a list")
add("length_recursive(items)", "    if not items:\n        return 0\n    return 1 + length_recursive(items[1:])", "The empty list ends the recursion.", len,
    "compute the length of a list recursively", "count the elements of a list with recursion", "find the length of a list by recursion", "return the length of a list using recursion",
    "recursively count the items of a list")
add("flatten_deep(items)", "    result = []\n    for x in items:\n        if isinstance(x, list):\n            result += flatten_deep(x)\n        else:\n            result.append(x)\n    return result", "Lists inside are flattened first.", leaves,
    "flatten a nested list of any depth", "flatten deeply nested lists", "flatten a list recursively", "turn a nested list of any depth into a flat list", "recursively flatten a list of lists",
    args=lambda r: (nested(r),))
add("depth(items)", "    if not isinstance(items, list):\n        return 0\n    return 1 + max((depth(x) for x in items), default=0)", "A list is one deeper than its deepest element.",
    lambda v: max(t.count("[") - t.count("]") for t in (repr(v)[:i] for i in range(len(repr(v)) + 1))),
    "compute the depth of a nested list", "return how deep a list is nested", "find the nesting depth of a list", "calculate the maximum depth of nested lists", "tell how deeply lists are nested",
    args=lambda r: (nested(r),))
add("sum_nested(items)", "    total = 0\n    for x in items:\n        if isinstance(x, list):\n            total += sum_nested(x)\n        else:\n            total += x\n    return total", "Lists inside are summed first.",
    lambda v: sum(leaves(v)),
    "sum a nested list", "add all numbers in nested lists", "compute the sum of a nested list of any depth", "return the sum of all numbers in a nested list", "recursively sum nested lists",
    args=lambda r: (nested(r),))
add("permutations(items)", "    if len(items) <= 1:\n        return [items]\n    result = []\n    for i, x in enumerate(items):\n        for rest in permutations(items[:i] + items[i + 1:]):\n            result.append([x] + rest)\n    return result",
    "Each element comes first once.", lambda v: [list(p) for p in itertools.permutations(v)],
    "return all permutations of a list", "list every order of the elements of a list", "generate all permutations of a list", "compute the permutations of a list", "find all arrangements of a list",
    topics=["permutations"], args=lambda r: (r.sample(range(9), r.randrange(1, 4)),))
add("subsets(items)", "    if not items:\n        return [[]]\n    rest = subsets(items[1:])\n    return rest + [[items[0]] + x for x in rest]", "Each subset has the first element or not.",
    lambda v: [[v[i] for i in range(len(v)) if m >> (len(v) - 1 - i) & 1] for m in range(2 ** len(v))],
    "return all subsets of a list", "list every subset of a list", "generate the power set of a list", "compute all subsets of a list", "find all subsets of a set of items",
    topics=["subsets", "the power set"], args=lambda r: (r.sample(range(9), r.randrange(0, 4)),))
add("hanoi(n)", "    if n == 0:\n        return 0\n    return 2 * hanoi(n - 1) + 1", "Two moves of n - 1 disks and one of the largest.", lambda n: 2 ** n - 1,
    "count the moves of the tower of Hanoi", "return the number of moves for the towers of Hanoi with n disks", "compute how many moves the tower of Hanoi needs", "solve the tower of Hanoi and count the moves",
    "tell how many moves n disks take in the tower of Hanoi", topics=["the tower of Hanoi"])
add("binary_recursive(n)", "    if n < 2:\n        return str(n)\n    return binary_recursive(n // 2) + str(n % 2)", "The last bit is the remainder by 2.", lambda n: format(n, "b"),
    "convert a number to binary recursively", "return the binary text of a number with recursion", "turn an integer into binary by recursion", "write a number in binary using recursion",
    "recursively convert n to binary", args=lambda r: (r.randrange(0, 300),))
add("combinations(n, k)", "    if k == 0 or k == n:\n        return 1\n    return combinations(n - 1, k - 1) + combinations(n - 1, k)", "This is Pascal's triangle.", math.comb,
    "compute the binomial coefficient", "return the number of ways to choose k of n", "calculate n choose k", "find how many ways there are to pick k out of n items", "compute n over k",
    topics=["the binomial coefficient"], args=lambda r: (lambda n: (n, r.randrange(0, n + 1)))(r.randrange(1, 9)))
add("count_in_nested(items, x)", "    total = 0\n    for y in items:\n        if isinstance(y, list):\n            total += count_in_nested(y, x)\n        elif y == x:\n            total += 1\n    return total", "Lists inside are counted first.",
    lambda v, x: leaves(v).count(x),
    "count a value in a nested list", "count how often x occurs in nested lists", "return the number of times a value is in a nested list", "tell how often a value occurs at any depth",
    "recursively count a value in lists", args=lambda r: (nested(r), r.randrange(9)))
