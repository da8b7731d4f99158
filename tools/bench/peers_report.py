"""The table and the plot of what peers.py measured."""
import statistics

BEGIN, END = "<!-- bench-peers: begin -->", "<!-- bench-peers: end -->"
PEERS = ("llama.cpp", "ik_llama.cpp")
FORMATS = ("MXFP4", "Q4_0", "Q4_K", "Q8_0")


def spread(values, digits):
    """Median and range."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}..{max(values):.{digits}f}]"


def limit(job, phase):
    """What bounds the phase on that machine: GB/s in decode, Gop/s in prefill."""
    if phase == "decode":
        return statistics.median(job["read_gb_per_s"])
    return statistics.median(job["int8_gops"]) or statistics.median(job["f32_gflops"])


def work_per_token(job, phase):
    return job[phase]["bytes" if phase == "decode" else "ops"] / job[phase]["tokens"] / 1e9


class Row:
    """One line: what was done, and for each engine its figures as text and its speed relative to the others."""

    def __init__(self, label, unit):
        self.label, self.unit, self.text, self.speed, self.reached, self.share = label, unit, {}, {}, "", ""

    def ratio(self, peer):
        ours, theirs = self.speed.get("fathom"), self.speed.get(peer)
        return ours / theirs if ours and theirs else None

    def cells(self):
        out = [self.label, self.text.get("fathom", ""), self.reached, self.share]
        for peer in PEERS:
            ratio = self.ratio(peer)
            out += [self.text.get(peer, "not at hand"), f"{ratio:.2f}x" if ratio else ""]
        return out


def reach(row, amount, most, unit):
    row.reached, row.share = f"{amount:.1f} {unit}" if unit == "GB/s" else f"{amount:.0f} {unit}", f"{100 * amount / most:.0f} %"


def at(e, phase, bandwidth):
    """An engine's samples of a phase; those of decode only where memory gave about that bandwidth, if one is given."""
    if bandwidth is None:
        return e[phase]
    return [x for x, read in zip(e[phase], e["read_gb_per_s"]) if abs(read / bandwidth - 1) < 0.15]


def bandwidths(jobs, phase):
    """The speeds of memory at which Fathom has samples of all jobs, the slowest first; [None] where speed does not matter or was not
    measured beside every engine."""
    engines = [e for job in jobs for e in job["engines"].values()]
    if phase == "prefill" or not all("read_gb_per_s" in e for e in engines):
        return [None]
    out = []
    for read in sorted(r for job in jobs for r in job["engines"]["fathom"]["read_gb_per_s"]):
        if all(at(job["engines"]["fathom"], phase, read) for job in jobs) and (not out or read > 1.3 * out[-1]):
            out.append(read)
    return out


def title(label, phase, tokens, read):
    return f"{label}, {phase}" + (f" {tokens}" if tokens else "") + (f", memory at {read:.0f} GB/s" if read else "")


def simple_row(label, job, phase, read):
    row = Row(title(label, phase, job[phase]["tokens"], read), "tok/s")
    for engine, e in job["engines"].items():
        samples = at(e, phase, read)
        row.text[engine] = spread(samples, 1) + " tok/s" if samples else "not then"
        row.speed[engine] = statistics.median(samples) if samples else None
    reach(row, row.speed["fathom"] * work_per_token(job, phase), read or limit(job, phase), "GB/s" if phase == "decode" else "Gop/s")
    if phase == "decode" and not read:  # each run against the bandwidth of its own seconds
        row.share = f"{100 * statistics.median(job[phase]['bandwidth_share']):.0f} %"
    return row


