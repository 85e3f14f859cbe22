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
}

machine() { # ARCHIVE
    readelf -h "$1" | sed -nE '/Machine:/ {s/.* //; p; q}'
}
# Instructions that round a product and its sum once, as "OBJECT FUNCTION".
fused() { # ARCHIVE
    local objdump=objdump
    [ "$(machine "$1")" != AArch64 ] || objdump=aarch64-linux-gnu-objdump
    "$objdump" -d "$1" | awk '/file format/ {object = $1; sub(/:$/, "", object)} />:$/ {name = $2}
        /\t(vfn?m(add|sub)|fn?m(add|sub)|fml[as])/ {print object, name}'
}
# They would make the bits depend on the instruction set, so that only attention, which is held to a bound, has them.
attention='[a-z0-9]+_((packed_)?floats|keys|values|prefill[a-z_]*)\.c\.o'
has_none_fused() { # ARCHIVE EXCEPT
    complain "$1 contains fused multiply-adds" "$(fused "$build/$1" | grep -vE "^$2 " | sort | uniq -c)"
}

libc='libc\.so\.6|libm\.so\.6|ld-linux[-a-z0-9_]*\.so\.[0-9]'
library libkvbits kvbits.h "$libc" src
has_none_fused src/libkvbits.a "$attention"
# A pattern that finds none anywhere would find none in encoding either.
case $(machine "$build/src/libkvbits.a") in
X86-64 | AArch64)
    [ -n "$(fused "$build/src/libkvbits.a")" ] || complain "libkvbits.a contains no fused multiply-add at all" "?"
    ;;
esac
if [ -e "$build/eval/libkvbits-eval.a" ]; then
    library libkvbits-eval eval.h "$libc|libkvbits\.so\.[0-9.]+|libjansson\.so\.4|libsleef\.so\.3" eval
    has_none_fused eval/libkvbits-eval.a none
fi
# What nvcc makes of kernels in the namespace kvb has C++ names, and its own registration has its prefixes.
if [ -e "$build/src/cuda/libkvbits-cuda.a" ]; then
    complain "libkvbits-cuda.a defines global names without kvb_" \
        "$(nm -g --defined-only "$build/src/cuda/libkvbits-cuda.a" 2>/dev/null | awk 'NF == 3 {print $3}' |
            grep -vE '^(kvb_|_Z[A-Z]*[0-9A-Za-z_]*3kvb|__(cuda|fat|nv)|DW\.ref\.)' || true)"
fi
[ "$failures" -eq 0 ] && echo "symbols: the libraries export exactly what their headers declare"
