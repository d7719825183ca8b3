#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# run-replay.sh MODE NAME - run fuzz target NAME, built without a fuzzer, on each file of its corpus.
# With RESULTS=file, appends a line "passed failed" (files).
set -u
mode=$1 name=$2
. "$(dirname "$0")/no-aslr.sh"
program=build/$mode/tests/fuzz/replay_$name log=build/$mode/tests/fuzz/replay_$name.log
total=0 bad=0
for file in tests/fuzz/corpus/"$name"/*; do
    [ -f "$file" ] || continue
    total=$((total + 1))
    if ! $(no_aslr "$mode") timeout 60 "$program" "$file" >"$log" 2>&1 </dev/null; then
        bad=$((bad + 1))
        echo "FAIL  $program $file"
        tail -n 40 "$log"
    fi
done
[ -z "${RESULTS:-}" ] || echo "$((total - bad)) $bad" >>"$RESULTS"
echo "corpus $name ($mode): $((total - bad)) passed, $bad failed"
[ "$bad" = 0 ]
