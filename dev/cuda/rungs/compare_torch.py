#!/usr/bin/env python3
"""Decode attention on packed pages beside PyTorch's in bfloat, interleaved in one process.

    python3 compare_torch.py libladder.so [--json FILE]

Every launch is timed by events after the L2 was filled with foreign lines; medians and quartiles of 50. The best of PyTorch's
flash, cuDNN and efficient backends counts (scaled_dot_product_attention, enable_gqa). Pages lie in random order.
"""
import argparse
import ctypes
import json
import statistics
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

SHAPES = [  # query heads, KV heads, head_dim, batch, kv_len
    (32, 8, 128, 16, 32768), (64, 8, 128, 16, 32768), (16, 8, 256, 16, 32768), (32, 8, 128, 1, 131072), (32, 8, 128, 1, 32768),
    (9, 3, 64, 16, 32768)]
PAIRS = [(8, 8), (6, 6), (5, 5), (6, 4), (4, 4), (3, 3), (2, 2)]
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}
ROUNDS = 50


def torch_runs(shape):
    heads, kv_heads, dim, batch, kv_len = shape
    q = torch.randn(batch, heads, 1, dim, device="cuda", dtype=torch.bfloat16)
    k = torch.randn(batch, kv_heads, kv_len, dim, device="cuda", dtype=torch.bfloat16)
    v = torch.randn_like(k)
    runs = {}
    for name, backend in BACKENDS.items():
        def run(backend=backend):
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, enable_gqa=True)
        try:
            run()
            torch.cuda.synchronize()
            runs["torch " + name] = run
        except RuntimeError as error:
            print(f"  {name} refuses: {str(error).splitlines()[0][:80]}", file=sys.stderr)
    return runs


def our_runs(library, shape):
    heads, kv_heads, dim, batch, kv_len = shape
    runs, handles = {}, []
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    for k, v in PAIRS:
        handle = library.ladder_open(k, v, dim, heads, kv_heads, batch, kv_len)
        if handle:
            handles.append(handle)
            runs[f"{k}/{v}"] = lambda handle=ctypes.c_void_p(handle): library.ladder_run(handle, stream)
    return runs, handles


def measure(runs, foreign):
    times = {name: [] for name in runs}
    for i in range(ROUNDS + 3):
        for name, run in runs.items():
            foreign.sum()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            run()
            end.record()
            end.synchronize()
            if i >= 3:
                times[name].append(begin.elapsed_time(end) * 1000)
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shared_object")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    library = ctypes.CDLL(arguments.shared_object)
    library.ladder_open.restype = ctypes.c_void_p
    library.ladder_close.argtypes = [ctypes.c_void_p]
    foreign = torch.ones(64 << 20, device="cuda", dtype=torch.float32)
    results = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": []}
    for shape in SHAPES:
        ours, handles = our_runs(library, shape)
        times = measure({**torch_runs(shape), **ours}, foreign)
        best = min(statistics.median(t) for name, t in times.items() if name.startswith("torch"))
        print("{}:{} x {}, batch {}, kv_len {}".format(*shape))
        for name, t in times.items():
            low, median, high = statistics.quantiles(t, n=4)
            results["rows"].append({"shape": shape, "what": name, "us": median, "quartiles": [low, high], "ratio": best / median})
            print(f"  {name:16} {median:8.1f} us ({low:.1f}-{high:.1f})  {best / median:.2f}x")
        for handle in handles:
            library.ladder_close(handle)
        torch.cuda.empty_cache()
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
