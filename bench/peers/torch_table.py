#!/usr/bin/env python3
"""The tables of docs/cuda.md and docs/benchmarking.md from what torch_sdpa.py wrote:

    torch_table.py FILE [--run again] [--goals]

A row is a shape: the best of PyTorch's kernels, then each pair's median in microseconds and how many times faster it is
than that; --goals: instead what of the goals was reached, bold where missed. Runs: `first` finds other kernels'
instructions in the caches, `again` its own."""
import argparse
import json

GOALS = {  # times the best of bfloat16 on an H100
    "32:8 x 128, 16, 32768": {"8/8": 1.9, "6/6": 2.5, "5/5": 3.0, "6/4": 3.0, "4/4": 3.7, "3/3": 4.7, "2/2": 6.6},
    "64:8 x 128, 16, 32768": {"8/8": 1.85, "6/6": 2.5, "5/5": 3.0, "6/4": 3.0, "4/4": 3.7, "3/3": 4.6, "2/2": 6.4},
    "16:8 x 256, 16, 32768": {"8/8": 2.0, "6/6": 2.65, "5/5": 3.1, "6/4": 3.1, "4/4": 4.0, "3/3": 5.1, "2/2": 7.5},
    "32:8 x 128, 1, 131072": {"8/8": 1.95, "6/6": 2.45, "5/5": 2.85, "6/4": 2.85, "4/4": 3.5, "3/3": 4.3, "2/2": 5.4},
    "32:8 x 128, 1, 32768": {"8/8": 2.0, "6/6": 2.5, "5/5": 2.7, "6/4": 2.7, "4/4": 3.3, "3/3": 3.6, "2/2": 4.1},
    "9:3 x 64, 16, 32768": {"4/4": 3.6},
}
PROMPT_GOAL = {"4/4": 0.7}
PAIRS = ["8/8", "6/6", "5/5", "6/4", "4/4", "3/3", "2/2"]


def cells(shape, run, with_goals):
    of = shape["us"][run]
    best = of[shape["best"][run]][1]
    name = shape["shape"].replace("prompt ", "")
    yield name
    yield f"{shape['best'][run]} {best:.0f}"
    goals = PROMPT_GOAL if shape["shape"].startswith("prompt") else GOALS.get(name, {})
    for pair in PAIRS:
        median = of[pair][1]
        times = best / median
        if not with_goals:
            yield f"{median:.0f} ({times:.2f}x)"
        elif pair in goals:
            reached = f"{times:.2f} of {goals[pair]}"
            yield reached if times >= goals[pair] else f"**{reached}**"
        else:
            yield f"{times:.2f}"
    if not with_goals and not shape["shape"].startswith("prompt"):
        yield f"{of['plan'][1]:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--run", choices=["first", "again", "layers"], default="again")
    parser.add_argument("--goals", action="store_true")
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as file:
        results = json.load(file)
    print(f"{results['gpu']}, PyTorch {results['torch']}, CUDA {results['cuda']}, medians of {results['rounds']}, "
          f"pages {results['pages']}")
    for prompts in (False, True):
        shapes = [x for x in results["shapes"] if x["shape"].startswith("prompt") == prompts]
        if shapes:
            heads = ["shape, batch, tokens", "best bf16", *PAIRS, *([] if prompts or arguments.goals else ["plan"])]
            print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
        for shape in shapes:
            print("| " + " | ".join(cells(shape, arguments.run, arguments.goals)) + " |")


if __name__ == "__main__":
    main()
