#!/usr/bin/env python3
"""Training speed of Fathom beside PyTorch with the transformers implementation of the same configuration.

    python3 -m venv VENV && VENV/bin/pip install torch 'transformers>=5.10'
    VENV/bin/python tools/compare_training.py FATHOM RECIPE [--threads 2] [--steps 4]

Both take the recipe's rows of row_tokens through forward and backward in fp32 and move the parameters, one after the
other on the same machine: Fathom by its own command, on the recipe's data; PyTorch on random tokens, with AdamW. Printed
are tokens per second of wall time and of processor time; the latter hardly sees what else the machine does."""
import argparse
import csv
import pathlib
import re
import resource
import subprocess
import tempfile
import time

KINDS = {0: "sliding_attention", 4: "compressed_sparse_attention"}


def read_recipe(path):
    """The flat TOML that recipes are made of."""
    values, section = {}, ""
    for line in path.read_text().splitlines():
        if m := re.match(r"\[(.+)\]\s*$", line):
            section = m[1]
        elif m := re.match(r"(\w+)\s*=\s*(.+)$", line):
            values[section, m[1]] = m[2]
    return values


def of_fathom(fathom, recipe, steps, threads):
    """Tokens per second of wall and processor time, the first step left out of the wall's."""
    with tempfile.TemporaryDirectory() as d:
        text = re.sub(r"(?m)^(dir|steps|warmup_steps|save_every|evaluate_every|first_rows|ramp_steps|from)\s*=.*\n", "", recipe.read_text())
        text += f'\n[train]\ndir = "{d}/run"\nsteps = {steps}\nwarmup_steps = 1\nsave_every = 1000000\nevaluate_every = 0\n'
        path = pathlib.Path(d) / "recipe.toml"
        path.write_text(text)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([fathom, "train", "--config", path, "-t", str(threads)], check=True, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        rows = list(csv.DictReader(open(pathlib.Path(d) / "run" / "log.csv")))
    speeds = sorted(float(r["tokens_per_second"]) for r in rows[1:])
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return speeds[len(speeds) // 2], int(rows[-1]["tokens"]) / cpu, float(rows[-1]["peak_share"])


def of_torch(values, steps, threads, n_vocab):
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = {k: v for (s, k), v in values.items() if s == "model"}
    number = lambda key, default=None: int(model.get(key, default))
    ratios = [int(x) for x in model["compress_ratios"].strip("[]").split(",")]
    hca = [r for r in ratios if r not in KINDS]
    part = {"partial_rotary_factor": number("rope_head_dim") / number("head_dim")}
    config = transformers.models.deepseek_v4.DeepseekV4Config(
        vocab_size=n_vocab, hidden_size=number("dim"), num_hidden_layers=len(ratios), num_attention_heads=number("n_heads"),
        head_dim=number("head_dim"), q_lora_rank=number("q_lora_rank"), o_groups=number("o_groups"), o_lora_rank=number("o_lora_rank"),
        moe_intermediate_size=number("moe_inter_dim"), n_routed_experts=number("n_routed_experts"),
        num_experts_per_tok=number("n_activated_experts"), sliding_window=number("window_size"), index_n_heads=number("index_n_heads", 4),
        index_head_dim=number("index_head_dim", 32), index_topk=number("index_topk", 64), hc_mult=4, hc_sinkhorn_iters=20,
        layer_types=[KINDS.get(r, "heavily_compressed_attention") for r in ratios],
        mlp_layer_types=["hash_moe" if i < number("n_hash_layers", 0) else "moe" for i in range(len(ratios))],
        compress_rates={"compressed_sparse_attention": 4, "heavily_compressed_attention": hca[0] if hca else 64},
        rope_parameters={"main": {"rope_type": "default", "rope_theta": 10000.0} | part,
                         "compress": {"rope_type": "yarn", "rope_theta": 160000.0, "factor": 16.0, "attention_factor": 1.0,
                                      "original_max_position_embeddings": number("original_seq_len", 65536), "beta_fast": 32.0,
                                      "beta_slow": 1.0} | part},
        max_position_embeddings=65536, num_nextn_predict_layers=0, **part)
    net = transformers.models.deepseek_v4.DeepseekV4ForCausalLM._from_config(config, attn_implementation="eager").float().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    rows, row_tokens = int(values["train", "rows"]), int(values["data", "row_tokens"])
    micro = min(int(values.get(("train", "micro_rows"), rows)), rows)
    wall, cpu = [], 0.0
    for _ in range(steps):
        begin, begin_cpu = time.monotonic(), time.process_time()
        for done in range(0, rows, micro):
            ids = torch.randint(0, n_vocab, (min(micro, rows - done), row_tokens))
            net(ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wall.append(time.monotonic() - begin)
        cpu += time.process_time() - begin_cpu
    wall = sorted(wall[1:])
    return rows * row_tokens / wall[len(wall) // 2], rows * row_tokens * steps / cpu, torch.__version__, transformers.__version__


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("fathom")
    p.add_argument("recipe", type=pathlib.Path)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--vocab", type=int, default=4096)
    a = p.parse_args()
    wall, cpu, share = of_fathom(a.fathom, a.recipe, a.steps, a.threads)
    t_wall, t_cpu, torch_version, hf_version = of_torch(read_recipe(a.recipe), a.steps, a.threads, a.vocab)
    print(f"fathom                      {wall:8.0f} tokens/s  {cpu:8.0f} per processor second  {100 * share:.0f} % of the fp32 peak")
    print(f"torch {torch_version}, transformers {hf_version}  {t_wall:8.0f} tokens/s  {t_cpu:8.0f} per processor second")
    print(f"ratio                       {wall / t_wall:8.2f}           {cpu / t_cpu:8.2f}")


if __name__ == "__main__":
    main()
