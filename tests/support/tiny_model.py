#!/usr/bin/env python3
"""Writes tiny models with random weights for the tests of whole programs: standard library only, the same bytes every time.

    tiny_model.py FOLDER    writes into it
        tiny.gguf           llama, F16 attention, Q8_0 elsewhere, ChatML template
        tiny-f32.gguf       the same model before quantisation
        tiny-hf/            the same as a Hugging Face folder: F32 safetensors in two shards, tokenizer.json
        alien.gguf          an architecture that nobody has

Greedy decoding never ends by itself: the logit of a control token is half of another token's, so it is never the largest."""
import json
import pathlib
import random
import struct
import sys

DIM, N_LAYERS, N_HEADS, N_KV_HEADS, HEAD_DIM, FFN, N_CTX = 64, 2, 4, 2, 16, 128, 16384
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
            "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
# SmolLM's: each digit alone, then GPT-2's pattern.
PRETOKENIZER = {"type": "Sequence", "pretokenizers": [
    {"type": "Digits", "individual_digits": True},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
GGUF_F32, GGUF_F16, GGUF_Q8_0 = 0, 1, 8


def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet, extra = {}, 256
    for b in range(256):
        if b in plain:
            alphabet[b] = chr(b)
        else:
            alphabet[b] = chr(extra)
            extra += 1
    return alphabet


def vocabulary():
    """Tokens in id order and merges in rank order, from a handful of words."""
    alphabet = byte_alphabet()
    tokens = SPECIAL + [alphabet[b] for b in sorted(alphabet, key=lambda b: alphabet[b])]
    merges = []
    for word in [" the", " and", "ing", " of", "er", " to", "hello", " world", "ould", "é", " int", "return", "\n    "]:
        parts = [alphabet[b] for b in word.encode()]
        while len(parts) > 1:
            pair = next((p for p in merges if p in zip(parts, parts[1:])), None) or (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
                tokens.append(pair[0] + pair[1])
            at = next(i for i in range(len(parts)) if (parts[i], parts[i + 1]) == pair)
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return tokens, merges


def weights(n_vocab):
    """Hugging Face name -> (rows or None, columns, values rounded to F32)."""
    rng = random.Random(20240607)

    def f32(values):
        return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))

    def matrix(rows, cols, scale):
        return rows, cols, f32([rng.gauss(0, scale) for _ in range(rows * cols)])

    def norm(n):
        return None, n, f32([1 + rng.uniform(-0.2, 0.2) for _ in range(n)])

    w = {"model.embed_tokens.weight": matrix(n_vocab, DIM, 1.0), "model.norm.weight": norm(DIM)}
    rows, cols, head = matrix(n_vocab, DIM, 0.4)
    for control in range(len(SPECIAL)):
        head[control * DIM:(control + 1) * DIM] = [x / 2 for x in head[40 * DIM:41 * DIM]]
    w["lm_head.weight"] = rows, cols, head
    for i in range(N_LAYERS):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = norm(DIM)
        w[p + "self_attn.q_proj.weight"] = matrix(N_HEADS * HEAD_DIM, DIM, 0.2)
        w[p + "self_attn.k_proj.weight"] = matrix(N_KV_HEADS * HEAD_DIM, DIM, 0.2)
        w[p + "self_attn.v_proj.weight"] = matrix(N_KV_HEADS * HEAD_DIM, DIM, 0.2)
        w[p + "self_attn.o_proj.weight"] = matrix(DIM, N_HEADS * HEAD_DIM, 0.2)
        w[p + "post_attention_layernorm.weight"] = norm(DIM)
        w[p + "mlp.gate_proj.weight"] = matrix(FFN, DIM, 0.2)
        w[p + "mlp.up_proj.weight"] = matrix(FFN, DIM, 0.2)
        w[p + "mlp.down_proj.weight"] = matrix(DIM, FFN, 0.2)
    return w


def pack_f32(values):
    return struct.pack(f"<{len(values)}f", *values)


def pack_f16(values):
    return struct.pack(f"<{len(values)}e", *values)


def pack_q8_0(values):
    out = bytearray()
    for i in range(0, len(values), 32):
        block = values[i:i + 32]
        d = struct.unpack("<e", struct.pack("<e", max(map(abs, block)) / 127))[0]
        out += struct.pack("<e32b", d, *(max(-127, min(127, round(x / d))) if d else 0 for x in block))
    return bytes(out)


def gguf_string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def gguf_value(v):
    """Value type and bytes: u32, f32, bool, string or an array of one of them."""
    if isinstance(v, bool):
        return 7, struct.pack("<B", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, float):
        return 6, struct.pack("<f", v)
    if isinstance(v, str):
        return 8, gguf_string(v)
    items = [gguf_value(x) for x in v]
    return 9, struct.pack("<IQ", items[0][0], len(items)) + b"".join(b for _, b in items)


def write_gguf(path, keys, tensors):
    """tensors: name -> (dimensions with the contiguous one first, type id, bytes)"""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    for k, v in keys.items():
        kind, data = gguf_value(v)
        head += gguf_string(k) + struct.pack("<I", kind) + data
    at = 0
    for name, (dims, kind, data) in tensors.items():
        head += gguf_string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
        at += (len(data) + 31) // 32 * 32
    body = b"".join(data + bytes(-len(data) % 32) for _, _, data in tensors.values())
    path.write_bytes(head + bytes(-len(head) % 32) + body)


GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def gguf_name(hf):
    stem = hf.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{GGUF_NAMES[rest]}.weight"
    return GGUF_NAMES[stem] + ".weight"


def interleave(values, n_heads):
    """GGUF's llama rotates neighbouring rows, Hugging Face rows that are half a head apart."""
    rows = [values[i:i + DIM] for i in range(0, len(values), DIM)]
    out = []
    for h in range(n_heads):
        for i in range(HEAD_DIM // 2):
            out += rows[h * HEAD_DIM + i] + rows[h * HEAD_DIM + HEAD_DIM // 2 + i]
    return out


def gguf_tensors(w, quantised):
    tensors = {}
    for name, (rows, cols, values) in w.items():
        if "q_proj" in name or "k_proj" in name:
            values = interleave(values, N_HEADS if "q_proj" in name else N_KV_HEADS)
        if rows is None or not quantised:
            kind, data = GGUF_F32, pack_f32(values)
        elif "self_attn" in name:
            kind, data = GGUF_F16, pack_f16(values)
        else:
            kind, data = GGUF_Q8_0, pack_q8_0(values)
        tensors[gguf_name(name)] = ([cols] if rows is None else [cols, rows]), kind, data
    return tensors


def gguf_keys(tokens, merges):
    return {
        "general.architecture": "llama", "general.name": "Tiny", "general.alignment": 32,
        "llama.context_length": N_CTX, "llama.embedding_length": DIM, "llama.block_count": N_LAYERS,
        "llama.feed_forward_length": FFN, "llama.attention.head_count": N_HEADS, "llama.attention.head_count_kv": N_KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": HEAD_DIM, "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t in SPECIAL else 1 for t in tokens],
        "tokenizer.ggml.merges": [a + " " + b for a, b in merges],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def write_safetensors(path, tensors):
    header, at, body = {"__metadata__": {"format": "pt"}}, 0, b""
    for name, (rows, cols, values) in tensors.items():
        data = pack_f32(values)
        shape = [cols] if rows is None else [rows, cols]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at, body = at + len(data), body + data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_hf(folder, w, tokens, merges):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": DIM, "intermediate_size": FFN,
        "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS, "num_key_value_heads": N_KV_HEADS, "head_dim": HEAD_DIM,
        "max_position_embeddings": N_CTX, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "vocab_size": len(tokens), "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
        "torch_dtype": "float32"}, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}))
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, t in enumerate(SPECIAL)]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": PRETOKENIZER, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [a + " " + b for a, b in merges]}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "GPT2Tokenizer", "bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "add_bos_token": False,
        "chat_template": TEMPLATE}))
    shards = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    for name, tensor in w.items():
        shards["model-0000%d-of-00002.safetensors" % (2 if ".layers.1." in name else 1)][name] = tensor
    for file, tensors in shards.items():
        write_safetensors(folder / file, tensors)
    (folder / "model.safetensors.index.json").write_text(json.dumps({
        "metadata": {"total_size": sum(len(v) * 4 for _, _, v in w.values())},
        "weight_map": {name: file for file, tensors in shards.items() for name in tensors}}))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tokens, merges = vocabulary()
    w = weights(len(tokens))
    keys = gguf_keys(tokens, merges)
    write_gguf(folder / "tiny.gguf", keys, gguf_tensors(w, True))
    write_gguf(folder / "tiny-f32.gguf", keys, gguf_tensors(w, False))
    alien = {k.replace("llama.", "alien."): v for k, v in keys.items()} | {"general.architecture": "alien"}
    write_gguf(folder / "alien.gguf", alien, gguf_tensors(w, False))
    write_hf(folder / "tiny-hf", w, tokens, merges)


if __name__ == "__main__":
    main()
