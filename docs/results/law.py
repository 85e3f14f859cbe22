#!/usr/bin/env python3
"""NRMSE^2 = c * D_K + D_V: the factor c that docs/math.md derives, beside the one that a run measured.

    law.py law.txt flat.txt        (both made by run.sh)

Derived: logits N(0, scale^2 d), softmax p, c = scale^2 d E[S2 + S2^2 - 2 S3] / E[S2] with Sn the sum of p^n.
Measured: mean square of the error with quantized keys over that with quantized values of the same width.
"""
import math
import random
import re
import sys

D = 256
TRIALS, T_QUANTILE = 100, 1.984217  # of Student's t with 99 degrees of freedom: turns an interval into a deviation


def derived(kv_len, scale, draws=2000):
    rng = random.Random(1)
    top = bottom = 0.0
    for _ in range(draws):
        logits = [rng.gauss(0.0, scale * math.sqrt(D)) for _ in range(kv_len)]
        largest = max(logits)
        weights = [math.exp(x - largest) for x in logits]
        total = sum(weights)
        s2 = sum((w / total) ** 2 for w in weights)
        s3 = sum((w / total) ** 3 for w in weights)
        top += s2 + s2 * s2 - 2.0 * s3
        bottom += s2
    return scale * scale * D * top / bottom


def mean_square(mean, high):
    deviation = (high - mean) / T_QUANTILE * math.sqrt(TRIALS)
    return mean * mean + deviation * deviation * (TRIALS - 1) / TRIALS


def main():
    pattern = re.compile(r"(\d)/\1 .* kv_len +(\d+) .*K only ([\d.]+) \[[\d.]+, ([\d.]+)\] +V only ([\d.]+) \[[\d.]+, ([\d.]+)\]")
    known = {}
    for path in sys.argv[1:]:
        scale = None
        for line in open(path, encoding="utf-8"):
            if "attention_scale" in line:
                scale = float(re.search(r"attention_scale ([\d.]+)", line)[1])
            found = pattern.search(line)
            if not found:
                continue
            bits, kv_len = int(found[1]), int(found[2])
            k_mean, k_high, v_mean, v_high = map(float, found.groups()[2:])
            if (kv_len, scale) not in known:
                known[kv_len, scale] = derived(kv_len, scale)
            measured = mean_square(k_mean, k_high) / mean_square(v_mean, v_high)
            print(f"scale {scale:g}, {bits} bits, kv_len {kv_len:4}: c measured {measured:6.2f}, derived {known[kv_len, scale]:6.2f}")


if __name__ == "__main__":
    main()
