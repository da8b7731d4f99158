#!/usr/bin/env python3
"""End to end, without a terminal: every subcommand on tiny models, exit codes, outputs, refusals."""
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess

from harness import EMULATOR, GGUF, TIMEOUT, TINY, Skip, built_with, check_clean, command, main, read_safetensors, refused, run

HF = TINY / "tiny-hf"
COMMANDS = ["run", "serve", "fetch", "inspect", "tokenize", "logits", "bench", "doctor", "data", "eval", "help", "completion"]
TEXT = "hello world, the naïve café: 1234 日本語 🙂\n\tint main(void) { return 0; }\n"


def logits(folder, ids, *options, model=GGUF):
    out = folder / "logits.safetensors"
    run("logits", "-m", model, "--ids", ",".join(map(str, ids)), "-o", out, *options)
    return read_safetensors(out)["logits"]


def argmax_rows(tensor):
    _, (n, n_vocab), data = tensor
    values = struct.unpack(f"<{n * n_vocab}f", data)
    rows = [values[i * n_vocab:(i + 1) * n_vocab] for i in range(n)]
    return [max(range(n_vocab), key=row.__getitem__) for row in rows]


def help_lists_every_command(folder):
    text = run("--help").stdout.decode()
    for name in COMMANDS:
        assert name in text, name
        own = run(name, "--help").stdout.decode()
        assert "fathom " + name in own and len(own) > 100, own
    assert run("help", "run").stdout == run("run", "--help").stdout


def version_is_printed(folder):
    assert run("--version").stdout.startswith(b"fathom ")


def wrong_command_and_option_are_usage_errors(folder):
    assert "run" in refused("rum", says="rum", code=2)
    assert "--prompt" in refused("run", "--prmpt", "x", says="prmpt", code=2)
    refused("run", "-m", GGUF, "-p", "x", "--temp", "warm", says="warm", code=2)
    refused("run", "-m", GGUF, "-p", "x", "-n", "-5", says="-5", code=2)
    refused("logits", "-m", GGUF, "--ids", "1,x,3", "-o", folder / "o", says="x,3", code=2)


def missing_and_broken_files_are_named(folder):
    whole = pathlib.Path(GGUF).read_bytes()
    for name, content in [("cut-in-header.gguf", whole[:100]), ("cut-in-data.gguf", whole[:-1000]), ("empty.gguf", b""),
                          ("noise.gguf", bytes(range(256)) * 64), ("almost.gguf", b"GGUF" + b"\xff" * 100)]:
        (folder / name).write_bytes(content)
        for args in (["inspect", folder / name], ["run", "-m", folder / name, "-p", "x"], ["tokenize", "-m", folder / name],
                     ["logits", "-m", folder / name, "--ids", "1", "-o", folder / "o"]):
            refused(*args, says=name)
    refused("inspect", folder / "absent.gguf", says="absent.gguf")
    (folder / "nothing").mkdir()
    refused("inspect", folder / "nothing", says="nothing")


def a_folder_without_a_shard_is_refused(folder):
    shutil.copytree(HF, folder / "hf")
    (folder / "hf/model-00002-of-00002.safetensors").unlink()
    refused("run", "-m", folder / "hf", "-p", "x", says="model-00002-of-00002.safetensors")


def an_unreadable_file_is_refused(folder):
    if os.geteuid() == 0:
        raise Skip("root reads every file")
    shutil.copy(GGUF, folder / "secret.gguf")
    (folder / "secret.gguf").chmod(0)
    refused("inspect", folder / "secret.gguf", says=["secret.gguf", "Permission denied"])


def an_unknown_architecture_is_refused(folder):
    refused("run", "-m", TINY / "alien.gguf", "-p", "x", says=["alien", "llama"])
    assert b"alien" in run("inspect", TINY / "alien.gguf").stdout


def too_little_memory_is_refused_with_the_figures(folder):
    refused("run", "-m", GGUF, "-p", "x", "--ram", "64K", says=["MB", "--ram"])
    refused("logits", "-m", GGUF, "--ids", "1", "-o", folder / "o", "--ram", "64K", says="--ram")
    assert not (folder / "o").exists()


def inspect_shows_what_the_file_holds(folder):
    for model in (GGUF, HF):
        text = run("inspect", model).stdout.decode()
        for part in ("llama", "21 tensors", "F32", "tokenizer", "weights", "scratch", "(295, 64)"):
            assert part in text, f"{part!r} is not in {text}"
    assert "blk.1.attn_q.weight" in run("inspect", GGUF).stdout.decode()


