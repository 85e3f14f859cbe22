#!/usr/bin/env python3
"""What trellis codes cost beside scalar codes of as many bits:  trellis_ratio.py SCALAR.json TRELLIS.json

Both hold several runs of `kvbits bench --json`, made in turn (record.sh, part trellis). The quotient is that of the least
times of all runs: on a shared machine whole runs are slower, and medians of different runs do not compare.
"""
import collections
import json
import pathlib
import sys


def read(path):
    """(work, shape, head_dim, bits) -> the least of each run."""
    times = collections.defaultdict(list)
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("work") in ("attend", "encode"):
            times[row["work"], row.get("shape", "-"), row["head_dim"], int(row["k"].split("t")[0])].append(row["least"])
    return times


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    scalar, trellis = read(sys.argv[1]), read(sys.argv[2])
    if not scalar or scalar.keys() != trellis.keys():
        sys.exit("trellis_ratio: the files do not hold the same rows")
    print("work    shape  dim bits   scalar ns  trellis ns  quotient, of each pair of runs")
    for key in sorted(scalar):
        a, b = scalar[key], trellis[key]
        pairs = " ".join(f"{y / x:.2f}" for x, y in zip(a, b))
        print(f"{key[0]:7} {key[1]:5} {key[2]:4} {key[3]:4} {min(a):11.1f} {min(b):11.1f} {min(b) / min(a):9.2f}  [{pairs}]")


if __name__ == "__main__":
    main()
