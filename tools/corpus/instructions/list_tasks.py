"""Families about lists, dictionaries and small algorithms."""
import bisect
import functools
import itertools

from family import WORDS, add


def ordered(r):
    return sorted(r.sample(range(-10, 30), r.randrange(1, 9)))


add("sum_list(items)", "    total = 0\n    for x in items:\n        total += x\n    return total", "It adds the numbers in a loop.", sum,
    "return the sum of a list", "add all numbers in a list", "compute the sum of the numbers in a list", "sum the elements of a list", "calculate the total of a list of numbers",
    "add up a list of numbers", topics=["the sum of a list"])
add("product_list(items)", "    result = 1\n    for x in items:\n        result *= x\n    return result", "It multiplies the numbers in a loop.",
    lambda v: functools.reduce(lambda a, b: a * b, v, 1),
    "return the product of a list", "multiply all numbers in a list", "compute the product of the numbers in a list", "multiply the elements of a list",
    "calculate the product of a list of numbers")
add("average_list(items)", "    if not items:\n        return 0\n    return sum(items) / len(items)", "An empty list gives 0.", lambda v: sum(v) / len(v) if v else 0,
    "return the average of a list", "compute the mean of a list of numbers", "calculate the average of the numbers in a list", "find the average value of a list",
    "get the mean of a list", topics=["the average of a list"])
