"""DeepSeek V4 in NumPy, float64, whole sequences at once: a second opinion on src/model/deepseek_v4.

Written from the specification's formulas in batch form: there is no cache, no state and no order of arrival. Every tensor of
the forward pass is built for all tokens together, with masks where the engine has rings and counters. It reads checkpoints of
the official layout (sharded safetensors; FP8, FP4, BF16, F32) as `fathom synth` writes them.

Roundings are optional and counted: `Roundings.margin` is the smallest relative distance of any decision (a rounding, a scale, a
selection) from its tie, so that a recorded run can be known to be free of decisions that float32 might take otherwise.
"""
import json
import math
import pathlib
import struct

import numpy as np

RATIO_CSA = 4


def e4m3_table():
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    value = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value[code & 127 == 127] = np.nan
    return np.where(code & 128, -value, value)


E4M3 = e4m3_table()
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


class Folder:
    """A checkpoint folder: config.json and tensors by name, dequantised to float64."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.config = json.loads((self.path / "config.json").read_text())
        self.where = {}
        for shard in sorted(set(json.loads((self.path / "model.safetensors.index.json").read_text())["weight_map"].values())):
            data = (self.path / shard).read_bytes()
            (n,) = struct.unpack_from("<Q", data)
            for name, entry in json.loads(data[8:8 + n]).items():
                if name != "__metadata__":
                    begin, end = entry["data_offsets"]
                    self.where[name] = (entry["dtype"], entry["shape"], data[8 + n + begin:8 + n + end])

    def __contains__(self, name):
        return name in self.where

    def raw(self, name):
        dtype, shape, data = self.where[name]
        kind = {"F32": "<f4", "I64": "<i8", "I8": "u1", "BF16": "<u2", "F8_E4M3": "u1", "F8_E8M0": "u1"}[dtype]
        return dtype, np.frombuffer(data, kind).reshape(shape)

    def __getitem__(self, name):
        dtype, a = self.raw(name)
        if dtype == "BF16":
            return (a.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        if dtype in ("F32", "I64"):
            return a.astype(np.float64 if dtype == "F32" else np.int64)
        scale = np.exp2(self.raw(name.removesuffix(".weight") + ".scale")[1].astype(np.float64) - 127)
        if dtype == "F8_E4M3":
            rows, cols = a.shape
            return E4M3[a] * scale.repeat(128, 0)[:rows].repeat(128, 1)[:, :cols]
        codes = np.stack([a & 15, a >> 4], -1).reshape(a.shape[0], -1)  # I8: two E2M1 codes, even input first
        return E2M1[codes] * scale.repeat(32, 1)

    def is_quantised(self, name):
        return self.where[name][0] in ("F8_E4M3", "I8")


class Roundings:
    """Which roundings take part, and how close the closest decision was to a tie."""

    def __init__(self, cache=False, activations=False):
        self.cache, self.activations = cache, activations
        self.margin = np.inf

    def see(self, distance):
        if distance.size:
            self.margin = min(self.margin, float(distance.min()))

    def to_grid(self, x, grid):
        """Nearest value of a symmetric grid of non-negative values, ties to the even index."""
        a = np.minimum(np.abs(x), grid[-1])
        upper = np.clip(np.searchsorted(grid, a), 1, len(grid) - 1)
        low, high = grid[upper - 1], grid[upper]
        middle = (low + high) / 2
        up = (a > middle) | ((a == middle) & (upper % 2 == 0))
        close = a[a > 0]
        self.see(np.abs(close - middle[a > 0]) / close)
        return np.sign(x) * np.where(up, high, low)

    def blocks(self, x, run, grid, least):
        """Runs of channels, each scaled by a power of two that brings its largest value into the grid."""
        width = x.shape[-1]
        pad = -width % run
        y = np.concatenate([x, np.zeros(x.shape[:-1] + (pad,))], -1).reshape(x.shape[:-1] + (-1, run))
        largest = np.maximum(np.abs(y).max(-1, keepdims=True), least) / grid[-1]
        exponent = np.ceil(np.log2(largest))
        real = largest * grid[-1] > least
        self.see(np.abs(largest / np.exp2(np.rint(np.log2(largest))) - 1)[real])
        scale = np.exp2(exponent)
        return (self.to_grid(y / scale, grid) * scale).reshape(x.shape[:-1] + (-1,))[..., :width]

    def fp8(self, x, run):
        return self.blocks(x, run, E4M3[:127], 1e-4)

    def fp4(self, x):
        return self.blocks(x, 32, E2M1[:8], 6 * 2.0**-126)

    def bf16(self, x):
        """Eight bits of significand."""
        significand, exponent = np.frexp(x)
        y = significand * 256
        self.see((np.abs(np.abs(y - np.floor(y)) - 0.5) / 256)[x != 0])
        return np.ldexp(np.rint(y) / 256, exponent)

    def top(self, score, k):
        """Indices of the k largest of each row, best first, the lower index winning ties."""
        order = np.argsort(-score, axis=-1, kind="stable")
        if k < score.shape[-1]:
            sorted_score = np.take_along_axis(score, order, -1)
            a, b = sorted_score[..., k - 1], sorted_score[..., k]
            real = np.isfinite(b) & (a != b)
            a, b = a[real], b[real]
            self.see((a - b) / np.maximum(np.abs(a), np.abs(b)))
        return order[..., :k]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalised(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sinkhorn(logits, iterations, eps):
    m = normalised(logits, -1) + eps
    m /= m.sum(-2, keepdims=True) + eps
    for _ in range(iterations - 1):
        m /= m.sum(-1, keepdims=True) + eps
        m /= m.sum(-2, keepdims=True) + eps
    return m


def hadamard_matrix(n):
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return h / math.sqrt(n)


class Model:
    def __init__(self, folder, roundings):
        self.w, self.r, c = folder, roundings, folder.config
        self.c = c
        self.eps = c["rms_norm_eps"]
        self.n_layers, self.rope_dim = c["num_hidden_layers"], c["qk_rope_head_dim"]
        self.ratios = c["compress_ratios"]
        self.seen = {}

    def keep(self, name, value):
        self.seen[name] = np.array(value)
        return value

    # ---- pieces ----

    def linear(self, name, x):
        w = self.w[name]
        if self.r.activations and self.w.is_quantised(name):
            x = self.r.fp8(x, 128)
        return x @ w.T

    def norm(self, x, name=None):
        y = x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps)
        return y * self.w[name] if name else y

    def frequencies(self, compressed):
        c, half = self.c, self.rope_dim // 2
        i = np.arange(half)
        if not compressed:
            return float(c["rope_theta"]) ** (-2 * i / self.rope_dim)
        s, base = c["rope_scaling"], float(c["compress_rope_theta"])
        f = base ** (-2 * i / self.rope_dim)
        turns = lambda n: self.rope_dim * math.log(s["original_max_position_embeddings"] / (n * 2 * math.pi)) / (2 * math.log(base))
        low, high = max(math.floor(turns(s["beta_fast"])), 0), min(math.ceil(turns(s["beta_slow"])), self.rope_dim - 1)
        ramp = np.clip((i - low) / (high - low if high > low else 0.001), 0, 1)
        return f * (1 - ramp) + f / s["factor"] * ramp

    def rotate(self, x, positions, compressed, back=False):
        """Last rope_dim channels of (tokens, ..., channels) as complex numbers of neighbours, turned by their position."""
        angle = np.multiply.outer(np.asarray(positions, np.float64), self.frequencies(compressed)) * (-1 if back else 1)
        angle = angle.reshape(angle.shape[:1] + (1,) * (x.ndim - 2) + angle.shape[1:])
        still, tail = x[..., :-self.rope_dim], x[..., -self.rope_dim:]
        z = (tail[..., 0::2] + 1j * tail[..., 1::2]) * np.exp(1j * angle)
        return np.concatenate([still, np.stack([z.real, z.imag], -1).reshape(tail.shape)], -1)

    def cached(self, row):
        """A key as the cache keeps it."""
        if not self.r.cache:
            return row
        still, tail = row[..., :-self.rope_dim], row[..., -self.rope_dim:]
        return np.concatenate([self.r.fp8(still, 64), self.r.bf16(tail)], -1)

    # ---- hyper-connections ----

    def mixing(self, prefix, streams):
        v = streams.reshape(len(streams), -1)
        return self.norm(v) @ self.w[prefix + "fn"].T

    def site(self, prefix, tag, streams, sublayer):
        scale, base = self.w[prefix + "scale"], self.w[prefix + "base"]
        m = self.mixing(prefix, streams)
        pre = self.keep(tag + "pre", sigmoid(m[:, :4] * scale[0] + base[:4]) + self.c["hc_eps"])
        post = self.keep(tag + "post", 2 * sigmoid(m[:, 4:8] * scale[1] + base[4:8]))
        logits = (m[:, 8:] * scale[2] + base[8:]).reshape(-1, 4, 4)
        comb = self.keep(tag + "comb", sinkhorn(logits, self.c["hc_sinkhorn_iters"], self.c["hc_eps"]))
        x = self.keep(tag + "collapsed", np.matmul(pre[:, None, :], streams)[:, 0])
        y = self.keep(tag + "out", sublayer(x))
        mixed = np.matmul(comb.transpose(0, 2, 1), streams)
        return self.keep(tag + "streams", mixed + post[:, :, None] * y[:, None, :])

    def contract(self, prefix, streams):
        a = sigmoid(self.mixing(prefix, streams) * self.w[prefix + "scale"] + self.w[prefix + "base"]) + self.c["hc_eps"]
        return np.matmul(a[:, None, :], streams)[:, 0]

    # ---- attention ----

    def compressed(self, prefix, x, ratio, width):
        """Finished entries (n, width) before their storage rounding, in order; rotated by their first token's position."""
        n, ape = len(x) // ratio, self.w[prefix + "ape"]
        kv, gate = x @ self.w[prefix + "wkv.weight"].T, x @ self.w[prefix + "wgate.weight"].T
        kv = kv[:n * ratio].reshape(n, ratio, -1)
        gate = gate[:n * ratio].reshape(n, ratio, -1) + ape
        if ratio == RATIO_CSA:  # the window before through the first half, an entry's own through the second
            nothing = np.full((1, ratio, width), -np.inf)
            before_gate = np.concatenate([nothing, gate[:-1, :, :width]])[:n]
            before_kv = np.concatenate([np.zeros((1, ratio, width)), kv[:-1, :, :width]])[:n]
            gate = np.concatenate([before_gate, gate[:, :, width:]], 1)
            kv = np.concatenate([before_kv, kv[:, :, width:]], 1)
        if n == 0:
            return np.zeros((0, width))
        entries = self.norm((normalised(gate, 1) * kv).sum(1), prefix + "norm.weight")
        return self.rotate(entries, np.arange(n) * ratio, True)

    def picks(self, prefix, tag, x, qr, positions):
        """(tokens, entries) of bool: what the indexer lets each token see."""
        c, n_tokens = self.c, len(x)
        heads, width, k = c["index_n_heads"], c["index_head_dim"], c["index_topk"]
        q = self.linear(prefix + "wq_b.weight", qr).reshape(n_tokens, heads, width)
        q = self.rotate(q, positions, True)
        keys = self.compressed(prefix + "compressor.", x, RATIO_CSA, width)
        if self.r.cache:
            h = hadamard_matrix(width)
            q, keys = self.r.fp4(q @ h), self.r.fp4(keys @ h)
        weight = x @ self.w[prefix + "weights_proj.weight"].T / math.sqrt(width * heads)
        self.keep(tag + "idx_q", q), self.keep(tag + "idx_w", weight), self.keep(tag + "idx_k", keys)
        score = (np.maximum(np.einsum("thd,ed->the", q, keys), 0) * weight[:, :, None]).sum(1)
        visible = (positions[:, None] + 1) // RATIO_CSA > np.arange(len(keys))
        score = np.where(visible, score, -np.inf)
        chosen = np.zeros_like(visible)
        best = self.r.top(score, k)
        np.put_along_axis(chosen, best, True, -1)
        chosen &= visible
        lists = np.full((n_tokens, k), -1)
        for t, row in enumerate(chosen):
            entries = np.flatnonzero(row)
            lists[t, :len(entries)] = entries
        self.keep(tag + "idx_pick", lists)
        return chosen

    def queries(self, prefix, tag, x, positions, compressed):
        c = self.c
        qr = self.keep(tag + "qr", self.norm(self.linear(prefix + "wq_a.weight", x), prefix + "q_norm.weight"))
        q = self.norm(self.linear(prefix + "wq_b.weight", qr).reshape(len(x), c["num_attention_heads"], c["head_dim"]))
        return qr, self.keep(tag + "q", self.rotate(q, positions, compressed))

    def window_keys(self, prefix, x, positions, compressed):
        kv = self.norm(self.linear(prefix + "wkv.weight", x), prefix + "kv_norm.weight")
        return self.cached(self.rotate(kv, positions, compressed))

    def attend(self, prefix, tag, q, keys, mask, positions, compressed):
        """Masked attention with keys as values, the sink, the way back and the grouped projection."""
        c = self.c
        sink = self.w[prefix + "attn_sink"][None, :, None]
        score = np.einsum("tkd,sd->tks", q, keys) / math.sqrt(c["head_dim"])
        score = np.where(mask[:, None, :], score, -np.inf)
        p = normalised(np.concatenate([score, np.broadcast_to(sink, score.shape[:2] + (1,))], -1), -1)[..., :-1]
        o = self.keep(tag + "heads", np.einsum("tks,sd->tkd", p, keys))
        o = self.rotate(o, positions, compressed, back=True).reshape(len(q), c["o_groups"], -1)
        blocks = self.w[prefix + "wo_a.weight"].reshape(c["o_groups"], c["o_lora_rank"], -1)
        z = self.keep(tag + "o_lora", np.stack([o[:, g] @ blocks[g].T for g in range(c["o_groups"])], 1))
        return self.linear(prefix + "wo_b.weight", z.reshape(len(q), -1))

    def attention(self, prefix, tag, x, ratio):
        n = len(x)
        positions = np.arange(n)
        qr, q = self.queries(prefix, tag, x, positions, ratio != 0)
        keys = self.keep(tag + "kv", self.window_keys(prefix, x, positions, ratio != 0))
        age = positions[:, None] - positions[None, :]
        mask = (age >= 0) & (age < self.c["sliding_window"])
        if ratio:
            entries = self.cached(self.compressed(prefix + "compressor.", x, ratio, self.c["head_dim"]))
            self.keep(tag + "comp_kv", entries)
            if ratio == RATIO_CSA:
                visible = self.picks(prefix + "indexer.", tag, x, qr, positions)
            else:
                visible = (positions[:, None] + 1) // ratio > np.arange(len(entries))
            keys, mask = np.concatenate([keys, entries]), np.concatenate([mask, visible], 1)
        return self.attend(prefix, tag, q, keys, mask, positions, ratio != 0)

    # ---- experts ----

    def expert(self, prefix, x, weight):
        limit = self.c["swiglu_limit"]
        gate = np.minimum(self.linear(prefix + "w1.weight", x), limit)
        up = np.clip(self.linear(prefix + "w3.weight", x), -limit, limit)
        return self.linear(prefix + "w2.weight", gate * sigmoid(gate) * up * weight)

    def experts(self, prefix, tag, x, ids):
        score = self.keep(tag + "scores", np.sqrt(np.logaddexp(0, x @ self.w[prefix + "gate.weight"].T)))
        if prefix + "gate.tid2eid" in self.w:
            chosen = self.w[prefix + "gate.tid2eid"][ids]
        else:
            chosen = self.r.top(score + self.w[prefix + "gate.bias"], self.c["num_experts_per_tok"])
        weight = np.take_along_axis(score, chosen, -1)
        weight = weight / weight.sum(-1, keepdims=True) * self.c["routed_scaling_factor"]
        self.keep(tag + "idx", chosen), self.keep(tag + "weights", weight)
        y = self.expert(prefix + "shared_experts.", x, 1.0)
        for e in np.unique(chosen):
            token, slot = np.nonzero(chosen == e)
            y[token] += self.expert(f"{prefix}experts.{e}.", x[token], weight[token, slot][:, None])
        return y

    # ---- the whole ----

    def block(self, prefix, streams, ids, attention):
        def attend(x):
            return attention(prefix + "attn.", prefix + "A.", self.norm(x, prefix + "attn_norm.weight"))

        def feed(x):
            return self.experts(prefix + "ffn.", prefix + "F.", self.norm(x, prefix + "ffn_norm.weight"), ids)

        streams = self.site(prefix + "hc_attn_", prefix + "A.", streams, attend)
        return self.site(prefix + "hc_ffn_", prefix + "F.", streams, feed)

    def embed(self, ids):
        return np.repeat(self.w["embed.weight"][ids][:, None], 4, 1)

    def backbone(self, ids):
        """Streams after every layer; leaves the logits of all tokens in seen."""
        ids, after = np.asarray(ids), []
        streams = self.embed(ids)
        for i in range(self.n_layers):
            ratio = self.ratios[i]
            streams = self.block(f"layers.{i}.", streams, ids, lambda p, tag, x: self.attention(p, tag, x, ratio))
            after.append(streams)
        self.keep("logits", self.norm(self.contract("hc_head_", streams), "norm.weight") @ self.w["head.weight"].T)
        return after

    def mtp(self, streams, next_ids):
        """Streams of token t with the id of t + 1: logits for t + 2, all t at once."""
        p, ids = "mtp.0.", np.asarray(next_ids)
        e = self.linear(p + "e_proj.weight", self.norm(self.w["embed.weight"][ids], p + "enorm.weight"))
        x = self.linear(p + "h_proj.weight", self.norm(streams, p + "hnorm.weight")) + e[:, None]
        x = self.block(p, self.keep(p + "in", x), ids, lambda pre, tag, v: self.attention(pre, tag, v, 0))
        return self.keep(p + "logits", self.norm(self.contract(p + "hc_head_", x), p + "norm.weight") @ self.w["head.weight"].T)

    def dspark(self, after, newest, n_draft):
        """A block of n_draft tokens behind the committed ones: (ids picked greedily, logits they were picked from)."""
        c, n = self.c, len(after[0])
        features = np.concatenate([after[i].mean(1) for i in c["dspark_target_layer_ids"]], -1)
        features = self.keep("mtp.0.features", features)
        context = self.norm(self.linear("mtp.0.main_proj.weight", features), "mtp.0.main_norm.weight")
        ids = np.array([newest] + [c["dspark_noise_token_id"]] * (n_draft - 1))
        positions = n + np.arange(n_draft)
        x, last = self.embed(ids), c["num_nextn_predict_layers"] - 1
        for stage in range(last + 1):

            def attention(prefix, tag, v):
                ring = self.window_keys(prefix, context, np.arange(n), False)[-c["sliding_window"]:]
                own = self.keep(tag + "kv", self.window_keys(prefix, v, positions, False))
                _, q = self.queries(prefix, tag, v, positions, False)
                keys = np.concatenate([ring, own])
                return self.attend(prefix, tag, q, keys, np.ones((n_draft, len(keys)), bool), positions, False)

            x = self.block(f"mtp.{stage}.", x, ids, attention)
        p = f"mtp.{last}."
        hidden = self.norm(self.contract(p + "hc_head_", x), p + "norm.weight")
        base = self.keep(p + "logits", hidden @ self.w["head.weight"].T)
        picked, logits, before = [], [], newest
        for i in range(n_draft):
            row = base[i] + self.w[p + "markov_head.markov_w2.weight"] @ self.w[p + "markov_head.markov_w1.weight"][before]
            before = int(row.argmax())
            picked.append(before), logits.append(row)
        return self.keep("drafts.ids", np.array(picked)), self.keep("drafts.logits", np.array(logits))
