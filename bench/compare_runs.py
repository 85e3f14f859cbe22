#!/usr/bin/env python3
"""Compares two runs of `kvbits bench --json FILE` row by row, such as those of two compilers.

    compare_runs.py BEFORE.json AFTER.json [--within 1.15]

Prints what AFTER takes over what BEFORE takes, for kvbits' own rows; with --within, ends with 1 when a row differs by
more in either direction.
"""
import argparse
import json
import pathlib
import sys

KEYS = ("work", "by", "shape", "head_dim", "kv_len", "k", "v", "layout", "mask", "backend", "precision", "from", "threads")
CEILINGS = ("read", "copy", "fma")


def read(path):
    lines = [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    return {tuple(row.get(key) for key in KEYS): row for row in lines if row["kind"] == "row"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--within", type=float, help="the largest quotient that is no difference")
    arguments = parser.parse_args()
    before, after = read(arguments.before), read(arguments.after)
    both = [key for key in before if key in after and before[key]["by"] == "kvbits"]
    if not both:
        sys.exit("compare_runs: the two files have no row in common")
    far = 0
    for key in both:
        was, now = before[key]["value"], after[key]["value"]
        # Rates rise where times fall.
        quotient = was / now if before[key]["unit"].startswith("G") else now / was
        out = bool(arguments.within) and key[0] not in CEILINGS and not 1 / arguments.within <= quotient <= arguments.within
        far += out
        print(f"{was:10.4g} {now:10.4g} {quotient:8.3f}{' !' if out else '  '} {' '.join(str(part) for part in key if part)}")
    print(f"{len(both)} rows, {far} differ by more than {arguments.within}" if arguments.within else f"{len(both)} rows")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
