# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced. no_aslr MODE: the prefix under which a sanitized program runs. gcc 12's ThreadSanitizer refuses the address
# layout of kernels with many random bits; containers may forbid to change it, and then it is left.
# shellcheck shell=sh
no_aslr() {
    case $1 in
    asan | tsan) setarch "$(uname -m)" -R true 2>/dev/null && echo setarch "$(uname -m)" -R ;;
    esac
}
