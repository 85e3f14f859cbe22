"""Copies device code so that a C++ compiler takes it: launches, shared memory, and the functions that are PTX."""
import re

# What stands in place of a function's body, by file and name.
BODIES = {
    "addresses.cuh": {"shared_address": "return emu::address(p);", "prefetch_line": ""},
    "attend_copies.cuh": {
        "barrier_init": "emu::barrier_init(b, 1);",
        "barrier_expect": "emu::barrier_arrive(b, bytes);",
        "read_once_policy": "return 0;",
        "bulk_copy": "(void)policy; emu::bulk_copy(to, from, bytes, b);",
        "prefetch_bulk": "",
        "barrier_wait": "emu::barrier_wait(b, parity);",
        "meet": "emu::meet_threads(barrier, THREADS);",
        "multiply": "emu::Product p = {c, a, {b0, b1}}; emu::meet_lanes(~0u, &p, emu::multiply_warp);",
        "transpose": "emu::meet_lanes(~0u, &x, emu::transpose_warp); return x;",
    },
    "attend_streams.cuh": {
        "permute": "return emu::permute(a, b, selector);",
        "choose": "return emu::fma_halves(twos, gap, lower);",
    },
    "attend_exact.cuh": {"exp2_of": "return emu::exp2_of(x);"},
    "attend_general_codes.cuh": {
        "address_of": "return emu::address(shared_at<uint8_t>(offset));",
        "load_level": "return emu::at<float>(address);",
    },
    "attend_trellis.cuh": {"choose_bits": "return (a & mask) | (b & ~mask);"},
    "early_start.cuh": {"wait_for_work_before": "", "let_work_behind_start": ""},
    "encode_paths.cuh": {"load_shared": "return emu::at<float>(at);"},
    "encode_pairs.cuh": {
        "level_of": "return emu::at<uint32_t>(midpoint + (value > emu::at<float>(midpoint) "
        "? (uint32_t)offsetof(kvb_cuda_buckets, above) : (uint32_t)offsetof(kvb_cuda_buckets, below)));"
    },
    "encode_stage.cuh": {
        "copy_async": "emu::copy_later(to, from);",
        "close_copies": "emu::close_copies();",
        "wait_for_copies": "emu::wait_for_copies(PENDING);",
    },
    "encode_words.cuh": {"transposed": "emu::meet_lanes(~0u, &pairs, emu::transpose_warp); return pairs;"},
    "warpgroup.cuh": {
        "barrier_init_of": "emu::barrier_init(b, arrivals);",
        "barrier_arrive": "emu::barrier_arrive(b, 0);",
        "publish_to_tensor_cores": "",
        "meet_cluster": "emu::meet_cluster();",
        "load_from_block": "return emu::load_from_block(shared_address(p), block);",
        "take_registers": "",
        "give_registers": "",
        "products_begin": "",
        "products_end": "emu::products_end();",
        "products_wait": "emu::products_wait(PENDING);",
    },
}
PRODUCT = """template <int N> struct Product {
    static void run(float (&c)[N / 2], const uint32_t *a, uint64_t b, int adds) {
        emu::multiply(N, c, a, 0, b, adds);
    }
    static void run(float (&c)[N / 2], uint64_t a, uint64_t b, int adds) {
        emu::multiply(N, c, nullptr, a, b, adds);
    }
};
"""


def end_of(text, start, pair):
    """Behind the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == pair[0]) - (text[i] == pair[1])
        if depth == 0:
            return i + 1
    raise ValueError("a bracket stays open")


def replace_body(text, name, body):
    found = re.search(r"^[^\n/#]*__device__[^\n]*[ *]" + name + r"\(", text, re.M)
    if not found:
        raise ValueError(f"no function {name}")
    opened = text.index("{", end_of(text, found.end() - 1, "()"))
    return text[:opened] + "{ " + body + " }" + text[end_of(text, opened, "{}") :]


def replace_launches(text):
    while "<<<" in text:
        at = text.index("<<<")
        end = text.index(">>>", at)
        kernel = re.search(r"[\w:]+(<[\w, ]+>)?\s*$", text[:at])
        text = (
            text[: kernel.start()]
            + f"emu::Config({text[at + 3:end]})({kernel.group().strip()})"
            + text[end + 3 :]
        )
    return text


def translate(name, text):
    for function, body in BODIES.get(name, {}).items():
        text = replace_body(text, function, body)
    if name == "warpgroup.cuh":
        text = text.replace("KVB_HAS_WARPGROUPS 0", "KVB_HAS_WARPGROUPS 1")
        start, end = text.index("#define KVB_EIGHT"), text.index("#undef KVB_EIGHT")
        text = text[:start] + PRODUCT + text[end:]
    text = re.sub(r'asm volatile\("fence[^;]*;" ::: "memory"\);', "", text)
    text = re.sub(
        r"extern __shared__ (?:__align__\(\d+\) )?([\w ]+) (\w+)\[\];",
        r"static \1 *const &\2 = (\1 *const &)emu::shared_memory;",
        text,
    )
    text = re.sub(r"\b__shared__ ", "static ", text)
    text = replace_launches(text)
    if re.search(r"\basm\b", text):
        raise ValueError(f"{name}: PTX is left")
    return text


def copy(source, out):
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.suffix in (".cu", ".cuh"):
            text = translate(path.name, path.read_text(encoding="utf-8"))
            to = out / (path.stem + ".cpp" if path.suffix == ".cu" else path.name)
            if not to.exists() or to.read_text(encoding="utf-8") != text:
                to.write_text(text, encoding="utf-8")
