#!/usr/bin/env bash
# Records the raw files of docs/benchmarks/ on this machine, each run under three minutes on one that does nothing else:
#   record.sh BUILD NAME [PART...]     BUILD/kvbits; bench/results/PART-NAME.json and .txt; all parts when none is named
#   RUN="nice -n -5" record.sh ...     puts something before each run
# Compilers: record.sh BUILD-GCC gcc-NAME compare, the same with clang, then bench/compare_runs.py.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 name=$2
shift 2
parts=("$@") # trellis is made when it is named
[ ${#parts[@]} -gt 0 ] || parts=(decode-a decode-b decode-c prefill rows goals accuracy)
read -ra run <<<"${RUN:-}"

measure() { # PART OPTION...
    local file=bench/results/$1-$name.json
    shift
    "${run[@]}" "$build/kvbits" bench --json "$file" --quiet "$@"
}

all=2,3,4,5,6,7,8,16,6/4,8/4
short=(--seconds 0.05 --rounds 7)
for part in "${parts[@]}"; do
    echo "$part"
    case $part in
    decode-[abc]) # four lengths, all threads
        shape=${part#decode-}
        measure "$part" "${short[@]}" --only attend --shapes "${shape^^}" --bits $all ;;
    prefill) measure prefill "${short[@]}" --only prefill --shapes A,B --bits 4,8,16 --prefill 256,2048 ;;
    rows) measure rows "${short[@]}" --only fwht,encode,decode,append --bits 1,2,3,4,5,6,7,8 ;;
    goals) # ends with 1 when a goal is missed
        code=0
        "${run[@]}" "$build/kvbits" bench --goals bench/goals.json --goals-only --json "bench/results/goals-$name.json" --quiet \
            >"bench/results/goals-$name.txt" || code=$?
        [ $code -le 1 ] ;;
    compare) measure compare "${short[@]}" --shapes A,B --kv-len 8192 --threads 1 --no-peers --bits 4,6,8,16 --prefill 256,2048 ;;
    trellis) # scalar codes and trellis codes in turn, five times; bench/trellis_ratio.py compares
        for states in 0 16; do : >"bench/results/trellis-$states-$name.json"; done
        for _ in 1 2 3 4 5; do
            for states in 0 16; do
                "${run[@]}" "$build/kvbits" bench "${short[@]}" --only attend,encode --shapes A,B,C --kv-len 8192 --bits 2,3,4,5,6 \
                    --threads 1 --no-peers --memory 300 --trellis $states --json - >>"bench/results/trellis-$states-$name.json"
            done
        done
        bench/trellis_ratio.py "bench/results/trellis-0-$name.json" "bench/results/trellis-16-$name.json" >"bench/results/trellis-$name.txt" ;;
    accuracy) "${run[@]}" "$build/bench/bench-accuracy" >"bench/results/accuracy-$name.json" ;;
    *)
        echo "record.sh: '$part' is no part" >&2
        exit 2
        ;;
    esac
done
