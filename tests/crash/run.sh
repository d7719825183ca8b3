#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh STORE_CRASH N - kills the store's writer N times in each mode; the last two runs must find losses, or the checker is blind.
set -eu
program=$1
n=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
seed=${SEED:-$(date +%s)}
echo "seed $seed"
run() {
    rm -rf "${dir:?}"/*
    echo "store_crash $*"
    "$program" -n "$n" -s "$seed" "$@" "$dir/store"
}
run -d strict
run -d strict -p
run -d relaxed
run -d relaxed -p -l
run -d off -l
