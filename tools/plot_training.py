#!/usr/bin/env python3
"""Draws the loss of training runs over their tokens as SVG, from the trainer's log.csv.

    tools/plot_training.py build-corpus/tiny/run/log.csv -o curve.svg
    tools/plot_training.py Muon=a/log.csv AdamW=b/log.csv -o compare.svg --held-out

One log: the loss of the steps, smoothed, and the held-out loss. --held-out: only the latter, a curve per log.
"""
import argparse
import csv
import pathlib

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 44, 16, 28, 30
COLOURS = ["#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#475569"]


def smoothed(points, stretch):
    """Means of `stretch` neighbouring points, weighted alike."""
    groups = [points[i:i + stretch] for i in range(0, len(points), stretch)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def read(path, column):
    rows = csv.DictReader(pathlib.Path(path).open())
    return [(float(r["tokens"]) / 1e6, float(r[column])) for r in rows if r[column]]


def ticks(high):
    step = next(s for s in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if high / s <= 6)
    return [i * step for i in range(int(high / step) + 1)]


def draw(curves, title):
    x_max, y_max = (max(p[i] for _, points in curves for p in points) for i in (0, 1))

    def place(x, y):
        return (LEFT + x / x_max * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / y_max * (HEIGHT - TOP - BOTTOM))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           '<g font-family="sans-serif" font-size="12" fill="#475569" stroke-width="1">',
           f'<text x="{LEFT}" y="16" font-weight="600">{title}</text>']
    for y in ticks(y_max):
        _, v = place(0, y)
        out += [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{v:.1f}" y2="{v:.1f}" stroke="#e2e8f0"/>',
                f'<text x="{LEFT - 6}" y="{v + 4:.1f}" text-anchor="end">{y:g}</text>']
    for x in ticks(x_max):
        out.append(f'<text x="{place(x, 0)[0]:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{x:g} M</text>')
    for i, (name, points) in enumerate(curves):
        line = " ".join("%.1f,%.1f" % place(*p) for p in points)
        colour = COLOURS[i % len(COLOURS)]
        out += [f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{line}"/>',
                f'<text x="{WIDTH - RIGHT}" y="{TOP + 18 * (i + 1)}" text-anchor="end" fill="{colour}">{name}, {points[-1][1]:.3f}</text>']
    return "\n".join(out + ["</g></svg>", ""])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("logs", nargs="+", metavar="[NAME=]LOG")
    p.add_argument("-o", required=True, type=pathlib.Path)
    p.add_argument("--held-out", action="store_true")
    p.add_argument("--title", default="loss in nats per token, over tokens")
    a = p.parse_args()
    curves = []
    for log in a.logs:
        name, _, path = log.rpartition("=")
        if not a.held_out:
            steps = read(path, "loss")
            curves.append((" ".join(filter(None, [name, "training"])), smoothed(steps, max(1, len(steps) // 150))))
        curves.append((" ".join(filter(None, [name, "" if a.held_out and name else "held out"])), read(path, "held_out_loss")))
    a.o.write_text(draw(curves, a.title))


main()
