#!/usr/bin/env python3
"""Turns a DeepSeek V4 checkpoint under the release's names into a GGUF file `deepseek4`, as llama.cpp reads it.

    VENV/bin/python tools/golden/v4_gguf.py FOLDER OUT.gguf [--experts f32|mxfp4] [--matrices f32|q8_0]

FOLDER holds config.json and safetensors of F32, BF16, FP8 or FP4 with their scales (`fathom synth` writes such a folder);
VENV has NumPy and PyPI's gguf. Experts from FP4 become MXFP4 without loss: codes and scales stay, only their places change.
The tokenizer is a placeholder of numbered tokens, which is enough to run on token ids."""
import argparse
import json
import pathlib
import struct

import gguf
import numpy as np

MATRICES = {  # last part of the release's name -> GGUF's
    "attn.wq_a.weight": "attn_q_a.weight", "attn.wq_b.weight": "attn_q_b.weight", "attn.wkv.weight": "attn_kv.weight",
    "attn.wo_a.weight": "attn_output_a.weight", "attn.wo_b.weight": "attn_output_b.weight",
    "ffn.shared_experts.w1.weight": "ffn_gate_shexp.weight", "ffn.shared_experts.w2.weight": "ffn_down_shexp.weight",
    "ffn.shared_experts.w3.weight": "ffn_up_shexp.weight",
}
OTHERS = {
    "hc_attn_fn": "hc_attn_fn.weight", "hc_attn_base": "hc_attn_base.weight", "hc_attn_scale": "hc_attn_scale.weight",
    "hc_ffn_fn": "hc_ffn_fn.weight", "hc_ffn_base": "hc_ffn_base.weight", "hc_ffn_scale": "hc_ffn_scale.weight",
    "attn_norm.weight": "attn_norm.weight", "ffn_norm.weight": "ffn_norm.weight", "attn.q_norm.weight": "attn_q_a_norm.weight",
    "attn.kv_norm.weight": "attn_kv_a_norm.weight", "attn.attn_sink": "attn_sinks.weight",
    "attn.compressor.wkv.weight": "attn_compressor_kv.weight", "attn.compressor.wgate.weight": "attn_compressor_gate.weight",
    "attn.compressor.ape": "attn_compressor_ape.weight", "attn.compressor.norm.weight": "attn_compressor_norm.weight",
    "attn.indexer.wq_b.weight": "indexer.attn_q_b.weight", "attn.indexer.weights_proj.weight": "indexer.proj.weight",
    "attn.indexer.compressor.wkv.weight": "indexer_compressor_kv.weight",
    "attn.indexer.compressor.wgate.weight": "indexer_compressor_gate.weight",
    "attn.indexer.compressor.ape": "indexer_compressor_ape.weight",
    "attn.indexer.compressor.norm.weight": "indexer_compressor_norm.weight",
    "ffn.gate.weight": "ffn_gate_inp.weight", "ffn.gate.bias": "exp_probs_b.bias", "ffn.gate.tid2eid": "ffn_gate_tid2eid.weight",
}
TOP = {"embed.weight": "token_embd.weight", "head.weight": "output.weight", "norm.weight": "output_norm.weight",
       "hc_head_fn": "output_hc_fn.weight", "hc_head_base": "output_hc_base.weight", "hc_head_scale": "output_hc_scale.weight"}
EXPERTS = {"w1": "ffn_gate_exps.weight", "w2": "ffn_down_exps.weight", "w3": "ffn_up_exps.weight"}
NEXTN = {"enorm.weight": "enorm.weight", "hnorm.weight": "hnorm.weight", "norm.weight": "shared_head_norm.weight"}


