#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# run-fuzz.sh SECONDS NAME... - run build/fuzz/fuzz_NAME that long each, as many at a time as there are processors. What it finds new is kept
# in build/fuzz/corpus; what fails lies in build/fuzz/NAME-*, and belongs into tests/fuzz/corpus/NAME once it is mended.
# With RESULTS=file, appends a line "passed failed" per target.
set -u
one() { # SECONDS NAME
    mkdir -p "build/fuzz/corpus/$2"
    dict=tests/fuzz/$2.dict
    [ -f "$dict" ] && dict=-dict=$dict || dict=
    # shellcheck disable=SC2086
    if build/fuzz/fuzz_"$2" -max_total_time="$1" -timeout=20 -print_final_stats=1 $dict -artifact_prefix="build/fuzz/$2-" \
        "build/fuzz/corpus/$2" "tests/fuzz/corpus/$2" >"build/fuzz/$2.log" 2>&1 </dev/null; then
        echo "fuzz $2: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$2.log") inputs in $1 s"
        [ -z "${RESULTS:-}" ] || echo "1 0" >>"$RESULTS"
        return 0
    fi
    echo "FAIL  fuzz $2 (build/fuzz/$2.log)"
    tail -n 40 "build/fuzz/$2.log"
    [ -z "${RESULTS:-}" ] || echo "0 1" >>"$RESULTS"
    return 1
}
case $1 in
--one) one "$2" "$3" ;;
*)
    seconds=$1
    shift
    printf '%s\n' "$@" | xargs -P "$(nproc)" -I '{}' "$0" --one "$seconds" '{}'
    ;;
esac
