#!/usr/bin/env python3
"""Writes one tiny random model per architecture and RoPE scaling, each as a Hugging Face folder and as a GGUF file of the
same F32 weights: standard library only, the same bytes every time.

    golden_models.py FOLDER    writes NAME-hf/ and NAME.gguf for every NAME in MODELS

tools/golden/make_model_golden.py computes the expected logits of the same folders with Hugging Face transformers."""
import json
import math
import pathlib
import random
import struct
import sys

from tiny_model import GGUF_F32, pack_f32, write_gguf, write_safetensors

N_VOCAB, DIM, N_LAYERS, FFN = 128, 64, 2, 96
N_EXPERTS, N_ACTIVE, EXPERT_DIM = 8, 3, 32

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512}

# name -> architecture, heads, kv heads, head size, tied, theta, scaling, key of the scaling in config.json
MODELS = {
    "llama": ("llama", 4, 4, 16, False, 10000.0, None, None),
    "llama3": ("llama", 4, 2, 16, False, 10000.0, LLAMA3, "rope_parameters"),
    "yarn": ("llama", 4, 1, 16, True, 100.0, YARN, "rope_scaling"),
    "linear": ("llama", 4, 2, 16, True, 10000.0, {"rope_type": "linear", "factor": 4.0}, "rope_scaling"),
    "qwen2": ("qwen2", 4, 2, 16, True, 1000000.0, None, None),
    "qwen3": ("qwen3", 4, 2, 32, False, 1000000.0, None, None),  # head size apart from dim / heads
    "qwen3moe": ("qwen3moe", 4, 2, 16, False, 1000000.0, None, None),
}
HF_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3moe": "qwen3_moe"}
HF_CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "qwen3moe": "Qwen3Moe"}


def weights(name):
    """Hugging Face name -> (rows or None, columns, values rounded to F32)."""
    arch, n_heads, n_kv_heads, head_dim, tied, *_ = MODELS[name]
    rng = random.Random(name)
    q, kv = n_heads * head_dim, n_kv_heads * head_dim

    def f32(values):
        return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))

    def matrix(rows, cols):  # outputs of about the size of the inputs
        return rows, cols, f32([rng.gauss(0, cols ** -0.5) for _ in range(rows * cols)])

    def vector(n, middle, spread):
        return None, n, f32([middle + rng.uniform(-spread, spread) for _ in range(n)])

    w = {"model.embed_tokens.weight": (N_VOCAB, DIM, f32([rng.gauss(0, 1) for _ in range(N_VOCAB * DIM)])),
         "model.norm.weight": vector(DIM, 1, 0.3)}
    if not tied:
        w["lm_head.weight"] = matrix(N_VOCAB, DIM)
    for i in range(N_LAYERS):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = vector(DIM, 1, 0.3)
        for letter, rows in (("q", q), ("k", kv), ("v", kv)):
            w[p + f"self_attn.{letter}_proj.weight"] = matrix(rows, DIM)
            if arch == "qwen2":
                w[p + f"self_attn.{letter}_proj.bias"] = vector(rows, 0, 0.5)
        w[p + "self_attn.o_proj.weight"] = matrix(DIM, q)
        if arch.startswith("qwen3"):
            w[p + "self_attn.q_norm.weight"] = vector(head_dim, 1.5, 0.5)
            w[p + "self_attn.k_norm.weight"] = vector(head_dim, 1.5, 0.5)
        w[p + "post_attention_layernorm.weight"] = vector(DIM, 1, 0.3)
        if arch == "qwen3moe":
            w[p + "mlp.gate.weight"] = matrix(N_EXPERTS, DIM)
        for e in range(N_EXPERTS) if arch == "qwen3moe" else [None]:
            m, ffn = (p + "mlp.", FFN) if e is None else (p + f"mlp.experts.{e}.", EXPERT_DIM)
            w[m + "gate_proj.weight"] = matrix(ffn, DIM)
            w[m + "up_proj.weight"] = matrix(ffn, DIM)
            w[m + "down_proj.weight"] = matrix(DIM, ffn)
    return w


