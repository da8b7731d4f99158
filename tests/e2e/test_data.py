#!/usr/bin/env python3
"""End to end: `fathom data` from text to shards."""
import json
import pathlib
import random
import struct

from harness import main, refused, run

TALK = [{"messages": [{"role": "user", "content": f"Add {a} and {b}."}, {"role": "assistant", "content": f"The sum is {a + b}."}]}
        for a in range(20) for b in range(20)]


def source(folder):
    """A folder of text that has more to learn than 512 ids."""
    (folder / "src/sub").mkdir(parents=True)
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(3, 9))) for _ in range(300)]
    for i in range(40):
        body = "\n".join(f"def name_{i}_{k}(value, other):\n    return value * {k} + other - {i}\n" for k in range(20))
        (folder / f"src/{'sub/' if i % 2 else ''}f{i}.py").write_text(body + "# " + " ".join(rng.choices(words, k=200)) + "\n")
    (folder / "talk.jsonl").write_text("".join(json.dumps(t) + "\n" for t in TALK))
    return folder / "src", folder / "talk.jsonl"


def make_tokenizer(folder, *inputs):
    run("data", "tokenizer", "--vocab", "512", "-o", folder / "tokenizer.json", *inputs)
    return folder / "tokenizer.json"


def shard(path):
    """The header's numbers and the ids, read by the documented layout."""
    raw = pathlib.Path(path).read_bytes()
    magic, version, flags, tokenizer, n_vocab, n_documents, n_tokens, text_bytes, zero = struct.unpack_from("<8sII6Q", raw)
    assert (magic, version, zero) == (b"FATHOMDS", 1, 0)
    first = struct.unpack_from(f"<{n_documents + 1}Q", raw, 64)
    ids = struct.unpack_from(f"<{n_tokens}i", raw, 64 + 8 * (n_documents + 1))
    return {"flags": flags, "n_vocab": n_vocab, "text_bytes": text_bytes, "documents": [ids[a:b] for a, b in zip(first, first[1:])]}


def text_becomes_a_shard_and_back(folder):
    src, talk = source(folder)
    tokenizer = make_tokenizer(folder, src, talk)
    vocab = json.loads(tokenizer.read_text())["model"]["vocab"]
    assert len(vocab) == 512 - 24 and vocab["Ġ"] == 223
    run("data", "text", "--tokenizer", tokenizer, "-o", folder / "a.shard", src)
    s = shard(folder / "a.shard")
    files = sorted(src.glob("*.py")) + sorted(src.glob("sub/*.py"))
    assert len(s["documents"]) == len(files) and s["text_bytes"] == sum(f.stat().st_size for f in files)
    assert all(d[0] == 0 and d[-1] == 1 for d in s["documents"])
    assert "documents   40\n" in run("data", "show", folder / "a.shard").stdout.decode()
    assert "def name_0_0(value" in run("data", "show", "--tokenizer", tokenizer, folder / "a.shard").stdout.decode()


def the_same_input_gives_the_same_bytes(folder):
    src, talk = source(folder)
    a = make_tokenizer(folder, src, talk).read_bytes()
    assert a == make_tokenizer(folder, src, talk).read_bytes()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("data", "text", "--tokenizer", folder / "tokenizer.json", "--fim", "50", "--seed", seed, "-o", folder / name, src)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes() != (folder / "c").read_bytes()


def conversations_teach_the_answers(folder):
    src, talk = source(folder)
    tokenizer = make_tokenizer(folder, src, talk)
    run("data", "chat", "--tokenizer", tokenizer, "-o", folder / "t.shard", talk)
    s = shard(folder / "t.shard")
    assert s["flags"] == 1 and len(s["documents"]) == len(TALK)
    assert s["text_bytes"] == sum(len(t["messages"][1]["content"]) for t in TALK)
    shown = run("data", "show", "--tokenizer", tokenizer, folder / "t.shard").stdout.decode()
    assert "]The sum is 0.<" in shown, shown
    done = run("data", "chat", "--tokenizer", tokenizer, "-n", "8", "-o", folder / "u.shard", talk)
    assert b"left out 400 of 400" in done.stderr


def refusals_name_the_reason(folder):
    src, talk = source(folder)
    refused("data", "tokenizer", src, says="-o FILE", code=2)
    refused("data", "cook", src, says="cook", code=2)
    refused("data", "text", "-o", folder / "x", src, says="--tokenizer")
    refused("data", "tokenizer", "--vocab", "60000", "-o", folder / "x", src, says=["60000", "more text"])
    tokenizer = make_tokenizer(folder, src, talk)
    refused("data", "chat", "--tokenizer", tokenizer, "-o", folder / "x", src, says=".jsonl")
    (folder / "bad.jsonl").write_text(json.dumps(TALK[0]) + '\n{"messages": [}\n')
    refused("data", "chat", "--tokenizer", tokenizer, "-o", folder / "x", folder / "bad.jsonl", says=["bad.jsonl", "line 2"])
    refused("data", "show", tokenizer, says="not a shard")
    refused("data", "text", "--tokenizer", tokenizer, "-o", folder / "x", folder / "absent", says="absent")
    assert not (folder / "x").exists()


main([text_becomes_a_shard_and_back, the_same_input_gives_the_same_bytes, conversations_teach_the_answers, refusals_name_the_reason])
