#!/usr/bin/env bash
# The static checks, all of them even when one fails:  check.sh
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failures=0
check() { # NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    if "$@"; then
        echo "ok    $name ($((SECONDS - start)) s)"
    else
        echo "FAIL  $name ($((SECONDS - start)) s)"
        failures=$((failures + 1))
    fi
}

format() {
    git ls-files -co --exclude-standard '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror
}
# With the compilation database of a clang build: clang-tidy reads no gcc options. status.c defines what analyzer.h
# replaces; the peers' and llama.cpp's files need their headers, those of src/cuda and bench/cuda the CUDA toolkit's.
tidy() {
    CC=clang cmake --preset dev -B build-tidy >/dev/null &&
        git ls-files -co --exclude-standard 'src/*.c' 'eval/*.c' 'engine/*.c' 'bench/*.c' 'cli/*.c' ':!src/status.c' \
            ':!src/cuda/*' ':!bench/cuda/*' ':!bench/peers/ggml*.c' ':!engine/llama/*.c' |
        xargs -P "$(nproc)" -n 4 clang-tidy -p build-tidy --quiet --warnings-as-errors='*' \
            --extra-arg=-D_GNU_SOURCE --extra-arg=-include --extra-arg="$PWD/scripts/analyzer.h" \
            2> >(grep -v -e 'warnings generated' -e 'warnings treated as errors' >&2)
}
symbols() {
    cmake --preset release >/dev/null && MAKEFLAGS='' cmake --build build --parallel "$(nproc)" >/dev/null &&
        scripts/check_symbols.sh build
}

check "clang-format" format
check "layers and sizes" python3 -B scripts/check_layers.py
check "symbols" symbols
check "clang-tidy" tidy
[ "$failures" -eq 0 ]