add("median(items)", "    items = sorted(items)\n    mid = len(items) // 2\n    if len(items) % 2 == 1:\n        return items[mid]\n    return (items[mid - 1] + items[mid]) / 2",
    "It takes the middle of the sorted list.", lambda v: (lambda w: w[len(w) // 2] if len(w) % 2 else sum(w[len(w) // 2 - 1:len(w) // 2 + 1]) / 2)(sorted(v)),
    "return the median of a list", "compute the median of a list of numbers", "find the median of the numbers in a list", "calculate the middle value of a list",
    "get the median value of some numbers", topics=["the median"])
add("mode(items)", "    return max(items, key=items.count)", "The first of the most frequent wins.", lambda v: next(x for x in v if v.count(x) == max(map(v.count, v))),
    "return the most common element of a list", "find the mode of a list", "get the most frequent item in a list", "find the element that occurs most often",
    "compute the mode of a list of numbers", topics=["the mode"])
add("max_list(items)", "    result = items[0]\n    for x in items:\n        if x > result:\n            result = x\n    return result", "It keeps the largest number so far.", max,
    "return the largest number in a list", "find the maximum of a list", "get the biggest element of a list", "compute the maximum of a list without max",
    "find the largest element in a list", topics=["the maximum of a list"])
add("min_list(items)", "    result = items[0]\n    for x in items:\n        if x < result:\n            result = x\n    return result", "It keeps the smallest number so far.", min,
    "return the smallest number in a list", "find the minimum of a list", "get the least element of a list", "compute the minimum of a list without min",
    "find the smallest element in a list", topics=["the minimum of a list"])
add("second_largest(items)", "    return sorted(set(items))[-2]", "The set removes duplicates.", lambda v: max(x for x in v if x != max(v)),
    "return the second largest number in a list", "find the second biggest element of a list", "get the second highest number", "compute the second largest value of a list",
    "find the runner-up of a list of numbers", args=lambda r: (r.sample(range(-9, 20), r.randrange(2, 8)),))
add("remove_duplicates(items)", "    result = []\n    for x in items:\n        if x not in result:\n            result.append(x)\n    return result", "It keeps the first of each and the order.",
    lambda v: list(dict.fromkeys(v)),
    "remove duplicates from a list", "return a list without duplicates", "drop repeated elements of a list", "keep only the unique elements of a list in order",
    "delete the duplicates in a list", "return the unique elements of a list", topics=["removing duplicates"])
add("has_duplicates(items)", "    return len(set(items)) != len(items)", "A set has no duplicates.", lambda v: any(v.count(x) > 1 for x in v),
    "check if a list has duplicates", "tell whether a list contains duplicates", "test if any element occurs twice", "return True if a list has repeated elements",
    "determine whether a list holds an element more than once")
add("reverse_list(items)", "    return items[::-1]", "A slice with step -1 goes backwards.", lambda v: list(reversed(v)),
    "reverse a list", "return a list backwards", "turn a list around", "return the elements of a list in reverse order", "compute the reversed list")
add("count_item(items, x)", "    return items.count(x)", "Lists can count.", lambda v, x: sum(y == x for y in v),
    "count how often a value occurs in a list", "count an element in a list", "return the number of times x occurs in a list", "count the occurrences of a value in a list",
    "tell how many times an item appears in a list", args=lambda r: ([r.randrange(4) for _ in range(r.randrange(8))], r.randrange(4)))
add("flatten(rows)", "    return [x for row in rows for x in row]", "It takes each element of each row.", lambda m: list(itertools.chain.from_iterable(m)),
    "flatten a list of lists", "turn a list of lists into one list", "join nested lists into a flat list", "flatten a nested list by one level", "concatenate a list of lists",
    topics=["flattening a list"])
add("transpose(rows)", "    return [list(column) for column in zip(*rows)]", "zip takes the rows apart by columns.", lambda m: [[row[i] for row in m] for i in range(len(m[0]))],
    "transpose a matrix", "swap rows and columns of a matrix", "return the transpose of a matrix", "turn the rows of a matrix into columns", "compute the transposed matrix",
    topics=["matrix transpose"])
add("matrix_multiply(a, b)", "    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]", "Each entry is a row times a column.",
    lambda a, b: [[sum(a[i][k] * b[k][j] for k in range(len(b))) for j in range(len(b[0]))] for i in range(len(a))],
    "multiply two matrices", "return the product of two matrices", "compute the matrix product of a and b", "do matrix multiplication", "calculate the product of two matrices",
    topics=["matrix multiplication"], args=lambda r: (lambda n, m, p: ([[r.randrange(-3, 5) for _ in range(m)] for _ in range(n)], [[r.randrange(-3, 5) for _ in range(p)] for _ in range(m)]))(*[r.randrange(1, 4) for _ in range(3)]))
add("sum_matrix(rows)", "    return sum(sum(row) for row in rows)", "It adds the sums of the rows.", lambda m: sum(x for row in m for x in row),
    "add all numbers in a matrix", "return the sum of a matrix", "compute the sum of all elements of a matrix", "sum a list of lists of numbers", "calculate the total of a matrix")
add("diagonal(rows)", "    return [rows[i][i] for i in range(len(rows))]", "Row and column are equal on the diagonal.", lambda m: [row[i] for i, row in enumerate(m)],
    "return the diagonal of a matrix", "get the main diagonal of a square matrix", "list the diagonal elements of a matrix", "extract the diagonal of a matrix",
    "collect the numbers on the diagonal", args=lambda r: (lambda n: ([[r.randrange(9) for _ in range(n)] for _ in range(n)],))(r.randrange(1, 5)))
add("chunks(items, n)", "    return [items[i:i + n] for i in range(0, len(items), n)]", "The last part may be shorter.", lambda v, n: [list(v[k * n:(k + 1) * n]) for k in range((len(v) + n - 1) // n)],
    "split a list into chunks of size n", "cut a list into pieces of n elements", "divide a list into parts of length n", "break a list into chunks", "group a list into sublists of n items",
    topics=["chunking a list"], args=lambda r: ([r.randrange(9) for _ in range(r.randrange(9))], r.randrange(1, 5)))
add("rotate(items, n)", "    if not items:\n        return []\n    n = n % len(items)\n    return items[n:] + items[:n]", "The first n elements go to the end.",
    lambda v, n: [v[(i + n) % len(v)] for i in range(len(v))],
    "rotate a list to the left by n places", "rotate a list by n", "move the first n elements of a list to the end", "shift a list left by n positions with wrap around",
    "return a list rotated left by n", topics=["list rotation"], args=lambda r: ([r.randrange(9) for _ in range(r.randrange(7))], r.randrange(0, 9)))
add("intersection(xs, ys)", "    return [x for x in xs if x in ys]", "It keeps what is in both.", lambda a, b: list(filter(set(b).__contains__, a)),
    "return the common elements of two lists", "find the intersection of two lists", "get the elements that two lists share", "keep the elements of one list that are in another",
    "compute the intersection of two lists")
add("difference(xs, ys)", "    return [x for x in xs if x not in ys]", "It keeps what is only in the first.", lambda a, b: [x for x in a if not set([x]) & set(b)],
    "return the elements of one list that are not in another", "find the difference of two lists", "remove the elements of ys from xs", "get the elements that are only in the first list",
    "compute the difference of two lists")
add("union(xs, ys)", "    result = []\n    for x in xs + ys:\n        if x not in result:\n            result.append(x)\n    return result", "It keeps the first of each element.",
    lambda a, b: list(dict.fromkeys(a + b)),
    "return the union of two lists", "combine two lists without duplicates", "merge two lists and drop duplicates", "get all elements of two lists once", "compute the union of two lists")
add("interleave(xs, ys)", "    result = []\n    for x, y in zip(xs, ys):\n        result.append(x)\n        result.append(y)\n    return result", "It takes one of each in turn.",
    lambda a, b: [v for p in zip(a, b) for v in p],
    "interleave two lists", "take elements of two lists in turn", "merge two lists by alternating their elements", "mix two lists one by one", "alternate the elements of two lists")
add("pairs(items)", "    return [(a, b) for a, b in zip(items, items[1:])]", "zip pairs each element with the next.", lambda v: [(v[i], v[i + 1]) for i in range(len(v) - 1)],
    "return the neighbouring pairs of a list", "make pairs of consecutive elements", "list all adjacent pairs of a list", "pair each element of a list with the next one",
    "get consecutive pairs from a list")
add("differences(items)", "    return [b - a for a, b in zip(items, items[1:])]", "It subtracts each element from the next.", lambda v: [v[i + 1] - v[i] for i in range(len(v) - 1)],
    "return the differences between consecutive elements", "compute the differences of neighbours in a list", "list the steps between consecutive numbers",
    "subtract each element of a list from the next", "get the consecutive differences of a list")
add("running_sum(items)", "    result = []\n    total = 0\n    for x in items:\n        total += x\n        result.append(total)\n    return result", "It keeps the total so far.",
    lambda v: list(itertools.accumulate(v)),
    "return the running sum of a list", "compute the cumulative sums of a list", "list the partial sums of a list", "make a list of running totals", "calculate the prefix sums of a list",
    topics=["prefix sums", "the running sum"])
add("is_sorted(items)", "    return all(a <= b for a, b in zip(items, items[1:]))", "No element is larger than the next.", lambda v: v == sorted(v),
    "check if a list is sorted", "tell whether a list is in ascending order", "test if a list is sorted", "return True if a list is in order", "determine whether a list is sorted",
    args=lambda r: (r.choice([ordered(r), [3, 1], [], [5], [1, 1, 2]]),))
add("first_item(items)", "    if not items:\n        return None\n    return items[0]", "An empty list gives None.", lambda v: next(iter(v), None),
    "return the first element of a list or None", "get the first item of a list, None if it is empty", "return the first element, or None for an empty list",
    "take the first item of a list safely", "find the first element of a list without failing on empty lists", args=lambda r: ([r.randrange(9) for _ in range(r.randrange(4))],))
add("last_item(items)", "    if not items:\n        return None\n    return items[-1]", "An empty list gives None.", lambda v: v[len(v) - 1] if v else None,
    "return the last element of a list or None", "get the last item of a list, None if it is empty", "return the last element, or None for an empty list",
    "take the last item of a list safely", "find the last element of a list without failing on empty lists", args=lambda r: ([r.randrange(9) for _ in range(r.randrange(4))],))
add("index_of(items, x)", "    for i, y in enumerate(items):\n        if y == x:\n            return i\n    return -1", "It returns -1 when the value is missing.", lambda v, x: v.index(x) if x in v else -1,
    "find the index of a value in a list", "return the position of x in a list or -1", "do a linear search in a list", "search a list for a value and return its index",
    "tell where a value is in a list", topics=["linear search"], args=lambda r: ([r.randrange(6) for _ in range(r.randrange(7))], r.randrange(6)))
add("binary_search(items, x)", "    low, high = 0, len(items) - 1\n    while low <= high:\n        mid = (low + high) // 2\n        if items[mid] == x:\n            return mid\n        if items[mid] < x:\n            low = mid + 1\n        else:\n            high = mid - 1\n    return -1",
    "It halves the range until the value is found.", lambda v, x: v.index(x) if x in v else -1,
    "do a binary search in a sorted list", "search a sorted list with binary search", "find the index of x in a sorted list by binary search", "find a value in a sorted list by halving",
    "perform binary search and return the index or -1", topics=["binary search", "a binary search"], args=lambda r: (lambda v: (v, r.choice(v + [99, -50])))(ordered(r)))
add("bubble_sort(items)", "    items = list(items)\n    for i in range(len(items)):\n        for j in range(len(items) - 1 - i):\n            if items[j] > items[j + 1]:\n                items[j], items[j + 1] = items[j + 1], items[j]\n    return items",
    "Large values move to the end.", sorted,
    "sort a list with bubble sort", "do a bubble sort of a list", "sort numbers by bubble sort", "apply bubble sort to a list", "return a list sorted by the bubble sort algorithm",
    topics=["bubble sort"])
add("insertion_sort(items)", "    result = []\n    for x in items:\n        i = len(result)\n        while i > 0 and result[i - 1] > x:\n            i -= 1\n        result.insert(i, x)\n    return result",
    "Each value goes to its place in the sorted part.", sorted,
    "sort a list with insertion sort", "do an insertion sort of a list", "sort numbers by insertion sort", "apply insertion sort to a list", "return a list sorted by the insertion sort algorithm",
    topics=["insertion sort"])
add("selection_sort(items)", "    items = list(items)\n    result = []\n    while items:\n        x = min(items)\n        items.remove(x)\n        result.append(x)\n    return result",
    "It takes out the smallest value each time.", sorted,
    "sort a list with selection sort", "do a selection sort of a list", "sort numbers by selection sort", "apply selection sort to a list", "return a list sorted by the selection sort algorithm",
    topics=["selection sort"])
add("quick_sort(items)", "    if len(items) <= 1:\n        return items\n    pivot = items[0]\n    small = [x for x in items[1:] if x < pivot]\n    large = [x for x in items[1:] if x >= pivot]\n    return quick_sort(small) + [pivot] + quick_sort(large)",
    "It sorts what is below and above the pivot.", sorted,
    "sort a list with quicksort", "do a quick sort of a list", "sort numbers by quicksort", "apply quick sort to a list", "return a list sorted by the quicksort algorithm",
    topics=["quicksort", "quick sort"])
add("merge_sort(items)", "    if len(items) <= 1:\n        return items\n    mid = len(items) // 2\n    a, b = merge_sort(items[:mid]), merge_sort(items[mid:])\n    result = []\n    while a and b:\n        result.append(a.pop(0) if a[0] <= b[0] else b.pop(0))\n    return result + a + b",
    "It sorts both halves and merges them.", sorted,
    "sort a list with merge sort", "do a merge sort of a list", "sort numbers by merge sort", "apply merge sort to a list", "return a list sorted by the merge sort algorithm",
    topics=["merge sort"])
add("merge_sorted(xs, ys)", "    result = []\n    i = j = 0\n    while i < len(xs) and j < len(ys):\n        if xs[i] <= ys[j]:\n            result.append(xs[i])\n            i += 1\n        else:\n            result.append(ys[j])\n            j += 1\n    return result + xs[i:] + ys[j:]",
    "It takes the smaller head each time.", lambda a, b: sorted(a + b),
    "merge two sorted lists", "merge two sorted lists into one sorted list", "combine two sorted lists in order", "return one sorted list from two sorted lists", "join two ordered lists in order",
    args=lambda r: (ordered(r), ordered(r)))
add("sort_descending(items)", "    return sorted(items, reverse=True)", "reverse=True puts the largest first.", lambda v: sorted(v)[::-1],
    "sort a list in descending order", "sort numbers from large to small", "return a list sorted from high to low", "order a list with the largest first", "arrange numbers in decreasing order")
add("sort_list(items)", "    return sorted(items)", "sorted returns a new list.", lambda v: functools.reduce(lambda a, x: (bisect.insort(a, x), a)[1], v, []),
    "sort a list", "sort a list of numbers", "return a sorted copy of a list", "order a list from small to large", "arrange numbers in ascending order")
add("two_sum(items, target)", "    for i in range(len(items)):\n        for j in range(i + 1, len(items)):\n            if items[i] + items[j] == target:\n                return [i, j]\n    return None",
    "It tries every pair.", lambda v, t: next(([i, j] for i, j in itertools.combinations(range(len(v)), 2) if v[i] + v[j] == t), None),
    "find two numbers in a list that add up to a target", "return the indices of two numbers with a given sum", "solve two sum", "find the indices of a pair that sums to target",
    "search a list for two elements with sum target", topics=["two sum"], args=lambda r: (r.sample(range(0, 12), r.randrange(2, 7)), r.randrange(3, 18)))
add("max_subarray(items)", "    best = current = items[0]\n    for x in items[1:]:\n        current = max(x, current + x)\n        best = max(best, current)\n    return best", "This is Kadane's algorithm.",
    lambda v: max(sum(v[i:j]) for i in range(len(v)) for j in range(i + 1, len(v) + 1)),
    "find the largest sum of a contiguous part of a list", "return the maximum subarray sum", "compute the maximum sum of a contiguous subarray", "find the greatest sum of neighbouring elements",
    "calculate the maximum subarray sum of a list", topics=["the maximum subarray", "Kadane's algorithm"])
add("move_zeros(items)", "    rest = [x for x in items if x != 0]\n    return rest + [0] * (len(items) - len(rest))", "The zeros go to the end.", lambda v: sorted(v, key=lambda x: x == 0),
    "move the zeros of a list to the end", "put all zeros at the end of a list", "shift zeros to the end and keep the order", "return a list with its zeros last",
    "push every zero of a list to the back", args=lambda r: ([r.choice([0, 0, 1, 5, -2, 7]) for _ in range(r.randrange(8))],))
add("split_even_odd(items)", "    even = [x for x in items if x % 2 == 0]\n    odd = [x for x in items if x % 2 != 0]\n    return even, odd", "It returns two lists.",
    lambda v: tuple([x for x in v if x & 1 == b] for b in (0, 1)),
    "split a list into even and odd numbers", "separate even and odd numbers", "return the even and the odd numbers of a list", "divide a list into evens and odds",
    "partition numbers by even and odd")
add("dot_product(xs, ys)", "    return sum(x * y for x, y in zip(xs, ys))", "It adds the products of the pairs.", lambda a, b: sum(map(lambda p: p[0] * p[1], zip(a, b))),
    "compute the dot product of two lists", "return the scalar product of two vectors", "multiply two lists element by element and add the results", "calculate the dot product of two vectors",
    "find the inner product of two lists", topics=["the dot product"])
add("add_lists(xs, ys)", "    return [x + y for x, y in zip(xs, ys)]", "It adds the numbers pair by pair.", lambda a, b: list(map(lambda x, y: x + y, a, b)),
    "add two lists element by element", "return the sums of the elements of two lists", "add two vectors", "compute the elementwise sum of two lists", "sum two lists pairwise")
add("to_dict(keys, values)", "    return dict(zip(keys, values))", "zip pairs keys and values.", lambda k, v: {a: b for a, b in zip(k, v)},
    "make a dictionary from two lists", "build a dict from keys and values", "combine a list of keys and a list of values into a dictionary", "turn two lists into a dictionary",
    "create a dictionary out of keys and values", args=lambda r: (r.sample(WORDS, 3), [r.randrange(9) for _ in range(3)]))
add("merge_dicts(d, other)", "    return {**d, **other}", "The second dictionary wins.", lambda a, b: dict(list(a.items()) + list(b.items())),
    "merge two dictionaries", "combine two dictionaries into one", "return the union of two dicts", "join two dicts, the second wins", "put two dictionaries together",
    topics=["merging dictionaries"])
add("invert_dict(d)", "    return {value: key for key, value in d.items()}", "Keys and values change places.", lambda d: dict(map(reversed, d.items())),
    "swap keys and values of a dictionary", "invert a dictionary", "turn the values of a dict into keys", "return a dictionary with keys and values exchanged", "reverse a dictionary",
    args=lambda r: ({w: i for i, w in enumerate(r.sample(WORDS, r.randrange(1, 5)))},))
add("key_with_max_value(d)", "    return max(d, key=d.get)", "max compares the values.", lambda d: sorted(d.items(), key=lambda p: -p[1])[0][0],
    "return the key with the largest value", "find the key with the highest value in a dictionary", "get the key of the maximum value of a dict", "tell which key has the greatest value",
    "find the key whose value is largest")
add("sort_by_value(d)", "    return dict(sorted(d.items(), key=lambda p: p[1]))", "It sorts the pairs by the value.", lambda d: {k: d[k] for k in sorted(d, key=d.get)},
    "sort a dictionary by its values", "return a dict ordered by value", "order a dictionary by value", "arrange the items of a dict by their values", "sort the entries of a dictionary by value")
add("sum_values(d)", "    return sum(d.values())", "values() gives the values.", lambda d: sum(d[k] for k in d),
    "add the values of a dictionary", "return the sum of all values in a dict", "compute the sum of a dictionary's values", "sum the values of a dictionary", "calculate the total of the values in a dict")
add("get_or_default(d, key, default)", "    return d.get(key, default)", "get takes a default.", lambda d, k, v: d[k] if k in d else v,
    "look up a key in a dictionary with a default", "return the value of a key or a default", "get a value from a dict, or a default if the key is missing", "read a dictionary with a fallback value",
    "find a key's value with a default for missing keys", args=lambda r: ({"a": 1, "b": 2}, r.choice("abc"), 0))
add("count_items(items)", "    counts = {}\n    for x in items:\n        counts[x] = counts.get(x, 0) + 1\n    return counts", "It counts in a dictionary.", lambda v: {x: v.count(x) for x in v},
    "count every element of a list", "return a dictionary with the count of each element", "compute how often each item of a list occurs", "count the items of a list in a dict",
    "build a dictionary of counts from a list", args=lambda r: ([r.randrange(4) for _ in range(r.randrange(8))],))
add("cartesian_product(xs, ys)", "    return [(x, y) for x in xs for y in ys]", "It pairs each with each.", lambda a, b: list(itertools.product(a, b)),
    "return all pairs of elements of two lists", "compute the Cartesian product of two lists", "pair every element of one list with every element of another",
    "list all combinations of two lists", "get the product set of two lists", args=lambda r: ([r.randrange(9) for _ in range(r.randrange(3))], [r.randrange(9) for _ in range(r.randrange(4))]))
add("all_equal(items)", "    return len(set(items)) <= 1", "A set keeps one of each.", lambda v: all(x == v[0] for x in v),
    "check if all elements of a list are equal", "tell whether all items are the same", "test if a list holds one value only", "return True if every element is equal",
    "determine whether all elements of a list are the same", args=lambda r: (r.choice([[1, 1], [1, 2], [], [3], [2, 2, 2, 1]]),))
add("repeat_list(items, n)", "    return items * n", "Lists can be multiplied.", lambda v, n: [x for _ in range(n) for x in v],
    "repeat a list n times", "return a list repeated n times", "make n copies of a list in a row", "build a list of n repetitions of a list", "concatenate a list with itself n times",
    args=lambda r: ([1, 2][:r.randrange(3)], r.randrange(4)))
add("take_every(items, n)", "    return items[::n]", "The slice has a step.", lambda v, n: [x for i, x in enumerate(v) if i % n == 0],
    "take every n-th element of a list", "return every nth item of a list", "pick each n-th element of a list", "keep every n-th item of a list", "select every nth element",
    args=lambda r: (list(range(r.randrange(9))), r.randrange(1, 4)))
add("index_dict(items)", "    return {i: x for i, x in enumerate(items)}", "enumerate counts the elements.", lambda v: dict(zip(range(len(v)), v)),
    "map each index of a list to its element", "build a dictionary from index to element", "turn a list into a dictionary with indices as keys", "make a dict of positions and values",
    "return a dictionary of a list's indices and items")
