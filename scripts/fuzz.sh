#!/usr/bin/env bash
# Builds the libFuzzer executables (clang, address and undefined-behavior sanitizers) and runs each for SECONDS:
#     fuzz.sh [SECONDS] [NAME...]
# Finds go to build-fuzz/finds/; new inputs stay in build-fuzz/corpus/, so that a later run goes on from them.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
shift || true

CC=clang cmake -S . -B build-fuzz -DCMAKE_BUILD_TYPE=Debug -DKVB_CUDA=OFF -DKVB_FUZZ=ON -DKVB_SANITIZE=address,undefined >/dev/null
cmake --build build-fuzz --target fuzzers --parallel "$(nproc)"

shopt -s nullglob
targets=(build-fuzz/fuzz/fuzz_*)
[ $# -eq 0 ] || targets=("${@/#/build-fuzz/fuzz/fuzz_}")
[ ${#targets[@]} -gt 0 ] || {
    echo "fuzz: there are no targets tests/fuzz/fuzz_*.c" >&2
    exit 1
}
mkdir -p build-fuzz/finds
failures=0
for target in "${targets[@]}"; do
    name=${target##*/fuzz_}
    mkdir -p "build-fuzz/corpus/$name"
    options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1
        -artifact_prefix="build-fuzz/finds/$name-")
    [ ! -e "tests/fuzz/$name.dict" ] || options+=(-dict="tests/fuzz/$name.dict")
    echo "fuzz: $name for $seconds s"
    if "$target" "${options[@]}" "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"build-fuzz/$name.log" 2>&1; then
        grep -E 'number_of_executed_units|new_units_added' "build-fuzz/$name.log"
    else
        tail -40 "build-fuzz/$name.log"
        failures=$((failures + 1))
    fi
done
echo "fuzz: ${#targets[@]} targets, $failures with finds"
[ "$failures" -eq 0 ]
