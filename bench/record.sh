#!/usr/bin/env bash
# Records the raw files of docs/benchmarks/ on this machine, each run under three minutes on one that does nothing else:
#   record.sh BUILD NAME [PART...]     BUILD/kvbits; bench/results/PART-NAME.json and .txt; all parts when none is named
#   RUN="nice -n -5" record.sh ...     puts something before each run
#   TURNS=12 record.sh ...             of trellis and halves, in place of five: on a machine that others share
# Compilers: record.sh BUILD-GCC gcc-NAME compare, the same with clang, then bench/compare_runs.py.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 name=$2
shift 2
parts=("$@") # trellis and halves are made when they are named
[ ${#parts[@]} -gt 0 ] || parts=(decode-a decode-b decode-c prefill rows goals accuracy)
read -ra run <<<"${RUN:-}"

measure() { # PART OPTION...
    local file=bench/results/$1-$name.json
    shift
    "${run[@]}" "$build/kvbits" bench --json "$file" --quiet "$@"
}

all=2,3,4,5,6,7,8,16,6/4,8/4
short=(--seconds 0.05 --rounds 7)

in_turn() { # PART COMPARE OPTION...: scalar codes and trellis codes in turn; bench/COMPARE.py compares
    local part=$1 compare=$2 states of=()
    shift 2
    for states in 0 16; do
        of+=("bench/results/$part-$states-$name.json")
        : >"${of[-1]}"
    done
    for _ in $(seq "${TURNS:-5}"); do
        for states in 0 16; do
            "${run[@]}" "$build/kvbits" bench "${short[@]}" "$@" --kv-len 8192 --threads 1 --no-peers --memory 300 --trellis "$states" \
                --json - >>"bench/results/$part-$states-$name.json"
        done
    done
    "bench/$compare.py" "${of[@]}" >"bench/results/$part-$name.txt"
}

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
    trellis) in_turn trellis trellis_ratio --only attend,encode --shapes A,B,C --bits 2,3,4,5,6 ;;
    halves) in_turn halves half_ratio --only attend --shapes A,B --bits 3,3.5,4,4.5,5,6/4,6/4.5,6/5 ;; # and the widths around them
    accuracy) "${run[@]}" "$build/bench/bench-accuracy" >"bench/results/accuracy-$name.json" ;;
    *)
        echo "record.sh: '$part' is no part" >&2
        exit 2
        ;;
    esac
done
