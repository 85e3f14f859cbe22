#!/usr/bin/env bash
# The tests of parity on the backend neon, built for AArch64 and run under qemu, for machines that are none: ctest's
# parity_neon.  parity_neon.sh BUILD
# Without the tools it is skipped (77, which ctest shows as such), unless KVB_REQUIRE names neon: then it fails.
set -euo pipefail
build=${1:?usage: $0 BUILD}
cd "$(dirname "$0")/../.."

missing=()
command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(aarch64-linux-gnu-gcc)
command -v qemu-aarch64 >/dev/null || command -v qemu-aarch64-static >/dev/null || missing+=(qemu-aarch64)
[ -e build-sysroot-aarch64/usr/include/cmocka.h ] || missing+=("cmocka for AArch64")
if [ ${#missing[@]} -gt 0 ]; then
    echo "neon is not tested: no $(printf '%s, ' "${missing[@]}" | sed 's/, $//'); make packages-cross installs them"
    case ",${KVB_REQUIRE-}," in
    *,neon,*) exit 1 ;;
    esac
    exit 77
fi

export KVB_REQUIRE=neon
cmake --preset neon -B "$build"
MAKEFLAGS='' cmake --build "$build" --parallel 2
scripts/check_symbols.sh "$build"
ctest --test-dir "$build" -L parity --no-tests=error --output-on-failure --timeout 600 --parallel 2