def hf_config(name):
    arch, n_heads, n_kv_heads, head_dim, tied, theta, scaling, scaling_key = MODELS[name]
    config = {
        "architectures": [HF_CLASSES[arch] + "ForCausalLM"], "model_type": HF_TYPES[arch], "hidden_size": DIM,
        "intermediate_size": FFN, "num_hidden_layers": N_LAYERS, "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads, "head_dim": head_dim, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "vocab_size": N_VOCAB, "tie_word_embeddings": tied, "torch_dtype": "float32",
        "bos_token_id": 0, "eos_token_id": 1}
    if arch == "qwen3moe":
        config |= {"num_experts": N_EXPERTS, "num_experts_per_tok": N_ACTIVE, "moe_intermediate_size": EXPERT_DIM,
                   "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
    if scaling_key == "rope_parameters":
        config["rope_parameters"] = {"rope_theta": theta, **scaling}
    else:
        config |= {"rope_theta": theta, "rope_scaling": scaling}
    return config


LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}
MODEL_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def interleave(values, cols, n_heads):
    """GGUF's llama rotates neighbouring rows, Hugging Face rows that are half a head apart."""
    rows = [values[i:i + cols] for i in range(0, len(values), cols)]
    half = len(rows) // n_heads // 2
    return [x for h in range(n_heads) for i in range(half) for j in (i, i + half) for x in rows[h * 2 * half + j]]


def gguf_tensors(name):
    arch, n_heads, n_kv_heads, head_dim, _, theta, scaling, _ = MODELS[name]
    w, tensors = weights(name), {}

    def put(gguf, dims, values):
        tensors[gguf] = dims, GGUF_F32, pack_f32(values)

    for hf, (rows, cols, values) in w.items():
        stem, _, kind = hf.rpartition(".")
        if not stem.startswith("model.layers."):
            put(f"{MODEL_NAMES[stem]}.{kind}", [cols] if rows is None else [cols, rows], values)
            continue
        _, _, layer, rest = stem.split(".", 3)
        if ".experts." in rest:
            continue
        if arch == "llama" and rest in ("self_attn.q_proj", "self_attn.k_proj"):
            values = interleave(values, cols, n_heads if "q_proj" in rest else n_kv_heads)
        put(f"blk.{layer}.{LAYER_NAMES[rest]}.{kind}", [cols] if rows is None else [cols, rows], values)
    for layer in range(N_LAYERS) if arch == "qwen3moe" else ():
        for part in ("gate", "up", "down"):  # all experts of a layer in one tensor
            one = [w[f"model.layers.{layer}.mlp.experts.{e}.{part}_proj.weight"] for e in range(N_EXPERTS)]
            put(f"blk.{layer}.ffn_{part}_exps.weight", [one[0][1], one[0][0], N_EXPERTS], [x for _, _, v in one for x in v])
    if scaling == LLAMA3:
        put("rope_freqs.weight", [head_dim // 2], llama3_divisors(theta, head_dim))
    return tensors


def llama3_divisors(theta, head_dim):
    """GGUF has no llama3 scaling: converters store what each frequency is divided by."""
    divisors = []
    for i in range(head_dim // 2):
        wavelength = 2 * math.pi * theta ** (2 * i / head_dim)
        turns = LLAMA3["original_max_position_embeddings"] / wavelength
        low, high, factor = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"], LLAMA3["factor"]
        smooth = min(max((turns - low) / (high - low), 0), 1)
        divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors


def gguf_keys(name):
    arch, n_heads, n_kv_heads, head_dim, _, theta, scaling, _ = MODELS[name]
    keys = {"embedding_length": DIM, "block_count": N_LAYERS, "feed_forward_length": FFN, "attention.head_count": n_heads,
            "attention.head_count_kv": n_kv_heads, "attention.key_length": head_dim, "attention.value_length": head_dim,
            "context_length": 4096, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": theta}
    if arch == "qwen3moe":
        keys |= {"expert_count": N_EXPERTS, "expert_used_count": N_ACTIVE, "expert_feed_forward_length": EXPERT_DIM}
    if scaling and scaling != LLAMA3:
        keys |= {"rope.scaling.type": scaling["rope_type"], "rope.scaling.factor": scaling["factor"]}
    if scaling == YARN:
        keys["rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
    tokens = [f"t{i}" for i in range(N_VOCAB)]
    return {"general.architecture": arch, "general.name": name} | {f"{arch}.{k}": v for k, v in keys.items()} | {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * N_VOCAB, "tokenizer.ggml.merges": ["t 0"],
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1}


def main():
    folder = pathlib.Path(sys.argv[1])
    for name in MODELS:
        hf = folder / f"{name}-hf"
        hf.mkdir(parents=True, exist_ok=True)
        (hf / "config.json").write_text(json.dumps(hf_config(name), indent=1))
        write_safetensors(hf / "model.safetensors", weights(name))
        write_gguf(folder / f"{name}.gguf", gguf_keys(name), gguf_tensors(name))


if __name__ == "__main__":
    main()
