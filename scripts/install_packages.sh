#!/usr/bin/env bash
# Installs the Debian packages that are missing, naming them first:  install_packages.sh build | cross | develop
# Looks for what the packages bring, not for the packages, so that a machine that has it all from elsewhere is left
# alone: no package manager is started and no network is touched.
set -euo pipefail

case "${1-}" in
build | cross | develop) group=$1 ;;
*)
    echo "usage: $0 build|cross|develop" >&2
    exit 2
    ;;
esac

missing=()
need_command() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}
need_module() { # PKG-CONFIG-NAME PACKAGE
    pkg-config --exists "$1" 2>/dev/null || missing+=("$2")
}

need_command cmake cmake
need_command make make
need_command "${CC:-cc}" gcc
need_command pkg-config pkg-config
need_command gnuplot gnuplot-nox
need_command python3 python3
need_module sleef libsleef-dev
need_module jansson libjansson-dev
need_module cmocka libcmocka-dev
# gcc only recommends the C library's headers, and recommended packages are left out below.
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
if [ "$group" = cross ]; then
    need_command aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    [ -e /usr/aarch64-linux-gnu/include/stdio.h ] || missing+=(libc6-dev-arm64-cross)
    command -v qemu-aarch64-static >/dev/null 2>&1 || need_command qemu-aarch64 qemu-user
fi
if [ "$group" = develop ]; then
    need_command gcc gcc
    need_command clang clang
    need_command clang-format clang-format
    need_command clang-tidy clang-tidy
    need_command ninja ninja-build
    need_command git git
    need_command objdump binutils
    compgen -G '/usr/lib/*/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null ||
        compgen -G '/usr/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null || missing+=(libclang-rt-dev)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
line="apt-get install -y --no-install-recommends ${missing[*]}"
echo "kvbits: missing packages: ${missing[*]}" >&2
if ! command -v apt-get >/dev/null 2>&1; then
    echo "kvbits: no apt-get here; please install what these Debian packages hold: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=(env DEBIAN_FRONTEND=noninteractive)
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
else
    echo "kvbits: this needs root; please run:  sudo $line" >&2
    exit 1
fi
echo "kvbits: $line" >&2
# Fresh containers come without package lists, old machines with stale ones: either way an update mends it.
# shellcheck disable=SC2086
if ! "${as_root[@]}" $line </dev/null >&2; then
    "${as_root[@]}" apt-get update </dev/null >&2
    "${as_root[@]}" $line </dev/null >&2
fi
