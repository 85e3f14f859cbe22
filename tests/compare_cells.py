#!/usr/bin/env python3
"""Compares the cells of two A/B results, such as a run's result.json and the golden file.

    compare_cells.py DIR/result.json tests/golden/bitwidth_ab.json --round-trip 1e-6 --attention 5e-5 [--verdict]

Exit code 0: every golden cell is there and agrees; 1: some do not; 2: bad input. Only the standard library.
"""
import argparse
import json
import math
import sys

# Case C (no quantizer) measures rounding noise of about 1e-7, which another order of sums may change by some percent.
CASE_C_SHARE = 0.20
VERDICTS = ("verdict", "verdict_at_threshold_015")
GROUPS = {
    "round trip": ("round_trip_cells", ("bit_width", "case", "head_dim")),
    "attention": ("sdpa_cells", ("bit_width", "kv_seq_len")),
}


class BadInput(Exception):
    pass


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path}: the document is no JSON object")
    return document


def cells(document, path, list_name, key_names):
    """{key: (mean, deviation)} of one list of cells."""
    found = {}
    listed = document.get(list_name)
    if not isinstance(listed, list) or not listed:
        raise BadInput(f"{path}: no {list_name}")
    for cell in listed:
        try:
            key = tuple(cell[name] for name in key_names)
            figures = float(cell["nrmse_mean"]), float(cell["nrmse_std"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{path}: {list_name}: a cell lacks or garbles {error}") from error
        if key in found:
            raise BadInput(f"{path}: {list_name}: two cells for {key}")
        found[key] = figures
    return found


def compare_group(name, result, golden, tolerance):
    """Rows (group, cells, worst difference, share of its bound, where), and the list of failures."""
    worst, failures = {}, []
    for key, expected in golden.items():
        cell = ", ".join(str(part) for part in key)
        if key not in result:
            failures.append(f"{name} ({cell}): missing")
            continue
        is_c = "C" in key
        row_name = f"{name}, case C" if is_c else name
        for what, got, want in zip(("mean", "deviation"), result[key], expected):
            # For C the golden file's eight decimals leave one or two digits: half a unit of them is no difference.
            bound = CASE_C_SHARE * want + 0.5e-8 if is_c else tolerance
            difference = abs(got - want)
            share = difference / bound if bound > 0.0 and math.isfinite(difference) else math.inf if difference else 0.0
            count, old = worst.get(row_name, (0, (-1.0, 0.0, 0.0, "")))
            worst[row_name] = (count + (what == "mean"), max(old, (share, difference, bound, f"{what} of ({cell})")))
            if not difference <= bound:
                failures.append(f"{name} ({cell}): {what} {got:.10g} is not {want:.10g} within {bound:.3g}")
    return [(row, count, *figures) for row, (count, figures) in worst.items()], failures


def compare(arguments):
    result, golden = read(arguments.result), read(arguments.golden)
    tolerances = {"round trip": arguments.round_trip, "attention": arguments.attention}
    rows, failures = [], []
    for name, (list_name, key_names) in GROUPS.items():
        expected = cells(golden, arguments.golden, list_name, key_names)
        got = cells(result, arguments.result, list_name, key_names)
        new_rows, new_failures = compare_group(name, got, expected, tolerances[name])
        rows += new_rows
        failures += new_failures
    print(f"{'group':22}{'cells':>6}  {'worst':>9}  {'bound':>9}  where")
    for name, count, share, difference, bound, where in sorted(rows, key=lambda row: row[0], reverse=True):
        print(f"{name:22}{count:>6}  {difference:9.2e}  {bound:9.2e}  {where}{'' if share <= 1 else '  <-- exceeds'}")
    if arguments.verdict:
        for key in VERDICTS:
            same = key in golden and result.get(key) == golden[key]
            print(f"{key}: {result.get(key)}" + ("" if same else f"  <-- not {golden.get(key)}"))
            if not same:
                failures.append(f"{key} differs")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def tolerance(text):
    value = float(text)
    if not (math.isfinite(value) and value >= 0.0):
        raise argparse.ArgumentTypeError(f"a tolerance is a finite number of at least 0, not {text}")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result")
    parser.add_argument("golden")
    parser.add_argument("--round-trip", type=tolerance, required=True, help="bound of cases A and B")
    parser.add_argument("--attention", type=tolerance, required=True, help="bound of the attention cells")
    parser.add_argument("--verdict", action="store_true", help="compare both verdicts too")
    try:
        return compare(parser.parse_args())
    except BadInput as error:
        print(f"compare_cells: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