def tokenize_round_trips(folder):
    for model in (GGUF, HF):
        ids = run("tokenize", "-m", model, stdin=TEXT.encode()).stdout
        assert ids.count(b"\n") == 1 and all(0 <= int(i) < 295 for i in ids.split())
        assert run("tokenize", "-m", model, "--decode", stdin=ids).stdout == TEXT.encode()
    assert run("tokenize", "-m", GGUF, stdin=TEXT.encode()).stdout == run("tokenize", "-m", HF, stdin=TEXT.encode()).stdout


def tokenize_uses_the_merges(folder):
    tokens = json.loads((HF / "tokenizer.json").read_text())["model"]["vocab"]
    want = [tokens["hello"], tokens["Ġworld"], tokens["Ġthe"]]
    assert list(map(int, run("tokenize", "-m", GGUF, stdin=b"hello world the").stdout.split())) == want


def control_tokens_come_only_by_request(folder):
    plain = run("tokenize", "-m", GGUF, stdin=b"<|im_start|>").stdout.split()
    assert b"1" not in plain and len(plain) > 1, plain
    assert run("tokenize", "-m", GGUF, "--special", stdin=b"<|im_start|>").stdout.split() == [b"1"]


def tokenize_loses_no_byte(folder):
    for data in (b"", b"\xff\xfe\x80", bytes(range(256)), b"a" * 100000, "é".encode()[:1]):
        ids = run("tokenize", "-m", GGUF, stdin=data).stdout
        count = len(ids.split())
        assert (count > 0) == (len(data) > 0)
        decoded = run("tokenize", "-m", GGUF, "--decode", stdin=ids).stdout
        assert decoded.decode(errors="replace").count("\ufffd") >= data.decode(errors="replace").count("\ufffd") > -1
        if data.isascii():
            assert decoded == data


def logits_have_the_shape_of_the_ids(folder):
    dtype, shape, data = logits(folder, [5, 6, 7])
    assert dtype == "F32" and shape == [3, 295] and len(data) == 3 * 295 * 4
    values = struct.unpack(f"<{3 * 295}f", data)
    assert all(v == v and abs(v) < 1e6 for v in values) and len(set(values)) > 500


def decode_gives_the_bits_of_prefill(folder):
    ids = [(7 * i * i + 3 * i) % 295 for i in range(150)]
    assert logits(folder, ids) == logits(folder, ids, "--decode")


def threads_change_no_bit(folder):
    ids = [(11 * i) % 295 for i in range(40)]
    first = logits(folder, ids, "--threads", 1)
    for n in (2, 3, 4):
        assert logits(folder, ids, "--threads", n) == first, n


def levels(available):
    text = run("doctor").stdout.decode()
    words = [line.split() for line in text.splitlines()]
    found = []
    for w in words:
        w = w[1:] if w[:1] == ["isa"] else w
        if len(w) > 3 and w[2] == "(needs":
            found.append((w[0], w[1] == "yes"))
    assert ("ref", True) in found, text
    return [name for name, yes in found if yes == available]


def levels_change_no_bit(folder):
    ids = [(13 * i) % 295 for i in range(40)]
    first = logits(folder, ids, "--isa", "ref")
    for level in levels(True):
        assert logits(folder, ids, "--isa", level) == first, level
    if levels(False):
        refused("logits", "-m", GGUF, "--ids", "1", "-o", folder / "o", "--isa", levels(False)[-1], says=levels(False)[-1])


