#!/usr/bin/env python3
"""What half bits cost beside the widths around them:  half_ratio.py SCALAR.json TRELLIS.json

Both hold several runs of `kvbits bench --json`, made in turn (record.sh, part halves). A pair with half a bit is compared
with the mean of its two neighbors, half a bit below and above, of scalar codes; least times of all runs, as in
trellis_ratio.py. The last column is the quotient over the neighbors of the same kind of code.
"""
import json
import pathlib
import sys


def read(path):
    """(shape, K, V) -> the least time of all runs."""
    times = {}
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("work") == "attend":
            key = row["shape"], *(float(row[side].split("t")[0]) for side in "kv")
            times[key] = min(times.get(key, float("inf")), row["least"])
    return times


def between(times, shape, k, v):
    sides = [tuple(bits + (step if bits % 1 else 0.0) for bits in (k, v)) for step in (-0.5, 0.5)]
    return sum(times[shape, *side] for side in sides) / 2


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    files = {"scalar": read(sys.argv[1]), "trellis": read(sys.argv[2])}
    print("code    shape K/V       ns  over scalar neighbors  over its own")
    for kind, times in files.items():
        for shape, k, v in sorted(times):
            if k % 1 or v % 1:
                ns = times[shape, k, v]
                scalar, own = between(files["scalar"], shape, k, v), between(times, shape, k, v)
                print(f"{kind:7} {shape:5} {k:g}/{v:<5g} {ns:5.1f} {ns / scalar:22.2f} {ns / own:13.2f}")


if __name__ == "__main__":
    main()
