#!/usr/bin/env python3
"""Records the logits of the tiny models of tests/support/golden_models.py, computed by Hugging Face transformers.

    python3 -m venv VENV && VENV/bin/pip install torch transformers safetensors gguf accelerate
    VENV/bin/python tools/golden/make_model_golden.py tests/data/golden

Made with: see the "made_with" entry in each file's header. Each file holds the token ids and the logits of one forward pass in
double precision (but for what transformers itself computes in F32: norms, rotary angles, softmax), with one change: keys and
values are rounded to F16 where transformers appends them to its cache, as Fathom's cache does.

The GGUF twin of every model is loaded by transformers as well, and must give the same logits: so tensor names, permuted rows
and metadata keys of both containers are judged by code that nobody here wrote."""
import pathlib
import random
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "support"))
import golden_models  # noqa: E402

N_TOKENS = 40


class HalfCache(transformers.DynamicCache):
    """Keys (rotated) and values pass through F16."""

    def update(self, keys, values, *args, **kwargs):
        return super().update(keys.half().to(keys.dtype), values.half().to(values.dtype), *args, **kwargs)


def logits(model, ids, cache):
    with torch.no_grad():
        return model(torch.tensor([ids]), past_key_values=cache, use_cache=True).logits[0]


def load(source, **more):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True, **more)
    missing = [k for k in info["missing_keys"] if not (k == "lm_head.weight" and model.config.tie_word_embeddings)]
    if missing or info["unexpected_keys"] or info["mismatched_keys"]:
        sys.exit(f"{source}: transformers misses {missing}, does not know {info['unexpected_keys']}")
    return model.eval()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        sys.argv[1] = folder
        golden_models.main()
        for name in golden_models.MODELS:
            ids = [random.Random(name + " ids").randrange(golden_models.N_VOCAB) for _ in range(N_TOKENS)]
            model = load(f"{folder}/{name}-hf")
            want = logits(model, ids, HalfCache(config=model.config))
            plain = logits(model, ids, transformers.DynamicCache(config=model.config))
            single = logits(model.float(), ids, HalfCache(config=model.config))
            report = f"{name}: max |logit| {want.abs().max():.3f}, F16 cache {(want - plain).abs().max():.2e}, " \
                     f"all in F32 {(want - single).abs().max():.2e}"
            # transformers does not read a head's or an expert's size from GGUF keys: it is told.
            told = {"config": model.config} if name.startswith("qwen3") else {}
            twin = load(folder, gguf_file=f"{name}.gguf", **told)
            apart = (logits(twin, ids, HalfCache(config=twin.config)) - want).abs().max()
            print(f"{report}, GGUF twin {apart:.2e}", flush=True)
            if apart > 1e-5 * want.abs().max():
                sys.exit(f"{name}: the GGUF file and the folder hold different models")
            save_file({"ids": torch.tensor(ids, dtype=torch.int32), "logits": want.float()}, out / f"{name}.safetensors",
                      metadata={"made_with": made_with, "model": name})


if __name__ == "__main__":
    main()