class Folder:
    """Tensors of every safetensors file in a folder, decoded to F32 (integers as they are)."""

    def __init__(self, folder):
        self.raw = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            data = np.memmap(path, np.uint8, "r")
            (n,) = struct.unpack("<Q", bytes(data[:8]))
            header = json.loads(bytes(data[8:8 + n]))
            header.pop("__metadata__", None)
            for name, t in header.items():
                begin, end = t["data_offsets"]
                self.raw[name] = t["dtype"], t["shape"], data[8 + n + begin:8 + n + end]

    def __contains__(self, name):
        return name in self.raw

    def __iter__(self):
        return iter(self.raw)

    def scale(self, name):
        _, shape, data = self.raw[name.removesuffix(".weight") + ".scale"]
        return data.reshape(shape)

    def is_fp4(self, name):
        return self.raw[name][0] == "I8"

    def __getitem__(self, name):
        dtype, shape, data = self.raw[name]
        if dtype == "F32":
            return np.frombuffer(data.tobytes(), np.float32).reshape(shape)
        if dtype == "BF16":
            return (np.frombuffer(data.tobytes(), np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
        if dtype in ("I64", "I32"):
            return np.frombuffer(data.tobytes(), dtype.replace("I", "<i").replace("64", "8").replace("32", "4")).reshape(shape)
        scale = np.ldexp(np.float32(1), self.scale(name).astype(np.int32) - 127)
        if dtype == "F8_E4M3":
            codes = data.reshape(shape)
            exponent, mantissa = (codes >> 3 & 15).astype(np.int32), (codes & 7).astype(np.float32)
            size = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7))
            blocks = np.repeat(np.repeat(scale, 128, 0), 128, 1)[:shape[0], :shape[1]]
            return np.where(codes & 128, -size, size).astype(np.float32) * blocks
        if dtype == "I8":
            sizes = np.array([0, .5, 1, 1.5, 2, 3, 4, 6], np.float32)
            table, packed = np.concatenate([sizes, -sizes]), data.reshape(shape)
            values = table[np.stack([packed & 15, packed >> 4], -1).reshape(shape[0], -1)]
            return values * np.repeat(scale, 32, 1)
        raise SystemExit(f"{name}: cannot decode {dtype}")

    def mxfp4(self, name):
        """The same codes in GGUF's blocks: one scale, then element j below element j + 16."""
        _, shape, data = self.raw[name]
        packed = data.reshape(shape)
        codes = np.stack([packed & 15, packed >> 4], -1).reshape(shape[0], -1, 32)
        return np.concatenate([self.scale(name)[..., None], codes[..., :16] | codes[..., 16:] << 4], -1).reshape(shape[0], -1)


class Arrays(dict):
    """Tensors in memory under the release's names."""

    def is_fp4(self, name):
        return False


