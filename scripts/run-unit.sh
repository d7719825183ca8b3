#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# run-unit.sh MODE PROGRAM... - run each Check program, one per processor at a time; its output is shown only when it fails.
# With RESULTS=file, appends a line "passed failed" (checks) per program.
set -u
mode=$1
shift
export UBSAN_OPTIONS="print_stacktrace=1 ${UBSAN_OPTIONS:-}"
. "$(dirname "$0")/no-aslr.sh"
# shellcheck disable=SC2016,SC2046
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} $(no_aslr "$mode") sh -c \
    'rm -f "$1.status"; timeout "${UNIT_TIMEOUT:-300}" "$1" >"$1.log" 2>&1 </dev/null; echo $? >"$1.status"' sh {}
rc=0 programs=0 total=0 bad=0
for program in "$@"; do
    log=$program.log status=$(cat "$program.status")
    # Check's closing line: "100%: Checks: 12, Failures: 0, Errors: 0"
    counts=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' "$log" |
        awk '{ c += $1; b += $2 + $3 } END { print c + 0, b + 0 }')
    checks=${counts% *} failed=${counts#* }
    # It ended badly without saying so, or it tested nothing: that is a failure of its own.
    if [ "$failed" = 0 ] && { [ "$status" != 0 ] || [ "$checks" = 0 ]; }; then
        checks=$((checks + 1)) failed=1
    fi
    programs=$((programs + 1)) total=$((total + checks)) bad=$((bad + failed))
    [ -z "${RESULTS:-}" ] || echo "$((checks - failed)) $failed" >>"$RESULTS"
    if [ "$failed" != 0 ]; then
        rc=1
        echo "FAIL  $program (exit status $status)"
        tail -n 60 "$log"
    fi
done
echo "unit ($mode): $programs programs, $((total - bad)) checks passed, $bad failed"
exit $rc