def an_emulated_plain_cpu_gives_the_same_bits(folder):
    qemu = shutil.which("qemu-x86_64")
    if EMULATOR or not qemu or os.uname().machine != "x86_64":
        raise Skip("needs qemu-x86_64 on an x86-64 machine, without another emulator")
    if built_with("asan") or built_with("tsan"):
        raise Skip("sanitizers do not run under an emulator")
    ids = [(17 * i) % 295 for i in range(20)]
    emulated = [qemu, "-cpu", "Nehalem", *command("logits", "-m", GGUF, "--ids", ",".join(map(str, ids)), "-o", folder / "q")]
    done = subprocess.run(emulated, capture_output=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert read_safetensors(folder / "q")["logits"] == logits(folder, ids)
    done = subprocess.run([*emulated, "--isa", "avx2"], capture_output=True, timeout=TIMEOUT)
    assert done.returncode in (1, 2) and b"avx2" in done.stderr, done


def both_containers_choose_the_same_tokens(folder):
    """The same weights in F32. GGUF's order of rows within a head differs, so sums round differently: no bit equality."""
    ids = [(19 * i + 4) % 295 for i in range(60)]
    gguf, hf = logits(folder, ids, model=TINY / "tiny-f32.gguf"), logits(folder, ids, model=HF)
    assert argmax_rows(gguf) == argmax_rows(hf)


def ids_outside_the_vocabulary_are_refused(folder):
    for bad in ("295", "2147483647"):
        refused("logits", "-m", GGUF, "--ids", "7," + bad, "-o", folder / "o", says=[bad, "294"])
    for bad in ("-1", "1,,x", "", "99999999999999999999"):
        refused("logits", "-m", GGUF, "--ids", bad, "-o", folder / "o", says="id", code=2)
    assert list(folder.glob("o*")) == []


def an_unwritable_output_is_an_error(folder):
    refused("logits", "-m", GGUF, "--ids", "1", "-o", folder / "no/such/place", says="no/such/place")
    if pathlib.Path("/dev/full").exists():
        done = subprocess.run(command("tokenize", "-m", GGUF), input=b"hello", stdout=open("/dev/full", "wb"), stderr=subprocess.PIPE)
        assert done.returncode == 1 and done.stderr.startswith(b"fathom"), done


def bench_prints_one_object(folder):
    b = json.loads(run("bench", "-m", GGUF, "-p", "16", "-n", "8", "-r", "3", "--json").stdout)  # odd: medians are samples
    assert {"cpu", "isa", "cores", "read_gb_per_s", "int8_gops", "f32_gflops"} <= b["machine"].keys()
    assert b["prefill"]["n"] == 16 and b["decode"]["n"] == 8
    for phase in (b["prefill"], b["decode"]):
        assert 0 < phase["min"] <= phase["tokens_per_s"] <= phase["max"] and len(phase["samples"]) == 3
        assert min(phase["samples"]) == phase["min"] and max(phase["samples"]) == phase["max"]
        assert abs(phase["n"] / phase["seconds"] / phase["tokens_per_s"] - 1) < 1e-3
        assert phase["ops"] > 0 and abs(phase["ops"] / phase["seconds"] / 1e9 / phase["gops"] - 1) < 1e-2
        assert 0 <= phase["repeated"] <= 3 and 0 <= phase["noise"] <= 2
    d = b["decode"]
    assert abs(d["bytes"] / d["seconds"] / 1e9 / d["gb_per_s"] - 1) < 1e-2
    assert d["bandwidth_share"] > 0 and d["read_gb_per_s"] == b["machine"]["read_gb_per_s"]
    assert "profile" not in d
    assert b["load_s"] > b["pack_s"] and (b["pack_s"] > 0) == (b["packed_bytes"] > 0)
    assert b["weight_bytes"] > 1e5 and b["rss_peak_bytes"] > 1e6 and b["commit"]


def bench_shows_where_the_time_goes(folder):
    b = json.loads(run("bench", "-m", GGUF, "-p", "16", "-n", "8", "-r", "1", "--json", "--profile").stdout)
    for phase in (b["prefill"], b["decode"]):
        parts = {p["part"]: p for p in phase["profile"]}
        assert {"embedding", "norms", "q, k, v", "attention", "attention output", "gate, up", "down", "head"} <= parts.keys()
        assert abs(sum(p["share"] for p in parts.values()) - 1) < 0.01
        for key in ("bytes", "ops"):
            assert abs(sum(p[key] for p in parts.values()) / phase[key] - 1) < 1e-3
        for p in parts.values():
            assert p["calls"] > 0 and p["seconds"] > 0 and 0 <= p["busy"] <= 1.01, p
    # Every decoded token reads every weight but the embedding once, and its keys and values: 2 layers, 2 of 2 heads of 16, F16.
    keys = sum(2 * 2 * 2 * 16 * 2 * (i + 1) for i in range(8))
    by_part = {p["part"]: p for p in b["decode"]["profile"]}
    assert by_part["attention"]["bytes"] == keys, by_part["attention"]
    assert b["decode"]["bytes"] - keys <= 8 * b["weight_bytes"]
    text = run("bench", "-m", GGUF, "-p", "16", "-n", "8", "-r", "1", "--profile").stdout.decode()
    assert "gate, up" in text and "when nobody looks" in text, text


def doctor_finds_the_machine(folder):
    text = run("doctor").stdout.decode()
    for part in ("cpu", "isa", "cores", "memory", "ref", "uses"):
        assert part in text, part


def run_answers_a_prompt(folder):
    done = run("run", "-m", GGUF, "-p", "hello", "-n", "12", "--temp", "0")
    assert done.stdout.endswith(b"\n") and len(done.stdout) > 2
    for n in (1, 2, 3, 4):
        assert run("run", "-m", GGUF, "-p", "hello", "-n", "12", "--temp", "0", "--threads", n).stdout == done.stdout


def a_seed_repeats_the_text(folder):
    args = ["run", "-m", GGUF, "-p", "hello", "-n", "24", "--temp", "1.5"]
    a, b, c = (run(*args, "--seed", s).stdout for s in (1, 1, 2))
    assert a == b and a != c


def prompts_come_from_everywhere(folder):
    options = ["-m", GGUF, "-n", "8", "--temp", "0"]
    (folder / "prompt.txt").write_text("hello world")
    outputs = {run("run", *options, "-p", "hello world").stdout, run("run", *options, "-f", folder / "prompt.txt").stdout,
               run("run", *options, stdin=b"hello world").stdout, run("run", *options, "-f", "-", stdin=b"hello world").stdout}
    assert len(outputs) == 1, outputs
    built_in = run("run", *options)
    assert b"asking: " in built_in.stderr and len(built_in.stdout) > 1


def raw_continues_the_text(folder):
    a = run("run", "-m", GGUF, "--raw", "-p", "hello", "-n", "8", "--temp", "0").stdout
    assert a != run("run", "-m", GGUF, "-p", "hello", "-n", "8", "--temp", "0").stdout


def a_prompt_beyond_the_context_is_refused(folder):
    refused("run", "-m", GGUF, "-p", "hello " * 200, "--ctx", "64", says=["64", "tokens"])


def a_reader_that_leaves_ends_the_run(folder):
    p = subprocess.Popen(command("run", "-m", GGUF, "-p", "hello", "--temp", "0"), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.stdout.read(10)
    p.stdout.close()
    stderr = p.stderr.read()
    code = p.wait(TIMEOUT)
    p.stderr.close()
    check_clean(stderr, "closed pipe")
    assert code in (1, -13) and stderr.count(b"\n") <= 1, (code, stderr)


def interrupt_ends_the_run(folder):
    p = subprocess.Popen(command("run", "-m", GGUF, "-p", "hello", "--temp", "0"), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.read(10)
    p.send_signal(2)
    out, stderr = p.communicate(timeout=TIMEOUT)
    check_clean(stderr, "interrupt")
    assert p.returncode in (130, -2), (p.returncode, stderr)


def bits_are_the_loss_of_the_logits(folder):
    """Against log-softmax over what `fathom logits` writes, in one window: the text and its end."""
    text = "hello world, hello the world"
    (folder / "t.txt").write_text(text)
    ids = [1, *map(int, run("tokenize", "-m", GGUF, stdin=text.encode()).stdout.split())]  # behind BOS
    figures = json.loads(run("eval", "bits", "-m", GGUF, "--json", folder / "t.txt").stdout)
    _, (n, n_vocab), data = logits(folder, ids)
    rows = [struct.unpack_from(f"<{n_vocab}f", data, 4 * n_vocab * i) for i in range(n)]
    nats = sum(math.log(sum(math.exp(x) for x in row)) - row[i] for row, i in zip(rows, ids[1:]))
    ended = figures["nats per token"] * n - nats  # what is left is the end of the text, one token
    assert figures["bytes"] == len(text) and 0 < ended < 30, (figures, nats)
    assert abs(figures["bits per byte"] * len(text) * math.log(2) - figures["nats per token"] * n) < 1e-4, figures


def completion_is_a_shell_script(folder):
    script = run("completion", "bash").stdout
    (folder / "c.sh").write_bytes(script)
    assert subprocess.run(["bash", "-n", folder / "c.sh"]).returncode == 0 and b"fathom" in script


main([help_lists_every_command, version_is_printed, wrong_command_and_option_are_usage_errors,
      missing_and_broken_files_are_named, a_folder_without_a_shard_is_refused, an_unreadable_file_is_refused,
      an_unknown_architecture_is_refused, too_little_memory_is_refused_with_the_figures, inspect_shows_what_the_file_holds,
      tokenize_round_trips, tokenize_uses_the_merges, control_tokens_come_only_by_request, tokenize_loses_no_byte,
      logits_have_the_shape_of_the_ids, decode_gives_the_bits_of_prefill, threads_change_no_bit, levels_change_no_bit,
      an_emulated_plain_cpu_gives_the_same_bits, both_containers_choose_the_same_tokens, ids_outside_the_vocabulary_are_refused,
      an_unwritable_output_is_an_error, bench_prints_one_object, bench_shows_where_the_time_goes, doctor_finds_the_machine, run_answers_a_prompt,
      a_seed_repeats_the_text, prompts_come_from_everywhere, raw_continues_the_text, a_prompt_beyond_the_context_is_refused,
      a_reader_that_leaves_ends_the_run, interrupt_ends_the_run, bits_are_the_loss_of_the_logits, completion_is_a_shell_script])
