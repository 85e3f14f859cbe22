#!/bin/sh
# Makes the .txt files of this folder again:  run.sh [KVBITS [PART...]]
# KVBITS is the command, build/kvbits unless given; the parts are codebooks, ab and agreement, all unless given. Each
# file says which command printed it. The whole takes some minutes on two cores.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
kvbits=$(realpath "${1:-$root/build/kvbits}")
[ $# -eq 0 ] || shift
cd "$root"
out=docs/results
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# tables OPTION...: the figures of the tables, without the tables.
tables() {
    echo "kvbits codebook $*"
    "$kvbits" codebook "$@" | grep -E 'bits?:|MSE'
}

# outermost OPTION...: the largest centroid.
outermost() {
    printf 'kvbits codebook %s: outermost centroid' "$*"
    "$kvbits" codebook "$@" | awk 'NF {last = $NF} END {print " " last}'
}

check() {
    echo "kvbits codebook $*"
    "$kvbits" codebook "$@" || echo "exit code $?"
}

codebooks() {
    tables --codebook library
    tables --codebook optimum
    tables --codebook lloyd
    tables --codebook lloyd --cdf as26.2.17 --bits 4,5,6
    tables --codebook lloyd --bits 8 --stop 1e-4
    tables --codebook beta --dim 64 --bits 4,6,8
    tables --codebook beta --dim 128 --bits 4,6,8
    tables --codebook beta --dim 256 --bits 4,6,8
    outermost --codebook optimum --bits 6
    outermost --codebook lloyd --cdf as26.2.17 --bits 6
    outermost --codebook optimum --bits 8
    outermost --codebook lloyd --cdf as26.2.17 --bits 8
    outermost --codebook beta --dim 128 --bits 6
    check --check tests/data/unconverged_8bit.json --factor 0.0625
    check --check tests/golden/bitwidth_ab.json
    check --check tests/golden/bitwidth_ab.json --tolerance 1e-3
    "$kvbits" codebook --codebook library --bits 8 --format json > "$scratch/library.json"
    echo "kvbits codebook --codebook library --bits 8 --format json > library.json"
    cd "$scratch"
    check --check library.json
    cd "$OLDPWD"
}

# ab NAME OPTION...: runs the A/B, keeps the figures that documents quote. A failed check (exit code 1) shows in them.
ab() {
    name=$1
    shift
    echo "kvbits ab${*:+ $*}" > "$out/$name.txt"
    "$kvbits" ab "$@" --quiet --no-report --out "$scratch/$name" || [ $? -eq 1 ]
    python3 -B $out/summarize.py "$scratch/$name/result.json" >> "$out/$name.txt"
}

ab_runs() {
    ab default
    ab pairs --pairs 7/5,6/4,6/6 --thresholds 0.1,0.15
    ab flat --softmax flat --bits 2,3,4,5,6
    ab law --bits 6,7,8 --codebook library
    ab lsq --scale-kind lsq --redraws 8
    ab redraws --redraws 8
    ab outliers-none --generator outliers --baselines
    ab outliers-signed --generator outliers --rotation signed
    ab student-none --generator student-t
    ab student-signed --generator student-t --rotation signed
    ab sink --generator sink
    ab low-rank --generator low-rank
    ab seed-1 --seed 1
    ab trials-400 --bits 6 --trials 400 --kv-lens 1024
    ab other-shape --heads 32 --kv-heads 8 --head-dim 128 --kv-lens 4096 --trials 10
    ab window --kv-lens 1024 --window 128
    ab trace --trace tests/data/smollm2_trace.safetensors
    ab trace-none --trace tests/data/smollm2_trace.safetensors --rotation none
    for rotation in none signed; do
        for mean in 0 64 192; do
            ab center-$rotation-$mean --trace tests/data/smollm2_trace.safetensors --rotation $rotation \
                --bits 2,3,4,5,6 --queries-from 192 --k-mean $mean
        done
    done
    {
        echo "docs/results/law.py docs/results/law.txt docs/results/flat.txt"
        python3 -B $out/law.py $out/law.txt $out/flat.txt
    } > $out/law-compared.txt
}

# agree NAME ROUND_TRIP ATTENTION: compares that run with the golden file.
agree() {
    echo "tests/compare_cells.py $1/result.json tests/golden/bitwidth_ab.json --round-trip $2 --attention $3 --verdict"
    python3 -B tests/compare_cells.py "$scratch/$1/result.json" tests/golden/bitwidth_ab.json \
        --round-trip "$2" --attention "$3" --verdict
    echo
}

# run NAME OPTION...: a run in $scratch/NAME.
run() {
    name=$1
    shift
    echo "kvbits ab${*:+ $*} --out $name"
    "$kvbits" ab "$@" --quiet --no-report --out "$scratch/$name"
}

agreement() {
    run index-order --codebook tests/golden/bitwidth_ab.json --sums index-order
    agree index-order 5e-8 5e-8
    run golden-codebooks --codebook tests/golden/bitwidth_ab.json
    agree golden-codebooks 1e-6 5e-5
    run default
    agree default 2e-5 1e-3
}

# same REFERENCE NAME OPTION...: is the file the same?
same() {
    reference=$1
    shift
    run "$@"
    if cmp -s "$scratch/$reference/result.json" "$scratch/$1/result.json"; then
        echo "$1/result.json and $reference/result.json: the same bytes"
    else
        echo "$1/result.json and $reference/result.json differ"
    fi
}

same_bytes() {
    run two --threads 2
    same two one --threads 1
    same two seven --threads 7
    same two all-values --no-skip
    run flat --softmax flat
    same flat flat-all-values --softmax flat --no-skip
}

[ $# -gt 0 ] || set -- all
for part; do
    case $part in all | codebooks) codebooks > $out/codebooks.txt ;; esac
    case $part in all | ab) ab_runs ;; esac
    case $part in all | agreement) agreement > $out/agreement.txt && same_bytes > $out/same-bytes.txt ;; esac
    case $part in all | codebooks | ab | agreement) ;; *) echo "$part is none of codebooks, ab, agreement" >&2; exit 2 ;; esac
done
