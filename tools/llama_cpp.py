"""The parts of llama.cpp's C interface that the tools use, on npm's prebuilt libraries in the cache folder.

@node-llama-cpp/linux-x64 holds llama.cpp as shared libraries, one per kind of CPU; llama.cpp itself picks the best that this
machine runs. The structures below are those of the release named here."""
import ctypes as c
import os
import pathlib
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "fathom" / "llamacpp"
LIBRARIES = CACHE / "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
PACKAGE, RELEASE = "@node-llama-cpp/linux-x64@3.22.1", "v0.5.0"
F32, F16 = 0, 1


class ContextParams(c.Structure):
    """llama_context_params; the room at the end takes what follows the members used here."""
    _fields_ = [(n, c.c_uint32) for n in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")] + [("unused_1", c.c_uint32 * 3)] + [
        (n, c.c_int32) for n in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type", "pooling_type", "attention_type",
                                 "flash_attn_type")] + [
        ("unused_2", c.c_float * 8), ("unused_3", c.c_void_p * 2), ("type_k", c.c_int), ("type_v", c.c_int), ("room", c.c_uint64 * 64)]


class ModelParams(c.Structure):
    _fields_ = [("room", c.c_uint64 * 64)]


class Batch(c.Structure):
    _fields_ = [("n_tokens", c.c_int32), ("token", c.POINTER(c.c_int32)), ("embd", c.POINTER(c.c_float)), ("pos", c.POINTER(c.c_int32)),
                ("n_seq_id", c.POINTER(c.c_int32)), ("seq_id", c.POINTER(c.POINTER(c.c_int32))), ("logits", c.POINTER(c.c_int8))]


def install():
    """Once; needs npm and the network."""
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--no-save", "--ignore-scripts", "--omit=optional", "--prefix", CACHE, PACKAGE], check=True)


class LlamaCpp:
    def __init__(self):
        c.CDLL(str(LIBRARIES / "libggml-base.so"), c.RTLD_GLOBAL)
        ggml = c.CDLL(str(LIBRARIES / f"libggml.{RELEASE}.so"), c.RTLD_GLOBAL)
        self.lib = lib = c.CDLL(str(LIBRARIES / f"libllama.{RELEASE}.so"))
        lib.llama_context_default_params.restype = ContextParams
        lib.llama_model_default_params.restype = ModelParams
        lib.llama_model_load_from_file.restype, lib.llama_model_load_from_file.argtypes = c.c_void_p, [c.c_char_p, ModelParams]
        lib.llama_init_from_model.restype, lib.llama_init_from_model.argtypes = c.c_void_p, [c.c_void_p, ContextParams]
        lib.llama_batch_init.restype = Batch
        lib.llama_decode.argtypes = [c.c_void_p, Batch]
        lib.llama_synchronize.argtypes = [c.c_void_p]
        lib.llama_get_logits.restype, lib.llama_get_logits.argtypes = c.POINTER(c.c_float), [c.c_void_p]
        lib.llama_get_memory.restype, lib.llama_get_memory.argtypes = c.c_void_p, [c.c_void_p]
        lib.llama_memory_clear.argtypes = [c.c_void_p, c.c_bool]
        lib.llama_model_get_vocab.restype, lib.llama_model_get_vocab.argtypes = c.c_void_p, [c.c_void_p]
        lib.llama_vocab_n_tokens.argtypes = [c.c_void_p]
        lib.llama_free.argtypes = lib.llama_model_free.argtypes = [c.c_void_p]
        lib.llama_batch_free.argtypes = [Batch]
        self.said = []
        self.listen = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(lambda level, text, data: level == 4 and self.said.append(text.decode()))
        lib.llama_log_set(self.listen, None)
        ggml.ggml_backend_load_all_from_path(str(LIBRARIES).encode())

    def params(self):
        p = self.lib.llama_context_default_params()
        if (p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max, p.ctx_type, p.flash_attn_type, p.type_k, p.type_v) != (512, 2048, 512, 1, 0, -1, 1, 1):
            sys.exit("llama_context_params is laid out otherwise: not the release that this tool was written for")
        return p

    def load(self, path):
        model = self.lib.llama_model_load_from_file(str(path).encode(), self.lib.llama_model_default_params())
        return model or sys.exit(f"llama.cpp refuses {path}: {''.join(self.said)}")

    def n_vocab(self, model):
        return self.lib.llama_vocab_n_tokens(self.lib.llama_model_get_vocab(model))

    def evaluate(self, context, batch, ids, position, all_logits=False):
        """ids behind the first `position` tokens; logits of the last one, or of all."""
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position + i, 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = all_logits or i + 1 == len(ids)
        if self.lib.llama_decode(context, batch) != 0:
            sys.exit("llama.cpp cannot evaluate this")
        self.lib.llama_synchronize(context)

    @staticmethod
    def variant():
        """The library for this CPU that llama.cpp chose."""
        with open("/proc/self/maps", encoding="ascii") as maps:
            return next((pathlib.Path(line.split()[-1]).stem.removeprefix("libggml-cpu-") for line in maps if "libggml-cpu-" in line), "unknown")
