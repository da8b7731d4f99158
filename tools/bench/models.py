#!/usr/bin/env python3
"""Writes random GGUF models in the block formats that people run, for benchmarks: nothing but the standard library, the same
bytes every time.

    tools/bench/models.py OUT.gguf llama TYPE [--layers N] [--vocab N]     the shape of Llama-3.2-1B
    tools/bench/models.py OUT.gguf deepseek4 MXFP4 --layers N [--vocab N]  N layers of DeepSeek V4 Flash, ratios 4, 128, 4, ...

TYPE is a format of BLOCKS. Q4_K puts Q6_K where Q4_K_M files have it: the embedding, and value and down projections of every
second layer. V4's experts take TYPE, its other matrices Q8_0, compressors and indexer BF16, as in published files. --tiny makes
either in a few megabytes, for tests.

A tensor repeats the blocks of a pool whose length is a prime number: no two rows of a matrix are equal, and gigabytes take
seconds. Speed depends on shapes and formats, not on the values; these are sane, so that logits are numbers."""
import argparse
import math
import random
import struct

PLAIN = {"F32": 0, "BF16": 30, "I32": 26}
BLOCKS = {  # GGUF's number, values in a block, bytes
    "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210), "MXFP4": (39, 32, 17),
}
POOL = {1: 262147, 32: 32771, 256: 8209}  # blocks in a pool, by values in a block
ALIGNMENT = 32

LLAMA = {"dim": 2048, "layers": 16, "ffn": 8192, "heads": 32, "kv_heads": 8, "head": 64, "vocab": 128256}
LLAMA_TINY = {"dim": 256, "layers": 2, "ffn": 512, "heads": 4, "kv_heads": 2, "head": 64, "vocab": 512}
V4 = {"dim": 4096, "heads": 64, "head": 512, "q_lora": 1024, "groups": 8, "o_lora": 1024, "experts": 256, "active": 6, "inter": 2048,
      "index_heads": 64, "index_head": 128, "topk": 512, "window": 128, "vocab": 16384}
V4_TINY = {"dim": 256, "heads": 4, "head": 128, "q_lora": 128, "groups": 2, "o_lora": 64, "experts": 8, "active": 2, "inter": 128,
           "index_heads": 16, "index_head": 128, "topk": 8, "window": 32, "vocab": 512}


def half(x):
    return struct.pack("<e", x)


def block_maker(kind, spread):
    """A function of one random source that gives one block; its values have about this root mean square."""
    n_bytes = BLOCKS[kind][2]
    if kind == "Q4_0":
        return lambda r: half(spread / 4.6) + r.randbytes(16)
    if kind == "Q4_1":
        return lambda r: half(spread / 4.6) + half(-7.5 * spread / 4.6) + r.randbytes(16)
    if kind == "Q8_0":
        return lambda r: half(spread / 74) + r.randbytes(32)
    if kind == "Q4_K":  # 6-bit scales and minima of 16 .. 31: the upper bits that four bytes share are 0
        return lambda r: half(spread / 110) + half(spread / 110 * 7.5) + bytes(
            (b & 15 | 16) for b in r.randbytes(12)) + r.randbytes(n_bytes - 16)
    if kind == "Q6_K":
        return lambda r: r.randbytes(192) + bytes(1 + b % 39 for b in r.randbytes(16)) + half(spread / 430)
    exponent = 127 + round(math.log2(spread / 2.93))
    return lambda r: bytes([exponent + r.getrandbits(1)]) + r.randbytes(16)


class Pools:
    def __init__(self):
        self.kept = {}

    def get(self, kind, spread):
        if (kind, spread) not in self.kept:
            r = random.Random(f"{kind} {spread}")
            if kind in BLOCKS:
                make, n = block_maker(kind, spread), POOL[BLOCKS[kind][1]]
                data = b"".join(make(r) for _ in range(n))
            else:
                values = [r.gauss(0, spread) for _ in range(POOL[1])]
                data = struct.pack(f"<{len(values)}f", *values)
                if kind == "BF16":
                    data = b"".join(data[i + 2:i + 4] for i in range(0, len(data), 4))
            self.kept[kind, spread] = data
        return self.kept[kind, spread]


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(x):
    """Type and bytes of a metadata value."""
    if isinstance(x, bool):
        return struct.pack("<IB", 7, x)
    if isinstance(x, int):
        return struct.pack("<II", 4, x)
    if isinstance(x, float):
        return struct.pack("<If", 6, x)
    if isinstance(x, str):
        return struct.pack("<I", 8) + string(x)
    items = b"".join(value(i)[4:] for i in x)
    kind = struct.pack("<I", 5) if isinstance(x[0], int) else value(x[0])[:4]  # whole numbers in lists are I32
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(x)) + items


