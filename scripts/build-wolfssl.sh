#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# build-wolfssl.sh [prefix] - put a static, tuned wolfSSL under prefix (default: build/wolfssl).
#
# Debian's own binary has neither AES-NI nor SP assembly, and its version in Debian 12 lacks fixes; so the source package
# of Debian 13 is built, with the flags this project was measured with. No server is named here: the machine's own
# apt sources are copied to a private apt directory with the suite changed, and the system's apt is not touched.
# apt checks the suite's signature; the upstream tarball is pinned below besides. A second run does nothing.
# Where the source cannot be had, Debian's libwolfssl-dev is linked instead, with a warning.
# CROSS=aarch64-linux-gnu- compiles it for that machine.
set -eu
umask 022

version=5.7.2
orig_sha256=0f2ed82e345b833242705bbc4b08a2a2037a33f7bf9c610efae6464f6b10e305
suite=trixie

say() { echo "build-wolfssl: $*"; }
die() { echo "build-wolfssl: error: $*" >&2; exit 1; }

common_flags="--disable-shared --enable-static --disable-examples --disable-crypttests --enable-sp --enable-sp-asm
 --enable-sp-math-all --disable-oldtls --enable-tls13 --disable-session-ticket --enable-crl --enable-keygen --enable-certgen
 --enable-certext --enable-curve25519 --enable-ed25519 --enable-aesgcm=small --disable-dh --enable-aeskeywrap --enable-x963kdf
 --enable-pkcallbacks"
extra_cflags="-DWOLFSSL_FPKI -DWOLFSSL_ALWAYS_VERIFY_CB -DNO_SESSION_CACHE -DWOLFSSL_GETRANDOM -DNO_WOLF_PRIVATE_KEY_ID"
# Part of the key: what is done to the source (see below).
patches="vzeroupper"
machine=$(uname -m) cross_flags=
if [ -n "${CROSS:-}" ]; then
    machine=${CROSS%%-*} cross_flags="--host=${CROSS%-} CC=${CROSS}gcc"
fi
case $machine in
x86_64) asm_flags="--enable-intelasm --enable-aesni" ;;
aarch64) asm_flags="--enable-armasm" ;;
*) asm_flags="" ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
prefix=${1:-$root/build/wolfssl}
mkdir -p "$(dirname "$prefix")"
prefix=$(cd "$(dirname "$prefix")" && pwd)/$(basename "$prefix")
stamp=$prefix/.built
key=$(printf '%s\n' "$version $orig_sha256 $machine $asm_flags $common_flags $extra_cflags $patches" | sha256sum | cut -d' ' -f1)

case $(cat "$stamp" 2>/dev/null) in
"$key") exit 0 ;;
"fallback $key")
    echo "build-wolfssl: WARNING: the system's libwolfssl is linked; remove $prefix to try the source again" >&2
    exit 0
    ;;
esac

missing=
for tool in autoreconf automake libtoolize make gcc apt-get dpkg-source patch xz; do
    command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
