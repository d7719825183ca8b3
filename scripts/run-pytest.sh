#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# run-pytest.sh MODE FOLDER - run the pytest tests of FOLDER against build/MODE. No folder, no tests: nothing to do.
# With RESULTS=file, appends a line "passed failed". PYTEST_ARGS is passed on (make e2e PYTEST_ARGS='-k name').
set -u
mode=$1 folder=$2
[ -n "$(find "$folder" -name 'test_*.py' 2>/dev/null | head -n 1)" ] || { echo "$folder: no tests"; exit 0; }
root=$(pwd)
export BUILD_DIR="$root/build/$mode" SEALMQD="$root/build/$mode/sealmqd" PYTHONDONTWRITEBYTECODE=1
export NODE_PATH="$root/build/node/node_modules"
export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:${ASAN_OPTIONS:-}" UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
if [ "$mode" = tsan ]; then
    export SEALMQ_THREADS="${SEALMQ_THREADS:-3}" TSAN_OPTIONS="halt_on_error=0:exitcode=66:${TSAN_OPTIONS:-}"
fi
. "$(dirname "$0")/no-aslr.sh"
mkdir -p "$BUILD_DIR"
xml=$BUILD_DIR/$(echo "$folder" | tr / -).xml
rm -f "$xml"
# Most tests with a broker wait: more at once than processors, each file's on one process. Those of scripts compute. What
# counts instructions and system calls wants the machine for itself. The time limit only ends a test that hangs.
case $folder in
tests/e2e* | tests/spec*) dist="-n 6 --dist loadfile" ;;
tests/scripts) dist="-n $(nproc)" ;;
*) dist= ;;
esac
limit=120
case $mode in asan | tsan) limit=600 ;; esac
# Debian's python: the one that Debian's python3-* packages belong to.
# shellcheck disable=SC2086
$(no_aslr "$mode") /usr/bin/python3 -m pytest -q -p no:cacheprovider --junitxml="$xml" $dist --timeout $limit ${PYTEST_ARGS:-} \
    "$folder" </dev/null
status=$?
if [ -n "${RESULTS:-}" ]; then
    [ -f "$xml" ] && /usr/bin/python3 - "$xml" <<'PY' >>"$RESULTS" || echo "0 1" >>"$RESULTS"
import sys
import xml.etree.ElementTree as tree
suites = [s.attrib for s in tree.parse(sys.argv[1]).iter("testsuite")]
count = lambda name: sum(int(s.get(name, 0)) for s in suites)
bad = count("failures") + count("errors")
print(max(count("tests") - bad - count("skipped"), 0), bad)
PY
fi
exit $status
