#!/usr/bin/env bash
# What the built libraries export, import and need:  check_symbols.sh BUILD
set -euo pipefail
build=${1:?usage: $0 BUILD}
root=$(cd "$(dirname "$0")/.." && pwd)
failures=0
complain() { # TITLE LINES
    [ -z "$2" ] && return
    printf '%s:\n%s\n' "$1" "$2" >&2
    failures=$((failures + 1))
}

library() { # LIBRARY HEADER NEEDED-PATTERN FOLDER
    local shared=$build/$4/$1.so static=$build/$4/$1.a exported declared
    exported=$(nm -D --defined-only "$shared" | awk '{print $NF}')
    complain "$1.so exports names without kvb_" "$(grep -v '^kvb_' <<<"$exported" || true)"
    complain "$1.a defines global names without kvb_" \
        "$(nm -g --defined-only "$static" 2>/dev/null | awk 'NF == 3 {print $3}' | grep -v '^kvb_' || true)"
    declared=$(grep -v '^#' "$root/include/kvbits/$2" | tr '\n' ' ' | grep -oE 'KVB_API [^;(]*\(' |
        sed -E 's/.*[ *](kvb_[a-z0-9_]+)\($/\1/' | sort -u)
    exported=$(sort -u <<<"$exported")
    complain "$1.so lacks what $2 declares" "$(comm -23 <(echo "$declared") <(echo "$exported"))"
    complain "$1.so exports what $2 does not declare" "$(comm -13 <(echo "$declared") <(echo "$exported"))"
    complain "$1.so needs more than $3" \
        "$(readelf -d "$shared" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' | grep -vE "^($3)$" || true)"
    complain "$1.so prints, ends the process or starts threads" \
        "$(nm -D --undefined-only "$shared" | awk '{print $NF}' |
            grep -E '^(abort|exit|printf|__printf_chk|puts|putchar|perror|stdout|stderr|__assert_fail|pthread_create)(@|$)' || true)"
    # One rounding for a product and its sum would make the bits depend on the instruction set.
    complain "$1.a contains fused multiply-adds" \
        "$(objdump -d "$static" | awk '/>:$/ {name = $2} $0 ~ /\t(vfn?m(add|sub)|fn?m(add|sub)|fml[as])/ {print name}' | sort | uniq -c)"
}

libc='libc\.so\.6|libm\.so\.6|ld-linux[-a-z0-9_]*\.so\.[0-9]'
library libkvbits kvbits.h "$libc" src
library libkvbits-eval eval.h "$libc|libkvbits\.so\.[0-9.]+|libjansson\.so\.4|libsleef\.so\.3" eval
[ "$failures" -eq 0 ] && echo "symbols: both libraries export exactly what their headers declare"
