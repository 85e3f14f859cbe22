#!/usr/bin/env python3
"""Times kvb_cuda_attend beside the best of PyTorch's attention in bfloat16, interleaved in one process:

    torch_sdpa.py SHARED_OBJECT [--json FILE] [--rounds 50] [--shape NAME] [--pages ordered] [--layers]

SHARED_OBJECT is libkvbits-cuda-peer.so (cmake --build build-cuda --target kvbits-cuda-peer). Every round runs each
contender twice, each time after clean foreign lines have filled the L2, so that what disturbs one disturbs all; the
first run finds other kernels' instructions in the caches, the second its own. Reported are medians with quartiles of
both, by events. PyTorch's flash, cuDNN and efficient kernels are tried each (enable_gqa; what refuses
a shape is left out) on contiguous keys and values; ours read pages through a page table, in random order or one after
another (--pages ordered), which were encoded from the same rows by kvb_cuda_append. --layers: instead of single calls a
CUDA graph of one call for each of several layers, with keys and values of their own (four and more, together ten times
the L2), is replayed, and the time divided by their number; our calls then start early, by one token, as in a step of
decoding. The plan (once a step for all layers) is timed by itself. Each output is
compared with attention on the unquantized rows in float32, first sequence: an error as large as the format's is right.
"""
import argparse
import ctypes as c
import functools
import json

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right

from kvbits_cuda import CodecSpec, LayerSpec, Library, Pages, Queries, Rows

BF16, PAGE = 2, 64
LAYERS_BYTES = 512 << 20  # of one contender's keys and values with --layers, at least
SHAPES = {  # name: query heads, KV heads, head_dim, batch, tokens, of which so many are the queries'
    "32:8 x 128, 16, 32768": (32, 8, 128, 16, 32768, 1),
    "64:8 x 128, 16, 32768": (64, 8, 128, 16, 32768, 1),
    "16:8 x 256, 16, 32768": (16, 8, 256, 16, 32768, 1),
    "32:8 x 128, 1, 131072": (32, 8, 128, 1, 131072, 1),
    "32:8 x 128, 1, 32768": (32, 8, 128, 1, 32768, 1),
    "9:3 x 64, 16, 32768": (9, 3, 64, 16, 32768, 1),
    "prompt 32:8 x 128, 1, 32768, 2048 new": (32, 8, 128, 1, 32768, 2048),
    "prompt 32:8 x 128, 1, 32768, 256 new": (32, 8, 128, 1, 32768, 256),
    "prompt 32:8 x 128, 4, 8192, 2048 new": (32, 8, 128, 4, 8192, 2048),
    "prompt 64:8 x 128, 1, 32768, 2048 new": (64, 8, 128, 1, 32768, 2048),
    "prompt 16:8 x 256, 1, 32768, 2048 new": (16, 8, 256, 1, 32768, 2048),
    "prompt 9:3 x 64, 4, 32768, 2048 new": (9, 3, 64, 4, 32768, 2048),
}
PAIRS = [(8, 8), (6, 6), (5, 5), (6, 4), (4, 4), (3, 3), (2, 2)]


