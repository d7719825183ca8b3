#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# lint.sh - everything that reads the code without running it. Prints one line per check; a finding fails the run.
# Called by `make lint`, which passes MAKE and WOLFSSL_PREFIX.
set -u
cd "$(dirname "$0")/.." || exit 1
make=${MAKE:-make} wolfssl=${WOLFSSL_PREFIX:-build/wolfssl}
out=build/lint
folders="base mqtt topics crypto conf store broker client"
flags="-std=c11 -D_GNU_SOURCE -I. -isystem $wolfssl/include"
mkdir -p $out
rc=0
check() { # name, command: silent when it passes
    name=$1
    shift
    if "$@" >$out/log 2>&1; then
        echo "lint: $name: ok"
    else
        rc=1
        grep -vE '^[0-9]+ warnings? generated' $out/log
        echo "lint: $name: FAILED"
    fi
}
files() { # suffix, in the program's own folders
    for folder in $folders; do [ ! -d "$folder" ] || find "$folder" -maxdepth 1 -name "*.$1"; done | sort
}

# With asserts and without: what only an assert uses would otherwise be noticed by the other mode alone.
warnings() {
    "$make" --no-print-directory MODE=release O=$out/release WERROR=1 compile &&
        "$make" --no-print-directory MODE=debug O=$out/debug WERROR=1 compile
}
headers_alone() {
    bad=0
    for header in $(files h); do
        # shellcheck disable=SC2086
        echo "#include \"$header\"" | ${CC:-cc} $flags -Wall -Wextra -Werror -fsyntax-only -x c - || { echo "$header does not compile alone"; bad=1; }
    done
    return $bad
}
# Asserts stay on here: they tell the analyzer what holds.
tidy() {
    # shellcheck disable=SC2086
    files c | xargs -r -P "$(nproc)" -I '{}' clang-tidy --quiet '{}' -- $flags
}
static_check() {
    # shellcheck disable=SC2046
    cppcheck --std=c11 --language=c --quiet --inline-suppr --error-exitcode=1 --enable=warning,performance,portability \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches -D_GNU_SOURCE -I. $(files c)
}
# The codec is pure functions: it calls memory and string functions of the C library and nothing else. Judged on objects
# without stack protector and fortify, whose own helpers (__stack_chk_fail, __memcpy_chk) are not the codec's calls.
codec_is_pure() {
    mkdir -p $out/codec
    for file in mqtt/*.c; do
        [ -f "$file" ] || continue
        # shellcheck disable=SC2086
        ${CC:-cc} $flags -O2 -DNDEBUG -fno-stack-protector -U_FORTIFY_SOURCE -c -o "$out/codec/$(basename "$file" .c).o" "$file" || return 1
    done
    [ -n "$(ls $out/codec)" ] || return 0
    nm -g --defined-only $out/codec/*.o | awk 'NF == 3 { print $3 }' | sort -u >$out/defined
    foreign=$(nm -u $out/codec/*.o | awk '$1 == "U" { print $2 }' | grep -vE '^(_GLOBAL_OFFSET_TABLE_|(mem|str)[a-z]+)$' | sort -u | comm -23 - $out/defined)
    rm -rf $out/codec
    [ -z "$foreign" ] || { echo "mqtt/ calls more than mem* and str*:" "$foreign"; return 1; }
}
manual_pages() {
    "$make" --no-print-directory O=$out/release man && mandoc -T lint -W warning docs/man/*.[1-8] $out/release/man/*.[1-8]
}
shell_scripts() { shellcheck -x -S warning -P scripts scripts/*.sh .ci/run; }

check "warnings" warnings
check "headers compile alone" headers_alone
check "layers" scripts/check-layers.sh
check "codec calls mem* and str* alone" codec_is_pure
check "clang-tidy" tidy
check "cppcheck" static_check
check "manual pages" manual_pages
check "shellcheck" shell_scripts
exit $rc
