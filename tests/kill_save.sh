#!/usr/bin/env bash
# Kills a process that saves a cache over and over, at random moments:  kill_save.sh [COUNT [KVB_CASE]]
# After each kill the file must be one of the two caches that were being saved, to the byte, and load; and whatever the
# killed process left must not stand in the way of the next save, nor outlive it.
set -euo pipefail
count=${1:-200}
tool=$(realpath "${2:-$(dirname "$0")/../build/tests/kvb_case}")
[ -x "$tool" ] || {
    echo "kill_save: $tool is not there; build the target kvb_case" >&2
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir saves
file=saves/cache.kvb
fail() {
    echo "kill_save: after kill $i: $*" >&2
    ls -l saves >&2
    exit 1
}

"$tool" write large 1 first.kvb
"$tool" write large 2 second.kvb
cp first.kvb "$file"
first=0 second=0 amid=0
for ((i = 1; i <= count; i++)); do
    exec 3< <(exec "$tool" loop "$file")
    pid=$!
    read -r word <&3 && [ "$word" = ready ] || fail "the process did not start"
    sleep "$(printf 0.%03d $((RANDOM % 300)))"
    kill -KILL "$pid"
    wait "$pid" 2>wait.log || true
    exec 3<&-
    if cmp -s "$file" first.kvb; then
        first=$((first + 1))
    elif cmp -s "$file" second.kvb; then
        second=$((second + 1))
    else
        fail "$file is neither of the two"
    fi
    "$tool" rows "$file" >rows || fail "$file cannot be loaded"
    [ "$(find saves -name '*.tmp' | wc -l)" -eq 0 ] || amid=$((amid + 1))
    if ((i % 2)); then
        "$tool" write large 1 "$file" || fail "the next save is refused"
        cmp -s "$file" first.kvb || fail "the next save went wrong"
        [ "$(find saves -type f | wc -l)" -eq 1 ] || fail "a temporary file outlives the next save"
    fi
done
echo "kill_save: $count kills, $amid of them amid a save; $first times the one cache was there, $second times the other"
[ "$amid" -gt 0 ] || {
    echo "kill_save: no kill hit a save: nothing was tested" >&2
    exit 1
}
