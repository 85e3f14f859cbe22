#!/usr/bin/env python3
"""Do results of `kvbits eval` meet the goals for a real model? Prints a table; exits 1 on a miss, 2 on bad input.

    check_goals.py RESULT.json...        files that are no such results are passed over

Each goal: at no more than so many bits per value, counted over the whole window (pages, scales and exact tokens), some
kvbits scheme of a result has a smaller KL divergence, both in the mean and at 99.9 %, than each of the engine's caches
named, or than a share of it.
"""
import json
import sys

# bits per value, the engine's caches to beat, by which factor
GOALS = (
    (4.25, ("q4_0", "iq4_nl", "q4_1"), 1.0),
    (5.25, ("q5_0", "q5_1"), 1.0),
    (6.25, ("q5_1",), 0.5),
    (8.25, ("q8_0",), 1.0),
)
FIGURES = (("mean", "kl_mean_ratio"), ("p999", "kl_p999_ratio"))


def read(path):
    """None for what is no result of kvbits eval; OSError where there is no such file."""
    with open(path, encoding="utf-8") as file:
        try:
            result = json.load(file)
        except (UnicodeDecodeError, json.JSONDecodeError):
            return None
    return result if isinstance(result, dict) and result.get("kvbits_eval") == 1 else None


def value(scheme, figure):
    return scheme["kl"][figure]["value"]


def interval(result, scheme, against, ratio):
    for pair in result["comparisons"]:
        if (pair["scheme"], pair["against"]) == (scheme["name"], against) and pair[ratio]["low"] is not None:
            return f" ({pair[ratio]['low']:.2f}..{pair[ratio]['high']:.2f})"
    return ""


def best(result, bits, others):
    """Of the schemes that fit, the one whose worst ratio to what it must beat is the smallest."""
    fitting = [scheme for scheme in result["schemes"] if scheme["kind"] == "kvbits"
               and scheme["bits_in_window"] <= bits + 1e-9]
    return min(fitting, default=None, key=lambda scheme: max(
        value(scheme, figure) / value(other, figure) for other in others for figure, _ in FIGURES))


def rows(result):
    """(line, met)"""
    engine = {scheme["name"]: scheme for scheme in result["schemes"] if scheme["kind"] == "engine"}
    for bits, names, factor in GOALS:
        others = [engine[name] for name in names if name in engine]
        scheme = best(result, bits, others) if len(others) == len(names) else None
        if scheme is None:
            yield f"| {bits} | - | {', '.join(names)} | | | not measured |", False
            continue
        for other in others:
            ratios, met = [], True
            for figure, ratio in FIGURES:
                share = value(scheme, figure) / value(other, figure) / factor
                met = met and share < 1
                ratios.append(f"{share:.2f}{interval(result, scheme, other['name'], ratio) if factor == 1 else ''}")
            goal = other["name"] if factor == 1 else f"{factor} x {other['name']}"
            yield (f"| {bits} | {scheme['name']} ({scheme['bits_in_window']:.3g}) | {goal} ({other['bits_per_value']:.3g}) "
                   f"| {ratios[0]} | {ratios[1]} | {'pass' if met else 'miss'} |"), met


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if len(sys.argv) > 1 else 2
    found = missed = 0
    for path in sys.argv[1:]:
        try:
            result = read(path)
        except OSError as error:
            print(f"check_goals.py: {error}", file=sys.stderr)
            return 2
        if result is None:
            continue
        found += 1
        print(f"{path}: {result['model']['file']}, {result['tokens']} tokens of {result['text']}\n")
        print("| bits per value, at most | best of kvbits (bits) | must beat (bits) | KL mean, ratio | KL 99.9 %, ratio | |\n"
              "| ---: | --- | --- | ---: | ---: | --- |")
        for line, met in rows(result):
            print(line)
            missed += not met
        print()
    if not found:
        print("check_goals.py: none of the files is a result of kvbits eval", file=sys.stderr)
        return 2
    print(f"{missed} missed" if missed else "every goal is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