def layer_row(label, two, four, phase, read):
    """Half of what two layers more cost: per token in decode, for the whole prompt in prefill."""
    row = Row(title(label, phase, two[phase]["tokens"] if phase == "prefill" else 0, read), "ms")
    per = two[phase]["tokens"] if phase == "decode" else 1

    def seconds(job, engine):
        samples = at(job["engines"][engine], phase, read)
        return job[phase]["tokens"] / statistics.median(samples) if samples else None

    for engine in two["engines"]:
        short, long = seconds(two, engine), seconds(four, engine) if engine in four["engines"] else None
        if short and long:
            ms = (long - short) / 2 * 1000 / per
            row.text[engine], row.speed[engine] = f"{ms:.2f} ms" if phase == "decode" else f"{ms:.0f} ms", 1 / ms
        else:
            row.text[engine] = "not then"
    unit = "bytes" if phase == "decode" else "ops"
    work = (four[phase][unit] - two[phase][unit]) / 2 / per / 1e9
    reach(row, work * row.speed["fathom"] * 1000, read or limit(four, phase), "GB/s" if phase == "decode" else "Gop/s")
    return row


def each(make, jobs):
    """A row for prefill, one of decode for each speed that memory had."""
    return [make(*jobs, phase, read) for phase in ("decode", "prefill") for read in bandwidths(jobs, phase)]


def rows(results):
    out = []

    def simple(label, name):
        if name in results:
            out.extend(each(lambda *a: simple_row(label, *a), [results[name]]))

    def layers(label, name):
        two, four = results.get(f"{name} 2"), results.get(f"{name} 4")
        if two and four:
            out.extend(each(lambda *a: layer_row(label, *a), [two, four]))

    for kind in FORMATS:
        simple(f"dense 1.2B {kind}", f"dense {kind}")
    layers("V4 layer, MXFP4 and Q8_0", "V4 layers")
    layers("V4 layer as released, FP4 and FP8", "V4 release layers")
    simple("SmolLM2 135M Q4_1", "SmolLM2")
    for kind in FORMATS:
        simple(f"dense 1.2B {kind}, AVX2", f"dense {kind}, AVX2")
        simple(f"dense 1.2B {kind}, one thread", f"dense {kind}, one thread")
    return out


def notes(results):
    """Figures that are no row: threads, depth, start, packing, and whether the programs agree."""
    out = []
    for kind in FORMATS:
        one, all_ = results.get(f"dense {kind}, one thread"), results.get(f"dense {kind}")
        if one and all_:
            gain = {(e, p): statistics.median(all_["engines"][e][p]) / statistics.median(one["engines"][e][p])
                    for e in ("fathom", "llama.cpp") for p in ("prefill", "decode")}
            out.append(f"{all_['threads']} threads against one, {kind}: prefill {gain['fathom', 'prefill']:.2f}x, decode "
                       f"{gain['fathom', 'decode']:.2f}x (llama.cpp {gain['llama.cpp', 'prefill']:.2f}x and {gain['llama.cpp', 'decode']:.2f}x).")
    deep, shallow = results.get("V4 release at 131072"), results.get("V4 release layers 2")
    if deep and shallow:
        for read in bandwidths([deep, shallow], "decode"):
            there, here = (statistics.median(at(j["engines"]["fathom"], "decode", read)) for j in (deep, shallow))
            out.append(f"Decode of two released layers behind 131,072 tokens: {there:.1f} tok/s, {100 * there / here:.0f} % of that behind none"
                       + (f" (memory at {read:.0f} GB/s)." if read else "."))
    start = results.get("start-up")
    if start:
        out.append(f"First token of a cached {start['bytes'] / 1e9:.2f} GB file (Q8_0): {spread(start['seconds'], 2)} s after the command.")
    for name in [f"dense {k}" for k in FORMATS] + ["V4 layers 4", "V4 release layers 4"]:
        if name in results:
            r = results[name]
            out.append(f"Loading {name} ({r['weight_bytes'] / 1e9:.2f} GB): {spread(r['load_s'], 2)} s, "
                       f"{r['weight_bytes'] / 1e9 / statistics.median(r['load_s']):.2f} GB/s; {max(r['rss']) / 1e9:.2f} GB resident at most.")
    agree = [f"{r['job']} {r['correlation']:.4f}" for r in results.values() if "correlation" in r]
    if agree:
        out.append("Correlation of Fathom's and llama.cpp's logits after 12 tokens: " + ", ".join(agree) + ".")
    noisy = [r["job"] for r in results.values() if any(n > 0.05 for e in r.get("engines", {}).values() for n in e["noise"])]
    if noisy:
        out.append("Others used more than 5 % of the processors during some samples of: " + ", ".join(noisy) + ".")
    return out


