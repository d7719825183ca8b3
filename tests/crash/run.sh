#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh STORE_CRASH N - kills the store's writer, and brokers under load, N times in each mode, and a few times a broker with both of its clients; the runs
# with -l must find losses, or the checker is blind. SEED=… repeats a run. With RESULTS=file, appends a line "passed failed".
set -u
program=$1
n=$2
few=$((n < 4 ? n : 4))
here=$(dirname "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
seed=${SEED:-$(date +%s)}
store() {
    "$program" -s "$seed" "$@" "$dir/store" >>"$dir/store.log" 2>&1 && passed=$((passed + 1)) || { failed=$((failed + 1)); echo "FAILED: store_crash $*" >>"$dir/store.log"; }
    rm -rf "${dir:?}/store"*.undo "${dir:?}/store"
}
broker() {
    PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/broker_crash.py" -s "$seed" "$@" >>"$dir/broker.log" 2>&1 && passed=$((passed + 1)) ||
        { failed=$((failed + 1)); echo "FAILED: broker_crash $*" >>"$dir/broker.log"; }
}
exact() {
    PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/exact_crash.py" -s "$seed" "$@" >>"$dir/exact.log" 2>&1 && passed=$((passed + 1)) ||
        { failed=$((failed + 1)); echo "FAILED: exact_crash $*" >>"$dir/exact.log"; }
}
echo "crash: seed $seed, $n rounds of each kind"
# All mostly wait: side by side.
{
    passed=0 failed=0
    store -n "$n" -d strict
    store -n "$n" -d strict -p
    store -n "$n" -d relaxed
    store -n "$n" -d relaxed -p -l
    store -n "$n" -d off -l
    echo "$passed $failed" >"$dir/store.result"
} &
{
    passed=0 failed=0
    exact -n $((n < 8 ? n : 8))
    exact -n "$few" -l
    echo "$passed $failed" >"$dir/exact.result"
} &
passed=0 failed=0
broker -n "$n" -d strict
broker -n "$n" -d strict -p
broker -n "$few" -d relaxed -p -l
broker -n "$few" -d off -l
wait
cat "$dir/store.log" "$dir/broker.log" "$dir/exact.log"
for part in store exact; do
    read -r p f <"$dir/$part.result" || { p=0 f=1; }
    passed=$((passed + p)) failed=$((failed + f))
done
echo "crash: $passed runs passed, $failed failed"
[ -z "${RESULTS:-}" ] || echo "$passed $failed" >>"$RESULTS"
[ "$failed" = 0 ]
