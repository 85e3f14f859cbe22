#!/usr/bin/env python3
"""Builds the tests of tests/cuda with device code compiled for the CPU (README.md).

build.py CPU_BUILD OUT [--instances "4_4_128_128 8_4_256_256 T2_T2_128_128 ..."] [--flags "-fsanitize=..."]

CPU_BUILD is a build folder without CUDA, with the targets kvbits and kvb-oracle (cmake --preset release; cmake --build build
--target kvbits kvb-oracle). OUT gets the translated sources, a ninja file and the tests. Instances: those lines of
attend_instances.def that the cases to be run need; without them every layer is the general kernel's."""
import argparse
import pathlib
import subprocess

import translate

ROOT = pathlib.Path(__file__).resolve().parents[3]
HERE = pathlib.Path(__file__).resolve().parent


def write(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path


def ninja_file(cpu_build, out, instances, flags):
    translated, cut = out / "translated", out / "cut"
    includes = f"-I{translated} -I{ROOT}/src/cuda -I{ROOT}/src -I{ROOT}/include"
    cuda = "-isystem /usr/local/cuda/include"
    lines = [
        "ninja_required_version = 1.5",
        f"cxxflags = -std=c++17 -O1 -g1 -ffp-contract=off -fno-strict-aliasing -fpermissive -w -D_Static_assert=static_assert "
        f"-DKVB_CUDA_WARPGROUPS=1 {includes} -I{HERE} {cuda} {flags}",
        f"cflags = -std=c11 -O1 -g1 -ffp-contract=off -I{cut} {includes} -I{ROOT}/tests -I{ROOT}/tests/cuda {cuda} {flags}",
        "rule cxx\n command = g++ $cxxflags $extra -MMD -MF $out.d -c $in -o $out\n depfile = $out.d\n deps = gcc",
        "rule cc\n command = gcc $cflags -MMD -MF $out.d -c $in -o $out\n depfile = $out.d\n deps = gcc",
        f"rule link\n command = g++ $in {flags} -o $out -Wl,--start-group {cpu_build}/src/libkvbits.a "
        f"{cpu_build}/tests/libkvb-oracle.a -Wl,--end-group -lcmocka -lm -lpthread",
    ]
    objects = []

    def add(rule, source, name, extra=""):
        target = out / f"{name}.o"
        lines.append(f"build {target}: {rule} {source}" + (f"\n extra = {extra}" if extra else ""))
        return target

    # Templates of equal names hold a file's own `__shared__` variables: each file has a namespace of its own.
    for source in sorted(translated.glob("*.cpp")):
        objects.append(add("cxx", source, f"d_{source.stem}", f"-include emulate.h -Dkvb=kvb_in_{source.stem}"))
    for name in instances:
        text = f'#include "attend_instance.cuh"\nKVB_INSTANCE({", ".join(name.split("_"))})\n'
        source = write(cut / f"attend_{name}.cpp", text)
        objects.append(add("cxx", source, f"i_{name}", f"-include emulate.h -Dkvb=kvb_in_{name}"))
    for name in ("emulate", "runtime"):
        objects.append(add("cxx", HERE / f"{name}.cpp", name, "-O2"))
    for source in sorted((ROOT / "src/cuda").glob("*.c")):
        is_table = source.name == "attend_table.c"  # beside the cut list, which its quotes then find
        objects.append(add("cc", write(cut / source.name, source.read_text("utf-8")) if is_table else source, f"c_{source.stem}"))
    for source in sorted((ROOT / "tests/cuda").glob("test_*.c")):
        target = add("cc", source, source.stem)
        lines.append(f"build {out / source.stem}: link {target} {' '.join(map(str, objects))}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cpu_build", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--instances", default="")
    parser.add_argument("--flags", default="")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    (out / "cut").mkdir(parents=True, exist_ok=True)
    translate.copy(ROOT / "src/cuda", out / "translated")
    instances = arguments.instances.split()
    table = "".join(f"KVB_ATTEND({', '.join(name.split('_'))})\n" for name in instances)
    write(out / "cut/attend_instances.def", table)
    write(out / "build.ninja", ninja_file(arguments.cpu_build.resolve(), out, instances, arguments.flags))
    subprocess.run(["ninja", "-C", out], check=True)


if __name__ == "__main__":
    main()
