#!/usr/bin/env python3
"""/v1/embeddings of a tiny model against a forward pass of its own, in plain Python.

    test_embeddings.py FATHOM TINY_MODELS [EMULATOR...]"""
import base64
import json
import math
import pathlib
import struct
import sys
import threading

from harness import TINY, Skip, main, refused
from serving import Server

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
import tiny_model as tiny  # noqa: E402

# Keys and values are kept as F16. Where the two programs' sums, which differ by some 1e-6, round to different ones, a number of
# size 1 is off by 2^-11; there are 2 layers, and the vectors have length 1.
TOLERANCE = 2 * 2 ** -11


def matvec(m, x):
    rows, cols, values = m
    return [math.fsum(map(float.__mul__, values[r * cols:(r + 1) * cols], x)) for r in range(rows)]


def rms_norm(weight, x):
    scale = 1 / math.sqrt(math.fsum(v * v for v in x) / len(x) + 1e-5)
    return [v * scale * w for v, w in zip(x, weight[2])]


def f16(values):
    return list(struct.unpack(f"<{len(values)}e", struct.pack(f"<{len(values)}e", *values)))


def rotate(x, position):
    half, out = tiny.HEAD_DIM // 2, list(x)
    for h in range(0, len(x), tiny.HEAD_DIM):
        for i in range(half):
            angle = position * 10000.0 ** (-i / half)
            a, b = x[h + i], x[h + half + i]
            out[h + i] = a * math.cos(angle) - b * math.sin(angle)
            out[h + half + i] = b * math.cos(angle) + a * math.sin(angle)
    return out


def attend(q, keys, values):
    n = tiny.HEAD_DIM
    out = []
    for h in range(tiny.N_HEADS):
        g = h // (tiny.N_HEADS // tiny.N_KV_HEADS) * n
        scores = [math.fsum(a * b for a, b in zip(q[h * n:(h + 1) * n], k[g:g + n])) / math.sqrt(n) for k in keys]
        weights = [math.exp(s - max(scores)) for s in scores]
        out += [math.fsum(w * v[g + i] for w, v in zip(weights, values)) / sum(weights) for i in range(n)]
    return out


def states(w, ids):
    """The normed states behind the last layer."""
    dim = tiny.DIM
    xs = [w["model.embed_tokens.weight"][2][i * dim:(i + 1) * dim] for i in ids]
    for layer in range(tiny.N_LAYERS):
        p = f"model.layers.{layer}."
        keys, values, out = [], [], []
        for position, x in enumerate(xs):
            h = rms_norm(w[p + "input_layernorm.weight"], x)
            q = rotate(matvec(w[p + "self_attn.q_proj.weight"], h), position)
            keys.append(f16(rotate(matvec(w[p + "self_attn.k_proj.weight"], h), position)))
            values.append(f16(matvec(w[p + "self_attn.v_proj.weight"], h)))
            x = [a + b for a, b in zip(x, matvec(w[p + "self_attn.o_proj.weight"], attend(q, keys, values)))]
            h = rms_norm(w[p + "post_attention_layernorm.weight"], x)
            gate, up = matvec(w[p + "mlp.gate_proj.weight"], h), matvec(w[p + "mlp.up_proj.weight"], h)
            h = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)]
            out.append([a + b for a, b in zip(x, matvec(w[p + "mlp.down_proj.weight"], h))])
        xs = out
    return [rms_norm(w["model.norm.weight"], x) for x in xs]


def unit(x):
    length = math.sqrt(math.fsum(v * v for v in x))
    return [v / length for v in x]


def far(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def vectors_are_those_of_another_program(folder):
    tokens, _ = tiny.vocabulary()
    w = tiny.weights(len(tokens))
    for pooling in ("mean", "last"):
        s = Server("-t", 2, "--slots", 2, "--no-store", "--numerics", "exact", "--pooling", pooling, model=str(TINY / "tiny-hf"))
        ids = s.post("/tokenize", {"content": "hello of the world and er"})["tokens"]
        assert len(ids) > 3
        want = states(w, ids)
        want = unit([math.fsum(c) for c in zip(*want)] if pooling == "mean" else want[-1])
        for given in ("hello of the world and er", ids, ["hello of the world and er"], [ids]):
            body = s.post("/v1/embeddings", {"input": given, "model": "x"})
            got = body["data"][0]["embedding"]
            assert far(got, want) < TOLERANCE, far(got, want)
        assert body["object"] == "list" and body["model"] == "x" and body["data"][0]["object"] == "embedding"
        assert body["usage"] == {"prompt_tokens": len(ids), "total_tokens": len(ids)}
        s.stop()


def forms_and_neighbours_change_nothing(folder):
    s = Server("-t", 1, "--slots", 3, "--no-store")
    inputs = ["hello", "the world of " * 300, "<|im_end|>", "é 🙂", "hello"]
    alone = [s.post("/v1/embeddings", {"input": i})["data"][0]["embedding"] for i in inputs]
    busy = threading.Thread(target=lambda: s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 500}))
    busy.start()
    together = s.post("/v1/embeddings", {"input": inputs})["data"]
    busy.join()
    assert [d["index"] for d in together] == list(range(len(inputs)))
    assert [d["embedding"] for d in together] == alone and alone[0] == alone[4] != alone[2]
    coded = s.post("/v1/embeddings", {"input": inputs, "encoding_format": "base64", "dimensions": tiny.DIM})["data"]
    for d, want in zip(coded, alone):
        raw = base64.b64decode(d["embedding"], validate=True)
        assert far(struct.unpack(f"<{tiny.DIM}f", raw), want) < 1e-8 and abs(math.fsum(v * v for v in want) - 1) < 1e-5
    assert len(s.post("/v1/embeddings", {"input": ["a"] * 300})["data"]) == 300  # more than the queue holds
    s.stop()


def what_cannot_be_is_a_400(folder):
    s = Server("-t", 1, "--slots", 1, "--no-store", "-c", 512)
    for body, param in (({}, "input"), ({"input": ""}, "input"), ({"input": []}, "input"), ({"input": ["a", ""]}, "input[1]"), ({"input": [[1], "a", 5]}, "input[2]"),
                        ({"input": {"a": 1}}, "input"), ({"input": [1, -1]}, "input"), ({"input": [1, 10 ** 9]}, "input"), ({"input": "a", "dimensions": 16}, "dimensions"),
                        ({"input": "a", "encoding_format": "int8"}, "encoding_format"), ({"input": ["a"] * 2049}, "input")):
        e = s.post("/v1/embeddings", body, code=400)["error"]
        assert e["param"] == param and len(e["message"]) > 10, (body, e)
    e = s.post("/v1/embeddings", {"input": ["a", "x y " * 5000]}, code=400)["error"]
    assert e["code"] == "context_length_exceeded", e
    s.wait_metric("jobs_running", 0)
    s.stop()
    refused("serve", "-m", str(TINY / "tiny.gguf"), "--no-store", "--port", 0, "--pooling", "max", says="--pooling")
    if not (TINY / "fathom-scripted").exists():
        raise Skip("the scripted model is not built")
    import scripted_model
    path = folder / "scripted.gguf"
    scripted_model.write(path, [("", "x")])
    s = Server("--slots", 1, "--no-store", model=path, program=TINY / "fathom-scripted")
    e = s.post("/v1/embeddings", {"input": "a"}, code=400)["error"]
    assert "no embeddings" in e["message"] and e["param"] == "model", json.dumps(e)
    s.stop()


main([vectors_are_those_of_another_program, forms_and_neighbours_change_nothing, what_cannot_be_is_a_400])