def head(results):
    first = next((r for r in results.values() if "cpu" in r), None)
    if not first:
        return "nothing was measured yet"
    measured = [r for r in results.values() if "cpu" in r]
    bandwidth = [x for r in measured for x in r["read_gb_per_s"] if r["threads"] == first["threads"]]
    peak = [x for r in measured for x in r["int8_gops"] if r["threads"] == first["threads"] and r["isa"] == first["isa"]]
    variants = sorted({r["variant"] for r in measured if "variant" in r})
    return (f"{first['cpu']}, {first['threads']} threads, {first['isa']}; reads {spread(bandwidth, 1)} GB/s, int8 {spread(peak, 0)} Gop/s; "
            f"Fathom {', '.join(sorted({r['commit'] for r in measured}))}, llama.cpp {', '.join(variants)}; "
            f"{min(r['when'] for r in measured)} to {max(r['when'] for r in measured)}.")


def profile(job, phase):
    """Where the time of one phase goes: parts of the model by falling share."""
    unit, amount, share = ("GB/s", "gb_per_s", "bandwidth_share") if phase == "decode" else ("Gop/s", "gops", "peak_share")
    lines = [f"{job['job']}, {phase} {job[phase]['tokens']}:", "",
             f"| part | ms | of the time | threads at work | {unit} | of the limit |", "| --- | --- | --- | --- | --- | --- |"]
    parts = sorted(job[phase]["profile"], key=lambda p: -p["share"])
    lines += [f"| {p['part']} | {1000 * p['seconds']:.2f} | {100 * p['share']:.1f} % | {100 * p['busy']:.0f} % | "
              f"{p[amount]:.1f} | {100 * p[share]:.0f} % |" for p in parts if p["share"] >= 0.001]
    return "\n".join(lines)


def profiles(results):
    """Of the models whose parts differ most."""
    chosen = [results[name] for name in ("dense MXFP4", "V4 layers 4", "V4 release layers 4") if name in results]
    return [profile(job, phase) for job in chosen for phase in ("decode", "prefill")]


def table(results):
    lines = [head(results), "", "| work | Fathom | reached | of the limit | llama.cpp | Fathom against it | ik_llama.cpp | Fathom against it |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows(results)]
    return "\n".join(lines + [""] + [f"- {n}" for n in notes(results)] + [""]) + "\n\n".join(profiles(results))


def insert(path, text, begin=BEGIN, end=END):
    """Replaces what stands between the marker lines."""
    old = path.read_text()
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"{path}: expected one line {begin} and one line {end}")
    before, rest = old.split(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def plot(results):
    """Speed of Fathom relative to llama.cpp: one bar for each row that has both."""
    bars = [(row.label, row.ratio("llama.cpp")) for row in rows(results) if row.ratio("llama.cpp")]
    scale = 360 / max([r for _, r in bars] + [2])
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{40 + 22 * len(bars)}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>', '<text x="300" y="18">Speed relative to llama.cpp, same file and machine</text>']
    for i, (label, ratio) in enumerate(bars):
        y = 30 + 22 * i
        out += [f'<text x="290" y="{y + 12}" text-anchor="end">{label}</text>',
                f'<rect x="300" y="{y}" width="{ratio * scale:.1f}" height="16" fill="{"#2a7" if ratio >= 1 else "#c55"}"/>',
                f'<text x="{304 + ratio * scale:.1f}" y="{y + 12}">{ratio:.2f}x</text>']
    out.append(f'<line x1="{300 + scale:.1f}" y1="26" x2="{300 + scale:.1f}" y2="{30 + 22 * len(bars)}" stroke="black" stroke-dasharray="3 3"/>')
    return "\n".join([*out, "</svg>", ""])