def keys(w, c, n_layers, n_nextn):
    """c: config.json of the release."""
    p, scaling = "deepseek4.", c.get("rope_scaling") or {}
    ints = {
        "block_count": n_layers + n_nextn, "context_length": c["max_position_embeddings"], "embedding_length": c["hidden_size"],
        "feed_forward_length": c["moe_intermediate_size"], "vocab_size": c["vocab_size"], "attention.head_count": c["num_attention_heads"],
        "attention.head_count_kv": 1, "attention.key_length": c["head_dim"], "attention.value_length": c["head_dim"],
        "attention.q_lora_rank": c["q_lora_rank"], "attention.sliding_window": c["sliding_window"],
        "attention.output_group_count": c["o_groups"], "attention.output_lora_rank": c["o_lora_rank"],
        "attention.indexer.head_count": c["index_n_heads"], "attention.indexer.key_length": c["index_head_dim"],
        "attention.indexer.top_k": c["index_topk"], "rope.dimension_count": c["qk_rope_head_dim"],
        "expert_count": c["n_routed_experts"], "expert_used_count": c["num_experts_per_tok"],
        "expert_feed_forward_length": c["moe_intermediate_size"], "expert_shared_count": 1, "expert_gating_func": 4,
        "hash_layer_count": c["num_hash_layers"], "hyper_connection.count": 4,
        "hyper_connection.sinkhorn_iterations": c["hc_sinkhorn_iters"],
    }
    reals = {
        "attention.layer_norm_rms_epsilon": c["rms_norm_eps"], "attention.compress_rope_freq_base": c["compress_rope_theta"],
        "rope.freq_base": c["rope_theta"], "expert_weights_scale": c["routed_scaling_factor"], "hyper_connection.epsilon": c["hc_eps"],
    }
    if n_nextn:
        ints["nextn_predict_layers"] = n_nextn
    if scaling:
        ints["rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
        reals |= {"rope.scaling.factor": scaling["factor"], "rope.scaling.yarn_beta_fast": scaling["beta_fast"],
                  "rope.scaling.yarn_beta_slow": scaling["beta_slow"]}
        w.add_string(p + "rope.scaling.type", "yarn")
    for key, value in ints.items():
        w.add_uint32(p + key, int(value))
    for key, value in reals.items():
        w.add_float32(p + key, float(value))
    w.add_bool(p + "expert_weights_norm", True)
    w.add_array(p + "attention.compress_ratios", [int(r) for r in c["compress_ratios"][:n_layers + n_nextn]])
    for kind in ("exp", "shexp"):
        w.add_array(f"{p}swiglu_clamp_{kind}", [float(c["swiglu_limit"])] * (n_layers + n_nextn))
    tokens = ["<bos>", "<eos>", "t", "0", "t0"] + [f"t{i}" for i in range(5, c["vocab_size"])]
    w.add_string("tokenizer.ggml.model", "gpt2")
    w.add_string("tokenizer.ggml.pre", "joyai-llm")
    w.add_array("tokenizer.ggml.tokens", tokens)
    w.add_array("tokenizer.ggml.token_type", [1] * len(tokens))
    w.add_array("tokenizer.ggml.merges", ["t 0"])
    w.add_uint32("tokenizer.ggml.bos_token_id", 0)
    w.add_uint32("tokenizer.ggml.eos_token_id", 1)


def write(path, tensors, config, experts="f32", matrices="f32"):
    """tensors: a Folder or Arrays."""
    n_layers = config["num_hidden_layers"]
    n_nextn = int("mtp.0.e_proj.weight" in tensors)
    w = gguf.GGUFWriter(path, "deepseek4")
    keys(w, config, n_layers, n_nextn)

    def put(name, x, quantize=False):
        if quantize and matrices == "q8_0":
            kind = gguf.GGMLQuantizationType.Q8_0
            w.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)
        else:
            w.add_tensor(name, np.ascontiguousarray(x))

    def block(prefix, i):
        for name, to in OTHERS.items():
            if prefix + name in tensors:
                x = tensors[prefix + name]
                put(f"blk.{i}.{to}", x.astype(np.int32) if x.dtype == np.int64 else x)
        for name, to in MATRICES.items():
            put(f"blk.{i}.{to}", tensors[prefix + name], quantize=True)
        for part, to in EXPERTS.items():
            names = [f"{prefix}ffn.experts.{e}.{part}.weight" for e in range(config["n_routed_experts"])]
            if experts == "mxfp4" and tensors.is_fp4(names[0]):
                w.add_tensor(f"blk.{i}.{to}", np.stack([tensors.mxfp4(n) for n in names]), raw_dtype=gguf.GGMLQuantizationType.MXFP4)
            else:
                put(f"blk.{i}.{to}", np.stack([tensors[n] for n in names]))

    for name, to in TOP.items():
        put(to, tensors[name])
    for i in range(n_layers):
        block(f"layers.{i}.", i)
    if n_nextn:
        block("mtp.0.", n_layers)
        put(f"blk.{n_layers}.nextn.eh_proj.weight", np.concatenate([tensors["mtp.0.e_proj.weight"], tensors["mtp.0.h_proj.weight"]], 1))
        for name, to in NEXTN.items():
            put(f"blk.{n_layers}.nextn.{to}", tensors["mtp.0." + name])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("out")
    p.add_argument("--experts", choices=("f32", "mxfp4"), default="mxfp4")
    p.add_argument("--matrices", choices=("f32", "q8_0"), default="f32")
    a = p.parse_args()
    write(a.out, Folder(a.folder), json.loads((a.folder / "config.json").read_text()), a.experts, a.matrices)


if __name__ == "__main__":
    main()
