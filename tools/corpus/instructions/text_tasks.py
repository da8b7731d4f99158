"""Families about strings and lists of words."""
import collections

from family import TEXTS, WORDS, add

add("reverse_string(s)", "    return s[::-1]", "A slice with step -1 goes backwards.", lambda s: "".join(reversed(s)),
    "reverse a string", "return a string backwards", "turn a string around", "return the reverse of a string", "compute the reversed string",
    "give back the characters of a string in reverse order", topics=["string reversal"])
add("is_palindrome(s)", "    return s == s[::-1]", "It compares the string with its reverse.", lambda s: all(a == b for a, b in zip(s, reversed(s))),
    "check if a string is a palindrome", "tell whether a string is a palindrome", "test if a string reads the same backwards",
    "return True if a string is a palindrome", "determine whether a word is a palindrome", "decide if a text equals its reverse",
    topics=["a palindrome check"], args=lambda r: (r.choice(["level", "noon", "abc", "", "x", "abca", "radar", "hello"]),))
add("is_palindrome_phrase(s)", "    letters = [c for c in s.lower() if c.isalnum()]\n    return letters == letters[::-1]", "It ignores case and everything but letters and digits.",
    lambda s: (lambda t: t == t[::-1])("".join(filter(str.isalnum, s.lower()))),
    "check if a phrase is a palindrome ignoring case and spaces", "tell whether a sentence is a palindrome ignoring punctuation",
    "test for palindromes without regard to case and punctuation", "check if a string is a palindrome ignoring spaces and case",
    "decide whether a phrase reads the same backwards, ignoring case and spaces")
add("count_vowels(s)", "    return sum(1 for c in s.lower() if c in \"aeiou\")", "It counts the letters a, e, i, o and u.", lambda s: sum(s.lower().count(v) for v in "aeiou"),
    "count the vowels in a string", "return the number of vowels in a string", "tell how many vowels a string has", "compute the number of vowels of a text",
    "find how many vowels are in a word", topics=["a vowel counter"])
add("count_consonants(s)", "    return sum(1 for c in s.lower() if c.isalpha() and c not in \"aeiou\")", "It counts the letters that are no vowels.",
    lambda s: len([c for c in s.lower() if c in "bcdfghjklmnpqrstvwxyz"]),
    "count the consonants in a string", "return the number of consonants in a string", "tell how many consonants a string has", "compute the number of consonants of a text",
    "find how many consonants are in a word")
add("remove_vowels(s)", "    return \"\".join(c for c in s if c.lower() not in \"aeiou\")", "It keeps the other characters.", lambda s: s.translate({ord(c): None for c in "aeiouAEIOU"}),
    "remove the vowels from a string", "return a string without its vowels", "delete all vowels in a text", "strip the vowels out of a string",
    "drop every vowel from a string")
add("count_words(s)", "    return len(s.split())", "It splits at white space.", lambda s: len([w for w in s.replace("\n", " ").split(" ") if w]),
    "count the words in a string", "return the number of words in a text", "tell how many words a sentence has", "compute the number of words in a string",
    "find how many words are in a text", topics=["a word counter"])
add("reverse_words(s)", "    return \" \".join(s.split()[::-1])", "It splits, reverses the list and joins it.", lambda s: " ".join(reversed(s.split())),
    "reverse the order of the words in a string", "reverse the words of a sentence", "return a sentence with its words in reverse order",
    "turn the word order of a text around", "put the words of a string in reverse order")
add("capitalize_words(s)", "    return \" \".join(w.capitalize() for w in s.split())", "Each word gets a capital first letter.", lambda s: " ".join(w[:1].upper() + w[1:].lower() for w in s.split()),
    "capitalize every word of a string", "capitalize the first letter of each word", "make each word of a sentence start with a capital letter",
    "convert a text to title case", "write all words of a string with a capital first letter")
add("count_char(s, c)", "    return s.count(c)", "Strings can count.", lambda s, c: sum(x == c for x in s),
    "count how often a character occurs in a string", "count a character in a string", "return the number of times c occurs in s",
    "count the occurrences of a character in a text", "tell how many times a letter appears in a string", args=lambda r: (r.choice(TEXTS), r.choice("aeilnst ")))