class Packed:
    """One layer in pages, and its queries."""

    def __init__(self, library, bits, shape, pages, q, k, v, least_bytes=0):
        heads, kv_heads, dim, batch, tokens, n_q = shape
        self.kvbits, self.layer, codecs = library, c.c_void_p(), []
        for b in bits:
            spec, codec = library.so.kvb_codec_spec_default(dim, b), c.c_void_p()
            library.must("kvb_codec_create", c.byref(spec), None, None, c.byref(codec))
            codecs.append(codec)
        spec = LayerSpec(0, codecs[0], codecs[1], kv_heads, heads)
        library.must("kvb_cuda_layer_create", c.byref(spec), None, c.byref(self.layer))
        self.page_bytes = library.so.kvb_cuda_layer_page_bytes(self.layer)
        per_sequence = (tokens + PAGE - 1) // PAGE
        self.bytes = batch * per_sequence * self.page_bytes
        self.n_layers = layers_of(self.bytes, least_bytes)
        self.pool = torch.empty(self.n_layers, self.bytes, dtype=torch.uint8, device="cuda")
        order = torch.randperm if pages == "random" else torch.arange
        self.table = order(batch * per_sequence, device="cuda").to(torch.int32)
        self.lengths = torch.zeros(batch, dtype=torch.int32, device="cuda")
        self.pages = Pages(self.pool.data_ptr(), self.table.data_ptr(), per_sequence, None, self.lengths.data_ptr(), batch)
        # Rows are [sequence][token][KV head][dim], k and v [sequence][KV head][token][dim].
        k_rows, v_rows = k.transpose(1, 2).contiguous(), v.transpose(1, 2).contiguous()
        begin = torch.arange(batch + 1, dtype=torch.int32, device="cuda") * tokens
        rows = Rows(k_rows.data_ptr(), v_rows.data_ptr(), BF16, begin.data_ptr(), tokens)
        stream = self.stream()
        library.must("kvb_cuda_append", self.layer, c.byref(self.pages), c.byref(rows), stream)
        library.must("kvb_cuda_advance", c.byref(self.pages), c.byref(rows), stream)
        self.out = torch.full((batch, n_q, heads, dim), float("nan"), dtype=torch.bfloat16, device="cuda")
        self.q = q.transpose(1, 2).contiguous()
        self.queries = Queries(self.q.data_ptr(), self.out.data_ptr(), None, BF16, BF16, None, n_q, dim ** -0.5, 0.0, 0, None, 0)
        self.scratch = torch.zeros(library.so.kvb_cuda_scratch_bytes(self.layer, batch, n_q), dtype=torch.uint8, device="cuda")
        self.plan()
        self.pool[1:] = self.pool[0]
        self.queries.starts_early = 1 if least_bytes else 0
        torch.cuda.synchronize()

    @staticmethod
    def stream():
        return c.c_void_p(torch.cuda.current_stream().cuda_stream)

    def call(self, name):
        self.kvbits.must(name, self.layer, c.byref(self.pages), c.byref(self.queries), c.c_void_p(self.scratch.data_ptr()),
                          c.c_size_t(self.scratch.numel()), self.stream())

    def plan(self):
        self.call("kvb_cuda_attend_plan")

    def attend(self, layer=0):
        self.pages.pool = self.pool[layer].data_ptr()
        self.call("kvb_cuda_attend")


