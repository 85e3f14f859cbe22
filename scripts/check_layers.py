#!/usr/bin/env python3
"""Data flows one way: src < eval < engine < bench < cli, and src < src/cuda. Checks who includes what, file lengths and stray paths of one machine.

    check_layers.py [ROOT]
"""
import pathlib
import re
import subprocess
import sys

MAX_LINES = 600
ISO_C = set("""assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype""".split())
# Processor intrinsics and feature queries come with the compiler and the C library.
PROCESSOR = {"immintrin.h", "emmintrin.h", "arm_neon.h", "cpuid.h", "sys/auxv.h"}
POSIX = re.compile(r"^(sys/\w+|unistd|fcntl|pthread|sched|dirent|getopt|argp|libgen|poll|spawn|termios|fnmatch|glob)\.h$")
PUBLIC = {"kvbits/kvbits.h", "kvbits/eval.h"}
INTERFACES = PUBLIC | {"kvbits/cuda.h", "kvbits/cuda_cache.h", "bench/bench.h", "engine/engine.h", "engine/evaluate.h", "engine/needle.h", "engine/record.h"}
LLAMA = {"llama.h", "ggml.h", "ggml-backend.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
MACHINE_PATH = re.compile(r"(?<![\w.}$)])/(?:home|root|work|farm|Users)/[\w.-]")

# Opening, syncing and renaming files is no part of ISO C; these do it for the library.
POSIX_FILES = {"src/file_read.c", "src/file_write.c"}
# The toolkit's headers, and those of C++ that device code is written with.
CUDA = {"cuda_runtime_api.h", "cuda_fp16.h", "cuda_bf16.h", "math_constants.h", "cstdint", "type_traits"}
C_SUFFIXES, CUDA_SUFFIXES = {".c", ".h", ".inc"}, {".cu", ".cuh"}

# layer: (public headers it may include, third-party headers it may include, POSIX allowed)
LAYERS = {
    "include": ({"kvbits/kvbits.h", "kvbits/cuda.h"}, set(), False),
    "src": ({"kvbits/kvbits.h"}, PROCESSOR, False),
    "src/cuda": ({"kvbits/kvbits.h", "kvbits/cuda.h", "kvbits/cuda_cache.h"}, CUDA, False),
    "eval": (PUBLIC, PROCESSOR | {"jansson.h", "sleef.h"}, True),
    "engine": (PUBLIC, {"jansson.h"} | LLAMA, True),
    "bench": (PUBLIC, PROCESSOR | {"jansson.h", "ggml.h", "ggml-cpu.h"}, True),
    "bench/cuda": (PUBLIC | {"kvbits/cuda.h"}, {"cuda_runtime_api.h", "cstddef", "cstdint"}, True),
    "cli": (INTERFACES, set(), True),
}


def files(root):
    listing = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"], check=True,
                             capture_output=True).stdout.decode()
    return sorted(pathlib.Path(name) for name in listing.split("\0") if name and (root / name).is_file())


def own(root, path, name):
    """The file in the includer's own layer that a quoted include finds, or None."""
    layer = root / path.parts[0]
    for folder in (root / path.parent, layer):
        found = (folder / name).resolve()
        if found.is_file() and layer.resolve() in found.parents:
            return found
    return None


def layer_of(path):
    """The key of LAYERS that stands for the file: its folders, or its first one."""
    return next((name for name in ("/".join(path.parts[:2]), path.parts[0]) if name in LAYERS), None)


def check_includes(root, path, text):
    public, third_party, posix = LAYERS[layer_of(path)]
    for quote, name in INCLUDE.findall(text):
        if name in INTERFACES:
            if name not in public:
                yield f"{path} includes {name}, which stands right of it"
        elif ".." in name:
            yield f"{path} includes {name}: climb no folders"
        elif quote == '"':
            if own(root, path, name) is None:
                yield f"{path} includes {name}, which is no header of {path.parts[0]}/ and none of the public ones"
        elif name not in third_party and not (name.endswith(".h") and name[:-2] in ISO_C) \
                and not ((posix or str(path) in POSIX_FILES) and POSIX.match(name)):
            yield f"{path} includes <{name}>, which {path.parts[0]}/ may not use"


def check_file(root, path):
    try:
        text = (root / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    if path.suffix in C_SUFFIXES | CUDA_SUFFIXES and layer_of(path):
        yield from check_includes(root, path, text)
    if path.suffix in C_SUFFIXES | CUDA_SUFFIXES | {".py", ".sh"}:
        lines = text.count("\n")
        if lines > MAX_LINES and "generated" not in text[:400].lower():
            yield f"{path} has {lines} lines, more than {MAX_LINES}"
    for match in MACHINE_PATH.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield f"{path}:{line} holds a path of one machine: {text[match.start():match.start() + 40].splitlines()[0]}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    paths = files(root)
    problems = [problem for path in paths for problem in check_file(root, path)]
    for problem in problems:
        print(problem, file=sys.stderr)
    layered = sum(layer_of(path) is not None for path in paths)
    print(f"layers: {layered} files in {len(LAYERS)} layers, {len(problems)} problems")
    return 1 if problems or not layered else 0


if __name__ == "__main__":
    sys.exit(main())