add("char_frequency(s)", "    counts = {}\n    for c in s:\n        counts[c] = counts.get(c, 0) + 1\n    return counts", "It counts in a dictionary.", lambda s: dict(collections.Counter(s)),
    "count every character of a string", "return a dictionary with the count of each character", "compute the frequency of each character in a string",
    "count how often each character occurs", "build a dictionary of character counts", topics=["character counts", "letter frequency"])
add("word_frequency(s)", "    counts = {}\n    for word in s.split():\n        counts[word] = counts.get(word, 0) + 1\n    return counts", "It counts in a dictionary.",
    lambda s: dict(collections.Counter(s.split())),
    "count every word of a text", "return a dictionary with the count of each word", "compute the frequency of each word in a text",
    "count how often each word occurs", "build a dictionary of word counts", topics=["word counts", "word frequency"])
add("most_common_char(s)", "    return max(sorted(set(s)), key=s.count)", "Among equals the first in order wins.", lambda s: sorted((-s.count(c), c) for c in s)[0][1],
    "find the most common character of a string", "return the character that occurs most often", "get the most frequent character in a string",
    "tell which character is most common in a text", "find the character with the highest count", args=lambda r: (r.choice([t for t in TEXTS if t]),))
add("first_unique_char(s)", "    for c in s:\n        if s.count(c) == 1:\n            return c\n    return None", "It returns None when every character repeats.",
    lambda s: next(iter([c for c in s if collections.Counter(s)[c] == 1]), None),
    "find the first character that occurs only once", "return the first unique character of a string", "get the first non-repeating character",
    "find the first character that does not repeat in a string", "return the first character without a duplicate")
add("is_anagram(a, b)", "    return sorted(a) == sorted(b)", "Anagrams have the same sorted letters.", lambda a, b: collections.Counter(a) == collections.Counter(b),
    "check if two strings are anagrams", "tell whether two words are anagrams", "test if two words have the same letters", "return True if two strings are anagrams",
    "determine whether a is an anagram of b", topics=["an anagram check"], args=lambda r: r.choice([("listen", "silent"), ("abc", "cab"), ("abc", "abd"), ("", ""), ("aab", "abb"), ("tea", "eat")]))
add("caesar(s, n)", "    result = \"\"\n    for c in s:\n        if c.islower():\n            result += chr((ord(c) - 97 + n) % 26 + 97)\n        else:\n            result += c\n    return result",
    "It shifts the small letters and keeps the rest.", lambda s, n: "".join("abcdefghijklmnopqrstuvwxyz"[("abcdefghijklmnopqrstuvwxyz".index(c) + n) % 26] if c in "abcdefghijklmnopqrstuvwxyz" else c for c in s),
    "encrypt a string with the Caesar cipher", "shift the letters of a string by n places", "apply a Caesar cipher with shift n", "do a Caesar shift of a text",
    "move every small letter n places in the alphabet", topics=["the Caesar cipher"], args=lambda r: (r.choice(TEXTS), r.randrange(0, 26)))
add("remove_spaces(s)", "    return s.replace(\" \", \"\")", "It replaces spaces by nothing.", lambda s: "".join(c for c in s if c != " "),
    "remove the spaces from a string", "return a string without spaces", "delete all spaces in a text", "strip every space out of a string", "drop the blanks from a string")
add("remove_duplicates_string(s)", "    result = \"\"\n    for c in s:\n        if c not in result:\n            result += c\n    return result", "It keeps the first of each character.",
    lambda s: "".join(dict.fromkeys(s)),
    "remove duplicate characters from a string", "keep only the first occurrence of each character", "return a string without repeated characters",
    "drop characters that occurred before in a string", "delete repeated characters of a text")
add("longest_word(s)", "    return max(s.split(), key=len)", "The key len compares by length.", lambda s: sorted(s.split(), key=lambda w: -len(w))[0],
    "find the longest word in a string", "return the longest word of a sentence", "get the longest word of a text", "tell which word of a sentence is longest",
    "find the word with the most letters in a text", args=lambda r: (" ".join(r.sample(WORDS, r.randrange(1, 6))),))
add("shortest_word(s)", "    return min(s.split(), key=len)", "The key len compares by length.", lambda s: sorted(s.split(), key=len)[0],
    "find the shortest word in a string", "return the shortest word of a sentence", "get the shortest word of a text", "tell which word of a sentence is shortest",
    "find the word with the fewest letters in a text", args=lambda r: (" ".join(r.sample(WORDS, r.randrange(1, 6))),))
