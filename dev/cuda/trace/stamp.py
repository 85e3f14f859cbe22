#!/usr/bin/env python3
"""Where the time of the decode kernel goes: copies src/cuda to OUT and writes the multiprocessors' clocks into it.

    dev/cuda/trace/stamp.py OUT
    nvcc -std=c++17 -O3 -gencode arch=compute_90a,code=sm_90a -I OUT -I src -I include -I bench/cuda -I dev/cuda \\
        dev/cuda/trace/trace.cu build-cuda/src/cuda/libkvbits-cuda.a build-cuda/src/libkvbits.a -o OUT/trace
    OUT/trace > OUT/stamps.txt; dev/cuda/trace/stamp.py --read OUT/stamps.txt

Reports medians over the blocks that share an item (in brackets the longest), in cycles: the segment asked for, the ring
asked for, the table built, queries rotated, the first tile awaited, tiles, the block's warps merged, the arrival counted;
then of the items' last blocks the parts merged and the results finished. It stops where the code no longer has a place
that is stamped."""
import pathlib
import re
import shutil
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLACES = [  # stamp, before what; stamps 14 and 15 are nanoseconds of the device
    ("GSTAMP(14) STAMP(0)", "    Early<D> early;"),
    ("STAMP(1)", "    // ---- The ring is filled, behind what is small ----"),
    ("STAMP(2)", "    D::C::build(k_table"),
    ("STAMP(3)", "    int stage = 0;\n    uint32_t parity = 0;"),
    ("STAMP(4)", "        const Columns columns = columns_of<"),
    ("if (tile == work.begin / TOKENS + ring_index) { STAMP(5) }", "            float products[BLOCKS][4], c[SCORES][4];"),
    ("STAMP(6)", "        // ---- The block's warps, in order, the exact tokens last."),
    ("if (!adds_parts) { STAMP(7) }", "            if (!is_part) {"),
    ("STAMP(8)", "            if (!is_last) {"),
    ("if (adds_parts) { STAMP(9) }", "                finishes = true;"),
    ("__syncthreads(); STAMP(10) GSTAMP(15)", "        if (work.next < 0) {\n            break;"),
]
STAMPS = """namespace kvb {
__device__ long long stamps[1024 * 16];
__device__ __forceinline__ long long nanoseconds() {
    long long t;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
    return t;
}
#define STAMP(i) if (threadIdx.x == 0) { stamps[blockIdx.x * 16 + (i)] = clock64(); }
#define GSTAMP(i) if (threadIdx.x == 0) { stamps[blockIdx.x * 16 + (i)] = nanoseconds(); }
"""
NAMES = ["segment", "ring", "table", "queries", "first tile", "tiles", "merge", "arrival"]


def copy(out):
    shutil.copytree(ROOT / "src" / "cuda", out, dirs_exist_ok=True)
    path = out / "attend_decode.cuh"
    text = path.read_text(encoding="utf-8").replace("namespace kvb {\n", STAMPS, 1)
    for stamp, before in PLACES:
        if text.count(before) != 1:
            sys.exit(f"not once in attend_decode.cuh: {before}")
        text = text.replace(before, f"{stamp}\n{before}")
    path.write_text(text, encoding="utf-8")


def report(lines):
    blocks, name = {}, None
    for line in lines:
        if line.startswith("time"):
            name = line.strip()
            blocks[name] = []
        elif line.startswith("block"):
            numbers = [int(x) for x in re.findall(r"-?\d+", line)][1:]  # stamps 0 to 10, 14, 15
            if numbers[10]:
                blocks[name].append(numbers)
    for name, rows in blocks.items():
        print(name)
        if not rows:
            continue
        spans = [[row[i + 1] - row[i] for row in rows] for i in range(8)]
        print("   ", "; ".join(f"{what} {statistics.median(x):.0f} ({max(x)})" for what, x in zip(NAMES, spans)))
        last = [row for row in rows if row[9] > row[8]]
        if last:
            print(f"    parts {statistics.median(r[9] - r[8] for r in last):.0f}; finish "
                  f"{statistics.median(r[10] - r[9] for r in last):.0f}; kernel "
                  f"{max(r[12] for r in rows) - min(r[11] for r in rows)} ns from the first block's beginning")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--read":
        report(open(sys.argv[2], encoding="utf-8"))
    elif len(sys.argv) == 2:
        copy(pathlib.Path(sys.argv[1]))
    else:
        sys.exit(__doc__)