def layers_of(layer_bytes, least_bytes):
    """So many have `least_bytes`, but four and more; 0: one."""
    return max(4, -(-least_bytes // layer_bytes)) if least_bytes else 1


def graph_of(run, n_layers):
    """run(i) of each layer, captured."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(n_layers):
            run(i)
    return graph


def torch_contenders(q, k, v):
    """Each backend that takes the shape, as a function. Prompts are causal from the end of the keys (causal_lower_right);
    a backend that refuses that with grouped heads gets keys and values of every query head, repeated beforehand."""
    found, n_q, tokens = {}, q.shape[2], k.shape[2]
    mask = causal_lower_right(n_q, tokens) if n_q > 1 else None
    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION),
                          ("efficient", SDPBackend.EFFICIENT_ATTENTION)):
        for grouped in (True, False) if n_q > 1 else (True,):
            keys, values = (k, v) if grouped else (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))

            def run(layer=0, backend=backend, keys=(keys,), values=(values,), grouped=grouped):
                with sdpa_kernel(backend):
                    return torch.nn.functional.scaled_dot_product_attention(q, keys[layer], values[layer], attn_mask=mask,
                                                                            enable_gqa=grouped)
            try:
                run()
                found[name] = run
                break
            except (RuntimeError, ValueError, TypeError):
                pass
    return found


def reference(q, k, v):
    """The first sequence's last queries, 16 at most, in float32: [query][head][dim]."""
    group, n = q.shape[1] // k.shape[1], min(q.shape[2], 16)
    keys, values = (x[0].float().repeat_interleave(group, 0) for x in (k, v))
    logits = (q[0, :, -n:].float() @ keys.transpose(1, 2)) * q.shape[-1] ** -0.5
    logits += torch.full((n, keys.shape[1]), float("-inf"), device="cuda").triu(keys.shape[1] - n + 1)
    return (torch.softmax(logits, -1) @ values).transpose(0, 1)


def measure(contenders, rounds, flush):
    times = {run: {name: [] for name in contenders} for run in ("first", "again")}
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for i in range(rounds + 3):
        for name, run in contenders.items():
            for of_run in times.values():
                flush.sum()  # reads: the lines that it leaves need not be written back
                begin.record()
                run()
                end.record()
                end.synchronize()
                if i >= 3:
                    of_run[name].append(begin.elapsed_time(end) * 1000)
    return {run: {name: [round(sorted(x)[len(x) * i // 4], 1) for i in (1, 2, 3)] for name, x in of_run.items()}
            for run, of_run in times.items()}


def measure_layers(graphs, rounds):
    """graphs: name: (number of layers, graph). Medians and quartiles of the time of one layer."""
    times = {name: [] for name in graphs}
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for i in range(rounds + 3):
        for name, (n_layers, graph) in graphs.items():
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            if i >= 3:
                times[name].append(begin.elapsed_time(end) * 1000 / n_layers)
    return {"layers": {name: [round(sorted(x)[len(x) * i // 4], 2) for i in (1, 2, 3)] for name, x in times.items()}}


def compare(library, name, shape, pages, rounds, flush, layers):
    heads, kv_heads, dim, batch, tokens, n_q = shape
    torch.manual_seed(1)
    q = torch.randn(batch, heads, n_q, dim, dtype=torch.bfloat16, device="cuda")
    k, v = (torch.randn(batch, kv_heads, tokens, dim, dtype=torch.bfloat16, device="cuda") for _ in "kv")
    contenders, packed = torch_contenders(q, k, v), {}
    for bits in PAIRS:
        packed[f"{bits[0]}/{bits[1]}"] = Packed(library, bits, shape, pages, q, k, v, LAYERS_BYTES if layers else 0)
    if layers:
        n_layers, graphs = layers_of(2 * k.numel() * 2, LAYERS_BYTES), {}
        keys, values = ([x] + [x.clone() for _ in range(n_layers - 1)] for x in (k, v))
        for key, run in contenders.items():
            graphs[key] = n_layers, graph_of(functools.partial(run, keys=keys, values=values), n_layers)
        for key, layer in packed.items():
            graphs[key] = layer.n_layers, graph_of(layer.attend, layer.n_layers)
        graphs["plan"] = 1, graph_of(lambda layer: packed["4/4"].plan(), 1)
        times = measure_layers(graphs, rounds)
    else:
        contenders.update({key: layer.attend for key, layer in packed.items()})
        contenders["plan"] = packed["4/4"].plan
        times = measure(contenders, rounds, flush)
    exact = reference(q, k, v)
    best = {run: min((x for x in ("flash", "cudnn", "efficient") if x in of), key=lambda x: of[x][1])
            for run, of in times.items()}
    for run, of in times.items():
        print(f"{name}: {run} {best[run]} {of[best[run]][1]} us, plan {of['plan'][1]} us", flush=True)
    result = {"shape": name, "best": best, "us": times, "bytes": {}, "error": {}}
    for key, layer in packed.items():
        error = ((layer.out[0, -exact.shape[0]:].float() - exact).norm() / exact.norm()).item()
        result["bytes"][key], result["error"][key] = layer.bytes, error
        for run, of in times.items():
            low, middle, high = of[key]
            print(f"  {key} {run}: {middle} us ({low}-{high}), {layer.bytes / middle / 1e3:.0f} GB/s, "
                  f"{of[best[run]][1] / middle:.2f}x, error {error:.3f}", flush=True)
        library.so.kvb_cuda_layer_destroy(layer.layer)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared_object")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--shape", help="a part of a shape's name")
    parser.add_argument("--pages", choices=["random", "ordered"], default="random")
    parser.add_argument("--layers", action="store_true", help="decode in a graph of several layers")
    arguments = parser.parse_args()
    library = Library(arguments.shared_object)
    flush = torch.ones(128 << 20, dtype=torch.float32, device="cuda")
    results = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda,
               "rounds": arguments.rounds, "pages": arguments.pages, "shapes": []}
    print(results["gpu"], "torch", results["torch"], "cuda", results["cuda"], flush=True)
    for name, shape in SHAPES.items():
        if (not arguments.shape or arguments.shape in name) and not (arguments.layers and shape[5] > 1):
            results["shapes"].append(compare(library, name, shape, arguments.pages, arguments.rounds, flush, arguments.layers))
            torch.cuda.empty_cache()
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