add("acronym(s)", "    return \"\".join(w[0].upper() for w in s.split())", "It takes the first letter of each word.", lambda s: "".join(w[:1] for w in s.upper().split()),
    "make an acronym from a phrase", "build the acronym of a text", "return the initials of a phrase in upper case", "turn a phrase into an acronym",
    "take the first letters of all words as capitals")
add("to_snake_case(s)", "    result = \"\"\n    for c in s:\n        if c.isupper() and result:\n            result += \"_\"\n        result += c.lower()\n    return result",
    "It puts an underscore before capitals.", lambda s: {"helloWorld": "hello_world", "MyClassName": "my_class_name", "x": "x", "aB": "a_b"}[s],
    "convert camel case to snake case", "turn a camelCase name into snake_case", "convert a name from camelCase to snake_case", "rewrite camel case with underscores",
    "change camelCase into snake_case", topics=["snake case conversion"], args=lambda r: (r.choice(["helloWorld", "MyClassName", "x", "aB"]),))
add("to_camel_case(s)", "    first, *rest = s.split(\"_\")\n    return first + \"\".join(w.capitalize() for w in rest)", "Each word after the first gets a capital.",
    lambda s: {"hello_world": "helloWorld", "my_class_name": "myClassName", "x": "x", "a_b": "aB"}[s],
    "convert snake case to camel case", "turn a snake_case name into camelCase", "convert a name from snake_case to camelCase", "rewrite snake case as camel case",
    "change snake_case into camelCase", args=lambda r: (r.choice(["hello_world", "my_class_name", "x", "a_b"]),))
add("count_upper(s)", "    return sum(1 for c in s if c.isupper())", "It counts the capitals.", lambda s: len([c for c in s if c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]),
    "count the upper case letters in a string", "count the capital letters in a string", "return the number of uppercase letters", "tell how many capitals a text has",
    "compute how many letters of a string are upper case")
add("sum_of_digits_in_string(s)", "    return sum(int(c) for c in s if c in \"0123456789\")", "It adds the characters that are digits.", lambda s: sum(i * s.count(str(i)) for i in range(10)),
    "add the digits in a string", "return the sum of the digits in a string", "compute the sum of all digits that occur in a text", "sum up the digit characters of a string",
    "add up every digit inside a string", args=lambda r: (r.choice(["a1b2", "12 apples and 7 pears", "none", "999", "x5"]),))
add("starts_with_vowel(s)", "    return s[:1].lower() in (\"a\", \"e\", \"i\", \"o\", \"u\")", "The slice also works for an empty string.", lambda s: len(s) > 0 and s[0] in "aeiouAEIOU",
    "check if a string starts with a vowel", "tell whether a word begins with a vowel", "test if the first letter is a vowel", "return True if a string begins with a vowel",
    "determine whether a word starts with a vowel")
add("repeat_string(s, n)", "    return s * n", "Strings can be multiplied.", lambda s, n: "".join(s for _ in range(n)),
    "repeat a string n times", "return a string repeated n times", "write a string n times in a row", "build a text of n copies of a string", "make n copies of a string in one",
    args=lambda r: (r.choice(["ab", "x", "", "hey "]), r.randrange(0, 6)))
add("is_upper(s)", "    return s.isupper()", "Strings can tell.", lambda s: s == s.upper() and any(c.isalpha() for c in s),
    "check if a string is all upper case", "tell whether a text is in capitals", "test if all letters of a string are capitals", "return True if a string is upper case",
    "determine whether a text is written in upper case", args=lambda r: (r.choice(["ABC", "AbC", "abc", "A1", "", "12"]),))
add("is_numeric(s)", "    return s != \"\" and all(c in \"0123456789\" for c in s)", "Every character must be a digit.", lambda s: s.isdigit(),
    "check if a string has only digits", "tell whether a string is a number", "test if a text consists of digits", "return True if all characters are digits",
    "determine whether a string contains only digits", args=lambda r: (r.choice(["123", "12a", "", "0", "4.5"]),))
add("truncate(s, n)", "    if len(s) <= n:\n        return s\n    return s[:n] + \"...\"", "Short texts stay as they are.", lambda s, n: s if len(s) <= n else s[0:n] + "." * 3,
    "cut a string after n characters and add dots", "shorten a string to n characters with three dots", "truncate a text to n characters", "abbreviate a long text with dots",
    "limit a string to n characters and append three dots", args=lambda r: (r.choice(TEXTS), r.randrange(0, 12)))
