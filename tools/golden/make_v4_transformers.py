#!/usr/bin/env python3
"""Records logits, loss and gradients of a tiny DeepSeek V4, computed by Hugging Face transformers.

    python3 -m venv VENV && VENV/bin/pip install torch 'transformers>=5.10' safetensors
    VENV/bin/python tools/golden/make_v4_transformers.py tests/data/golden [--save FOLDER]

Writes v4_transformers.json, the model's config.json as transformers spells it, and v4_transformers.safetensors; its header
names the versions. Everything runs in double precision, but for what transformers itself computes in F32 (norms, rotary
angles, softmax). --save keeps the weights as well, under the parameters' names.

The weights are no data: they follow from their names, here and in tests/support/v4_export.c. With h = FNV-1a of the parameter's
name (64 bits) and z = the output of splitmix64 after i + 1 steps from state h, value i is v = ((z >> 40) / 2^23 - 1) * sqrt(3), of mean
0 and variance 1, as
    matrices v / sqrt(columns); embedding, sinks, position_bias, hc base v; norms 1 + v / 10; hc scale 1 + v / 5; routing bias v / 5
each rounded once to F32. Row t of tid2eid, with z of i = t: (z + j * (1 + 2 * ((z >> 32) % (experts / 2)))) % experts.

Tensors: ids; logits (tokens, vocabulary); loss, the mean cross entropy of ids[1:]; grad.NAME for every parameter that the loss
reaches (it does not reach the indexer, which only selects): the norm, the sum with signs (minus where the top bit of z is set),
and the values at places j * 2654435761 mod n, for j below 64 and n."""
import argparse
import json
import pathlib

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

N_TOKENS, N_SAMPLES = 61, 64
KINDS = ("sliding", "sliding", "compressed_sparse", "heavily_compressed", "compressed_sparse", "heavily_compressed")
ROPE = {"partial_rotary_factor": 0.5}
TINY = {
    "vocab_size": 512, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "head_dim": 128,
    "partial_rotary_factor": 0.5, "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 64, "moe_intermediate_size": 128,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "routed_scaling_factor": 1.5, "swiglu_limit": 0.5,
    "layer_types": [k + "_attention" for k in KINDS], "mlp_layer_types": ["hash_moe"] * 2 + ["moe"] * 4,
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
    "sliding_window": 8, "index_n_heads": 16, "index_head_dim": 128, "index_topk": 3, "hc_mult": 4, "hc_sinkhorn_iters": 20,
    "rope_parameters": {
        "main": {"rope_type": "default", "rope_theta": 10000.0} | ROPE,
        "compress": {"rope_type": "yarn", "rope_theta": 160000.0, "factor": 16.0, "original_max_position_embeddings": 64,
                     "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.0} | ROPE},
    "max_position_embeddings": 4096, "num_nextn_predict_layers": 0,
}


def random_words(name, n):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def values(name, shape):
    if name.endswith("tid2eid"):
        z = random_words(name, shape[0])
        experts = TINY["n_routed_experts"]
        step = (z >> np.uint64(32)) % np.uint64(experts // 2) * np.uint64(2) + np.uint64(1)
        return np.stack([(z % np.uint64(experts) + np.uint64(j) * step) % np.uint64(experts) for j in range(shape[1])], 1).astype(np.int64)
    n = int(np.prod(shape))
    v = ((random_words(name, n) >> np.uint64(40)).astype(np.float64) / 2**23 - 1) * np.sqrt(3.0)
    if "norm" in name:
        v = 1 + v / 10
    elif name.endswith("scale"):
        v = 1 + v / 5
    elif name.endswith("correction_bias"):
        v = v / 5
    elif not name.endswith(("base", "sinks", "position_bias", "embed_tokens.weight")):
        v = v / np.sqrt(float(shape[-1]))
    return v.astype(np.float32).reshape(shape)


def build():
    config = transformers.models.deepseek_v4.DeepseekV4Config(**TINY)
    model = transformers.models.deepseek_v4.DeepseekV4ForCausalLM._from_config(config, attn_implementation="eager",
                                                                             experts_implementation="eager")
    model = model.double().eval()
    with torch.no_grad():
        for name, p in [*model.named_parameters(), *model.named_buffers()]:
            if "inv_freq" not in name:
                p.copy_(torch.from_numpy(values(name, tuple(p.shape))))
    return model


def decoded(model, ids):
    """Token by token, each with the cache of those before."""
    cache, rows = transformers.DynamicCache(config=model.config), []
    with torch.no_grad():
        for t in ids:
            rows.append(model(torch.tensor([[t]]), past_key_values=cache, use_cache=True).logits[0, 0])
    return torch.stack(rows)


def gradient(name, g):
    flat = g.reshape(-1).numpy()
    sign = np.where(random_words(name, flat.size) >> np.uint64(63), -1.0, 1.0)
    places = np.arange(min(N_SAMPLES, flat.size), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(flat.size)
    return torch.from_numpy(np.concatenate([[np.sqrt((flat**2).sum()), (flat * sign).sum()], flat[places]]).astype(np.float32))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--save", type=pathlib.Path)
    a = p.parse_args()
    model = build()
    ids = (random_words("ids", N_TOKENS) % np.uint64(TINY["vocab_size"])).astype(np.int64).tolist()
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    loss.backward()
    steps = (decoded(model, ids) - logits).abs().max().item()
    print(f"loss {loss.item():.6f}, largest logit {logits.abs().max().item():.3f}, decode apart by {steps:.1e}")
    if steps > 1e-5:
        raise SystemExit("prefill and decode disagree: a selection is too close to call; take other ids")
    out = {"ids": torch.tensor(ids, dtype=torch.int32), "logits": logits.detach().float(), "loss": loss.detach().float().reshape(1)}
    untouched = []
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            untouched.append(name)
        else:
            out["grad." + name] = gradient(name, parameter.grad)
    if any(".indexer." not in name for name in untouched):
        raise SystemExit(f"no gradient: {untouched}")
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__}"
    save_file(out, a.out / "v4_transformers.safetensors", metadata={"made_with": made_with, "by": "make_v4_transformers.py"})
    (a.out / "v4_transformers.json").write_text(json.dumps(model.config.to_dict(), indent=1, sort_keys=True) + "\n")
    print(f"{len(out) - 3} gradients, {len(untouched)} parameters without, {made_with}")
    if a.save:
        model.float().save_pretrained(a.save)


if __name__ == "__main__":
    main()