done
[ -z "$missing" ] || die "not installed:$missing. scripts/install-deps.sh build installs them ('make run' and 'make test' do that)"
work=$(mktemp -d "${TMPDIR:-/tmp}/build-wolfssl.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# The machine's own entry for its release, again as source entry for $suite; the security suite likewise. An entry's
# options (signed-by, arch) stay, except that nothing is trusted without a signature.
private_sources() {
    . /etc/os-release
    release=${VERSION_CODENAME:?}
    mkdir -p "$work/sources" "$work/lists/partial" "$work/cache/archives/partial"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        awk -v from="$release" -v to="$suite" '
            $1 != "deb" { next }
            {
                opt = ""; i = 2
                if ($2 ~ /^\[/) {
                    for (; i <= NF; i++) {
                        word = $i; end = word ~ /\]$/; gsub(/[][]/, "", word)
                        if (word != "" && word !~ /^(trusted|allow-insecure|arch)=/) opt = opt " " word
                        if (end) { i++; break }
                    }
                }
                uri = $i; dist = $(i + 1); main = 0
                for (j = i + 2; j <= NF && $j !~ /^#/; j++) if ($j == "main") main = 1
                if (!main || !(dist == from || dist == "stable" || dist == "oldstable" || dist == from "-security")) next
                print "deb-src" (opt == "" ? "" : " [" opt " ]"), uri, (dist ~ /-security$/ ? to "-security" : to), "main"
            }' "$file" >>"$work/sources/private.list"
    done
    n=0
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        n=$((n + 1))
        # Paragraph mode would lose a blank line made of spaces: normalise first. Comments may stand inside a stanza.
        sed -e '/^#/d' -e 's/^[[:space:]]*$//' "$file" | awk -v from="$release" -v to="$suite" '
            function flush_stanza(   a, n, i, out) {
                out = ""
                n = split(suites, a, " ")
                for (i = 1; i <= n; i++) {
                    if (a[i] == from || a[i] == "stable" || a[i] == "oldstable") out = out " " to
                    if (a[i] == from "-security") out = out " " to "-security"
                }
                if (deb && enabled && main && out != "") print "Types: deb-src\nURIs:" uris "\nSuites:" out "\nComponents: main\n" rest
                deb = main = 0; enabled = 1; suites = uris = rest = ""; field = ""
            }
            BEGIN { enabled = 1 }
            /^$/ { flush_stanza(); next }
            /^[^ \t]/ { field = tolower($0); sub(/:.*/, "", field); value = $0; sub(/^[^:]*:/, "", value) }
            /^[ \t]/ { value = $0 }
            field == "types" { if ((" " value " ") ~ / deb /) deb = 1; next }
            field == "suites" { suites = suites " " value; next }
            field == "uris" { uris = uris " " value; next }
            field == "components" { if ((" " value " ") ~ / main /) main = 1; next }
            field == "enabled" { if (tolower(value) ~ /no|false|0/) enabled = 0; next }
            field == "signed-by" { rest = rest $0 "\n"; next }
            END { flush_stanza() }' >"$work/sources/private$n.sources"
    done
    find "$work/sources" -type f -size 0 -delete
    [ -n "$(ls "$work/sources")" ]
}

private_apt() {
    # As root apt would drop to a user that may not be allowed to enter this directory.
    apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources" \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Get::AllowUnauthenticated=false \
        -o Acquire::AllowInsecureRepositories=false -o Acquire::AllowWeakRepositories=false \
        -o Acquire::AllowDowngradeToInsecureRepositories=false -o Acquire::Retries=3 \
        -o Acquire::IndexTargets::deb::Packages::DefaultEnabled=false -o APT::Update::Post-Invoke::= -o DPkg::Post-Invoke::= "$@"
}

# Leaves the unpacked source in $work/src; says why when it cannot.
fetch_source() {
    private_sources || { why="no Debian entry among the machine's apt sources"; return 1; }
    say "fetching the source package of wolfSSL $version from Debian's suite $suite"
    # One unreachable entry of several is no reason to stop: what counts is whether the source arrives.
    private_apt update >"$work/update.log" 2>&1 || true
    (cd "$work" && private_apt source --only-source --download-only "wolfssl" >source.log 2>&1) || {
        why="apt-get source failed: $(grep -hE '^[EW]:' "$work/update.log" "$work/source.log" | head -n 3 | tr '\n' ' ')"
        return 1
    }
    for orig in "$work"/wolfssl_"$version"*.orig.tar.?z; do break; done
    [ -f "$orig" ] || { why="the suite $suite has another version than $version: $(cd "$work" && echo wolfssl_*.dsc)"; return 1; }
    # A mismatch is not a reason to fall back: something is wrong, and the user has to know.
    echo "$orig_sha256  $orig" | sha256sum -c --status - || die "$(basename "$orig") is not the pinned tarball (SHA-256 differs)"
    (cd "$work" && dpkg-source --no-check -x wolfssl_*.dsc src >unpack.log 2>&1) || { why="unpacking failed: $(tail -n 1 "$work/unpack.log")"; return 1; }
}

step() {
    "$@" >>"$work/build.log" 2>&1 || {
        tail -n 25 "$work/build.log" >&2
        die "'$*' failed; its last lines are above"
    }
}

fall_back() {
    [ -z "${CROSS:-}" ] || die "$why"
    echo "build-wolfssl: WARNING: $why" >&2
    echo "build-wolfssl: WARNING: linking the system's libwolfssl instead: slower, more memory, and older than $version" >&2
    [ -f /usr/include/wolfssl/options.h ] || sh "$root/scripts/install-deps.sh" wolfssl ||
        die "no libwolfssl-dev either; give another build with WOLFSSL_PREFIX=..."
    lib=$(gcc -print-file-name=libwolfssl.so)
    [ -e "$lib" ] || die "libwolfssl.so not found"
    rm -rf "$prefix"
    mkdir -p "$prefix/include" "$prefix/lib"
    ln -s /usr/include/wolfssl "$prefix/include/wolfssl"
    ln -s "$lib" "$prefix/lib/libwolfssl.so"
    echo "fallback $key" >"$stamp"
}

if ! fetch_source; then
    fall_back
    exit 0
fi
# The AVX2 table look-ups of wolfSSL's big-number assembly return without vzeroupper, and with the upper halves of the registers
# in use every SSE or SHA instruction that follows waits for them: hashing 400 bytes after an ECDSA signature took as long as
# the signature. They return nothing in registers, so the instruction can stand before every return of a function that uses ymm.
zero_upper_halves() {
    asm=wolfcrypt/src/sp_x86_64_asm.S
    awk '/^_?sp_[a-z0-9_]*:/ { name = $1; sub(/^_/, "", name) }
        { line[NR] = $0; in_function[NR] = name }
        /ymm/ { uses_ymm[name] = 1 }
        END {
            for (i = 1; i <= NR; i++) {
                if (line[i] ~ /repz[ \t]+retq/ && (in_function[i] in uses_ymm)) print "        vzeroupper"
                print line[i]
            }
        }' $asm >$asm.new
    found=$(grep -c vzeroupper $asm.new)
    # The source is pinned: another number means that this does not fit it.
    [ "$found" = 15 ] || { echo "$asm: $found places for vzeroupper, not 15"; return 1; }
    mv $asm.new $asm
}

say "building wolfSSL $version ($machine), about a minute"
cd "$work/src"
[ "$machine" != x86_64 ] || step zero_upper_halves
# What a make above exports (CFLAGS, DESTDIR, MAKEFLAGS, ...) is meant for this project, not for this library.
clean() { env -i PATH="$PATH" HOME="${HOME:-/}" LC_ALL=C "$@"; }
step clean autoreconf -fi
# shellcheck disable=SC2086
step clean ./configure --prefix="$work/out" $common_flags $asm_flags $cross_flags C_EXTRA_FLAGS="$extra_cflags"
step clean make -j2 install
rm -rf "$work/out/share" "$work/out/bin" "$work/out/lib/pkgconfig" "$work/out"/lib/*.la
# Whole or not at all: built beside, moved in one step.
printf '%s\n' "$key" >"$work/out/.built"
rm -rf "$prefix.new" && cp -R "$work/out" "$prefix.new" && rm -rf "$prefix" && mv "$prefix.new" "$prefix"
say "wolfSSL $version is in $prefix"