add("common_prefix(a, b)", "    i = 0\n    while i < len(a) and i < len(b) and a[i] == b[i]:\n        i += 1\n    return a[:i]", "It goes on while the characters agree.",
    lambda a, b: {("flow", "flower"): "flow", ("abc", "abd"): "ab", ("x", "y"): "", ("", "a"): "", ("same", "same"): "same"}[a, b],
    "find the common prefix of two strings", "return the longest common prefix of two strings", "get the beginning that two strings share", "compute the common beginning of two words",
    "find how two strings begin alike", args=lambda r: r.choice([("flow", "flower"), ("abc", "abd"), ("x", "y"), ("", "a"), ("same", "same")]))
add("hamming_distance(a, b)", "    return sum(1 for x, y in zip(a, b) if x != y)", "It counts the places that differ.", lambda a, b: len([i for i in range(len(a)) if a[i] != b[i]]),
    "count the differences between two strings", "compute the Hamming distance of two strings", "count the positions where two strings differ", "return the Hamming distance between a and b",
    "tell in how many places two strings differ", topics=["the Hamming distance"], args=lambda r: r.choice([("abc", "abd"), ("karolin", "kathrin"), ("", ""), ("aa", "bb"), ("same", "same")]))
add("replace_spaces(s, c)", "    return s.replace(\" \", c)", "Strings have a replace method.", lambda s, c: c.join(s.split(" ")),
    "replace the spaces of a string by a character", "replace every space with another character", "put a character in place of each space", "swap the spaces in a text for a character",
    "substitute spaces in a string", args=lambda r: (r.choice(TEXTS), r.choice("_-.")))
add("greet(s)", "    return f\"Hello, {s}!\"", "An f-string puts the name in.", lambda s: "Hello, " + s + "!",
    "greet a person by name", "return a greeting for a name", "say hello to a name", "make a greeting like Hello, Ann!", "build the text Hello, NAME!",
    args=lambda r: (r.choice(["Ann", "Bob", "world", "Zoe"]),))
add("join_words(words)", "    return \" \".join(words)", "The separator joins the words.", lambda w: "".join(x + " " for x in w)[:-1],
    "join a list of words with spaces", "join words into a sentence", "combine a list of words into one string", "make one text out of a list of words",
    "concatenate words with spaces between them")
add("split_words(s)", "    return s.split()", "Without arguments, split cuts at white space.", lambda s: [w for w in s.split(" ") if w],
    "split a string into words", "turn a sentence into a list of words", "return the words of a text as a list", "cut a string at its spaces", "get the list of words of a string")
add("sort_by_length(words)", "    return sorted(words, key=len)", "The key len sorts by length.", lambda w: [x for n in range(20) for x in w if len(x) == n],
    "sort words by their length", "sort a list of strings by length", "order words from short to long", "return words sorted by length", "arrange strings by how long they are")
add("word_lengths(words)", "    return {word: len(word) for word in words}", "A dictionary comprehension does it.", lambda w: dict(zip(w, map(len, w))),
    "map each word to its length", "return a dictionary from words to their lengths", "build a dictionary of word lengths", "make a dict that tells the length of each word",
    "compute a dictionary with the length of every word")
add("longest_string(words)", "    return max(words, key=len)", "The first of the longest wins.", lambda w: sorted(w, key=len, reverse=True)[0],
    "find the longest string in a list", "return the longest word of a list", "get the longest of several strings", "tell which string of a list is longest",
    "pick the longest word from a list of words")
add("group_by_first_letter(words)", "    groups = {}\n    for word in words:\n        groups.setdefault(word[0], []).append(word)\n    return groups", "setdefault makes the list when it is missing.",
    lambda w: {c: [x for x in w if x[0] == c] for c in dict.fromkeys(x[0] for x in w)},
    "group words by their first letter", "return a dictionary that groups words by first letter", "sort words into groups by first letter", "build a dict from first letter to words",
    "collect words under their initial letter")
add("group_by_length(words)", "    groups = {}\n    for word in words:\n        groups.setdefault(len(word), []).append(word)\n    return groups", "setdefault makes the list when it is missing.",
    lambda w: {n: [x for x in w if len(x) == n] for n in dict.fromkeys(map(len, w))},
    "group words by their length", "return a dictionary that groups words by length", "sort words into groups by length", "build a dict from length to words",
    "collect words under their length")