def tokenizer(n_vocab):
    """Every byte is a token, the others are never met."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    letters = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]
    tokens = ["<bos>", "<eos>", *letters, "aa"]
    kinds = [3, 3] + [1] * (len(tokens) - 2)
    tokens += [f"<{i}>" for i in range(len(tokens), n_vocab)]
    return {"model": "gpt2", "pre": "llama-bpe", "tokens": tokens, "token_type": kinds + [5] * (n_vocab - len(kinds)),
            "merges": ["a a"], "bos_token_id": 0, "eos_token_id": 1}


def llama(kind, c):
    """Metadata and tensors (name, format, dimensions with the fastest first, spread) of a Llama."""
    wide = "Q6_K" if kind == "Q4_K" else kind
    d, ffn, q, kv = c["dim"], c["ffn"], c["heads"] * c["head"], c["kv_heads"] * c["head"]
    keys = {"block_count": c["layers"], "context_length": 8192, "embedding_length": d, "feed_forward_length": ffn,
            "attention.head_count": c["heads"], "attention.head_count_kv": c["kv_heads"], "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.dimension_count": c["head"], "rope.freq_base": 500000.0, "vocab_size": c["vocab"]}
    tensors = [("token_embd", wide, [d, c["vocab"]], 0.02), ("output_norm", "F32", [d], None)]
    for i in range(c["layers"]):
        b, often = f"blk.{i}.", wide if i % 2 == 0 else kind
        tensors += [(b + "attn_norm", "F32", [d], None), (b + "ffn_norm", "F32", [d], None)]
        tensors += [(b + name, t, [cols, rows], cols ** -0.5) for name, t, cols, rows in (
            ("attn_q", kind, d, q), ("attn_k", kind, d, kv), ("attn_v", often, d, kv), ("attn_output", kind, q, d),
            ("ffn_gate", kind, d, ffn), ("ffn_up", kind, d, ffn), ("ffn_down", often, ffn, d))]
    return keys, tensors


def v4_block(b, ratio, kind, c):
    d, head, q = c["dim"], c["head"], c["heads"] * c["head"]
    inter, experts, o = c["inter"], c["experts"], c["groups"] * c["o_lora"]
    width, index_width = (2 if ratio == 4 else 1) * head, 2 * c["index_head"]
    vectors = [("attn_norm", [d], None), ("attn_q_a_norm", [c["q_lora"]], None), ("attn_kv_a_norm", [head], None), ("ffn_norm", [d], None),
               ("attn_sinks", [c["heads"]], 0.1), ("exp_probs_b.bias", [experts], 0.05), ("attn_compressor_norm", [head], None),
               ("attn_compressor_ape", [width, ratio], 0.1)]
    matrices = [("attn_q_a", "Q8_0", d, c["q_lora"]), ("attn_q_b", "Q8_0", c["q_lora"], q), ("attn_kv", "Q8_0", d, head),
                ("attn_output_a", "Q8_0", q // c["groups"], o), ("attn_output_b", "Q8_0", o, d),
                ("ffn_gate_shexp", "Q8_0", d, inter), ("ffn_up_shexp", "Q8_0", d, inter), ("ffn_down_shexp", "Q8_0", inter, d),
                ("attn_compressor_kv", "BF16", d, width), ("attn_compressor_gate", "BF16", d, width), ("ffn_gate_inp", "F32", d, experts)]
    for site in ("attn", "ffn"):
        vectors += [(f"hc_{site}_base", [24], 0.1), (f"hc_{site}_scale", [3], None)]
        matrices += [(f"hc_{site}_fn", "F32", 4 * d, 24)]
    if ratio == 4:
        vectors += [("indexer_compressor_ape", [index_width, 4], 0.1), ("indexer_compressor_norm", [c["index_head"]], None)]
        matrices += [("indexer.proj", "BF16", d, c["index_heads"]), ("indexer.attn_q_b", "Q8_0", c["q_lora"], c["index_heads"] * c["index_head"]),
                     ("indexer_compressor_kv", "BF16", d, index_width), ("indexer_compressor_gate", "BF16", d, index_width)]
    tensors = [(b + name, "F32", shape, spread) for name, shape, spread in vectors]
    tensors += [(b + name, t, [cols, rows], cols ** -0.5) for name, t, cols, rows in matrices]
    return tensors + [(b + name, kind, [cols, rows, experts], cols ** -0.5) for name, cols, rows in (
        ("ffn_gate_exps", d, inter), ("ffn_up_exps", d, inter), ("ffn_down_exps", inter, d))]


def deepseek4(kind, c):
    d, n = c["dim"], c["layers"]
    ratios = [4 if i % 2 == 0 else 128 for i in range(n)]
    keys = {"block_count": n, "context_length": 1048576, "embedding_length": d, "feed_forward_length": c["inter"], "vocab_size": c["vocab"],
            "attention.head_count": c["heads"], "attention.head_count_kv": 1, "attention.key_length": c["head"],
            "attention.value_length": c["head"], "attention.layer_norm_rms_epsilon": 1e-6, "attention.q_lora_rank": c["q_lora"],
            "attention.sliding_window": c["window"], "attention.indexer.head_count": c["index_heads"],
            "attention.indexer.key_length": c["index_head"], "attention.indexer.top_k": c["topk"],
            "attention.output_group_count": c["groups"], "attention.output_lora_rank": c["o_lora"],
            "attention.compress_ratios": ratios, "attention.compress_rope_freq_base": 160000.0, "rope.dimension_count": 64,
            "rope.freq_base": 10000.0, "rope.scaling.type": "yarn", "rope.scaling.factor": 16.0, "rope.scaling.yarn_beta_fast": 32.0,
            "rope.scaling.yarn_beta_slow": 1.0, "rope.scaling.original_context_length": 65536, "expert_count": c["experts"],
            "expert_used_count": c["active"], "expert_shared_count": 1, "expert_feed_forward_length": c["inter"],
            "expert_weights_scale": 1.5, "expert_weights_norm": True, "expert_gating_func": 4, "hyper_connection.count": 4,
            "hyper_connection.sinkhorn_iterations": 20, "hyper_connection.epsilon": 1e-6, "hash_layer_count": 0,
            "swiglu_clamp_exp": [10.0] * n, "swiglu_clamp_shexp": [10.0] * n}
    tensors = [("token_embd", "Q8_0", [d, c["vocab"]], 1.0), ("output_norm", "F32", [d], None), ("output", "Q8_0", [d, c["vocab"]], d ** -0.5),
               ("output_hc_fn", "F32", [4 * d, 4], d ** -0.5), ("output_hc_base", "F32", [4], 0.1), ("output_hc_scale", "F32", [1], None)]
    for i, ratio in enumerate(ratios):
        tensors += v4_block(f"blk.{i}.", ratio, kind, c)
    return keys, tensors


def n_bytes(kind, shape):
    count = math.prod(shape)
    if kind in PLAIN:
        return count * (2 if kind == "BF16" else 4)
    _, block, size = BLOCKS[kind]
    assert shape[0] % block == 0, (kind, shape)
    return count // block * size


def write_data(f, pool, size, start):
    at = start
    while size > 0:
        part = pool[at:at + size]
        f.write(part)
        size -= len(part)
        at = 0


def write(path, arch, kind, config):
    keys, tensors = {"llama": llama, "deepseek4": deepseek4}[arch](kind, config)
    head = [("general.architecture", arch), ("general.name", f"random {arch} {kind}")]
    head += [(f"{arch}.{k}", v) for k, v in keys.items()]
    head += [(f"tokenizer.ggml.{k}", v) for k, v in tokenizer(config["vocab"]).items()]
    text = b"".join(string(k) + value(v) for k, v in head)
    places, offset = [], 0
    for name, t, shape, _ in tensors:
        name += "" if name.endswith(".bias") else ".weight"
        text += string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        text += struct.pack("<IQ", PLAIN[t] if t in PLAIN else BLOCKS[t][0], offset)
        places.append(offset)
        offset += n_bytes(t, shape) + -n_bytes(t, shape) % ALIGNMENT
    text = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(head)) + text
    base = len(text) + -len(text) % ALIGNMENT
    pools, place = Pools(), random.Random(2)
    with open(path, "wb") as f:
        f.write(text)
        f.truncate(base + offset)
        for (_, t, shape, spread), at in zip(tensors, places):
            f.seek(base + at)
            if spread is None:
                f.write(struct.pack("<f", 1) * shape[0])
                continue
            pool, unit = pools.get(t, spread), n_bytes(t, [BLOCKS[t][1] if t in BLOCKS else 1])
            write_data(f, pool, n_bytes(t, shape), place.randrange(len(pool) // unit) * unit)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("arch", choices=("llama", "deepseek4"))
    p.add_argument("type", choices=sorted(BLOCKS))
    p.add_argument("--layers", type=int)
    p.add_argument("--vocab", type=int)
    p.add_argument("--tiny", action="store_true")
    a = p.parse_args()
    config = dict((LLAMA_TINY if a.tiny else LLAMA) if a.arch == "llama" else (V4_TINY if a.tiny else V4) | {"layers": 2})
    config |= {k: v for k, v in (("layers", a.layers), ("vocab", a.vocab)) if v}
    write(a.out, a.arch, a.type, config)


if __name__ == "__main__":
    main()
