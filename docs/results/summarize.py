#!/usr/bin/env python3
"""The figures of a result.json that the documents quote, as text: one line per pair and kv_len or layer.

    summarize.py result.json
"""
import json
import sys


def interval(cell, name):
    return f"{cell[name + '_mean']:.4f} [{cell[name + '_low']:.4f}, {cell[name + '_high']:.4f}]"


def print_pairs(cells, where):
    for cell in cells:
        place = where if where else f"kv_len {cell['kv_seq_len']}"
        line = f"{cell['k'] + '/' + cell['v']:>17} {cell['average_bits']:7.4f} bits {place:>11}  both {interval(cell, 'nrmse')}"
        line += f"  K only {interval(cell, 'k_only')}  V only {interval(cell, 'v_only')}"
        if "redraw_mean" in cell:
            line += f"  redraws {interval(cell, 'redraw')} deviation {cell['redraw_std']:.4f}"
        print(line)


def print_logits(cells, where):
    for cell in cells:
        place = where if where else f"kv_len {cell['kv_seq_len']}"
        print(f"{'K ' + cell['k']:>17} {place:>24}  logit RMSE {cell['logit_rmse']:.4f}  softmax KL {cell['softmax_kl']:.3g}"
              f"  top-1 flips {cell['top1_flips']:.4f}  top-5 flips {cell['top5_flips']:.4f}")


def print_round_trips(cells):
    for cell in cells:
        print(f"round trip {cell['case']}, {cell['bit_width']} bits, head_dim {cell['head_dim']}: {interval(cell, 'nrmse')}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    print("configuration: " + ", ".join(f"{key} {value}" for key, value in result["configuration"].items()))
    if result["kvbits"]["kind"] == "synthetic":
        print("shape: " + ", ".join(f"{key} {value}" for key, value in result["shape"].items()))
        print_pairs(result["pair_cells"], None)
        print_logits(result["logit_cells"], None)
        if result["configuration"]["default"] and not result["configuration"]["redraws"]:
            print_round_trips([cell for cell in result["round_trip_cells"] if cell["case"] != "C"])
    for layer in result.get("layers", []):
        print_pairs([cell for cell in layer["pair_cells"] if cell["k"] == cell["v"]], f"layer {layer['layer']}")
        print_logits(layer["logit_cells"], f"layer {layer['layer']}")
    for needed in result["needed"]:
        pair = needed["cheapest_pair"]
        cheapest = f"{pair['k']}/{pair['v']}, {pair['average_bits']:g} bits, {pair['nrmse']:.4f}" if pair else "none"
        print(f"at most {needed['threshold']:g}: K alone {needed['k_bits_alone']}, V alone {needed['v_bits_alone']}, "
              f"alike {needed['symmetric_bits']}, cheapest pair {cheapest}")
    print(f"verdicts: {result['verdict']}, {result['verdict_at_threshold_015']}")
    print(f"checks: {sum(check['passed'] for check in result['checks'])} of {len(result['checks'])} hold")


if __name__ == "__main__":
    main()
