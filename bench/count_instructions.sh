#!/usr/bin/env bash
# Instructions of decode attention per token and KV head, by valgrind's callgrind, of 1024 tokens:
#   count_instructions.sh BUILD BACKEND SHAPE BITS PRECISION
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
valgrind --tool=callgrind --toggle-collect=kvb_attend --callgrind-out-file="$folder/counts" "$1/kvbits" bench --only attend \
    --backend "$2" --shapes "$3" --bits "$4" --precision "$5" --kv-len 1024 --warm --threads 1 --memory 2 --seconds 0.0005 \
    --rounds 3 --no-peers --quiet --json "$folder/rows" 2>"$folder/log"
case $3 in C) heads=3 ;; *) heads=8 ;; esac
awk -v units=$((1024 * heads)) -v name="$3, $4 bits, $2, $5" '
    /^(summary|totals):/ { total = $2 }
    /^cfn=.*kvb_attend$/ { called = 1; next }
    called && /^calls=/ { split($1, part, "="); calls += part[2]; called = 0 }
    END { if (!calls) exit 1; printf "%-28s %6.0f instructions\n", name, total / calls / units }' "$folder/counts"
