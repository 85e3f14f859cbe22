#!/usr/bin/env bash
# cmocka for AArch64 into build-sysroot-aarch64/, where cmake/aarch64.cmake looks for it. Debian has no cross package of
# it, and installing the one of arm64 would make the machine itself a mixed one. So apt-get fetches it, by package lists
# of its own that are thrown away, and checks it as ever; needs no root, and touches nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build-sysroot-aarch64
[ ! -e "$folder/usr/include/cmocka.h" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "kvbits: no apt-get here; please unpack what Debian's libcmocka-dev and libcmocka0 of arm64 hold in $folder" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
options=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)"
    -o Dir::State="$work" -o Dir::State::status=/dev/null -o Dir::Cache="$work" -o Acquire::Languages=none)
echo "kvbits: fetching cmocka for arm64 into $folder" >&2
# Sources that know no arm64 may fail here; what is missing then, the download will say.
apt-get "${options[@]}" update </dev/null >&2 || true
(cd "$work" && apt-get "${options[@]}" download libcmocka-dev libcmocka0 </dev/null >&2)
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
rm -rf "$folder"
mv "$work/root" "$folder"
chmod 755 "$folder"
