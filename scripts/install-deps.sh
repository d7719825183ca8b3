#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# install-deps.sh [build|run|test|lint|fuzz|bench|wolfssl]... - install the Debian packages that these need and that are missing.
# With nothing missing it changes nothing and asks for no rights. Default: build.
set -eu

# autoconf … xz-utils: for wolfSSL, which is built from its source package (build-wolfssl.sh).
build_packages="gcc libc6-dev make pkg-config openssl libev-dev uthash-dev liblmdb-dev libcjson-dev libmosquitto-dev libreadline-dev
 autoconf automake libtool dpkg-dev patch xz-utils ca-certificates debian-archive-keyring"
run_packages="mosquitto-clients" # for the lines that "make run" prints to paste
test_packages="check libsubunit-dev mosquitto mosquitto-clients libpaho-mqtt-dev python3 python3-pytest python3-pytest-xdist
 python3-pytest-timeout python3-paho-mqtt python3-cryptography python3-cbor2 procps util-linux valgrind"
fuzz_packages="clang libclang-rt-dev"
bench_packages="libssl-dev mosquitto mosquitto-clients python3"
lint_packages="clang-tidy cppcheck shellcheck mandoc"
wolfssl_packages="libwolfssl-dev" # only where the source package cannot be had

want=
[ $# -gt 0 ] || set -- build
for kind in "$@"; do
    case $kind in
    build) want="$want $build_packages" ;;
    run) want="$want $run_packages" ;;
    test)
        want="$want $test_packages"
        # Many machines have node from elsewhere, which Debian's packages would collide with.
        command -v node >/dev/null 2>&1 || want="$want nodejs"
        command -v npm >/dev/null 2>&1 || want="$want npm"
        ;;
    lint) want="$want $lint_packages" ;;
    fuzz) want="$want $fuzz_packages" ;;
    bench) want="$want $bench_packages" ;;
    wolfssl) want="$want $wolfssl_packages" ;;
    *)
        echo "usage: install-deps.sh [build|run|test|lint|fuzz|bench|wolfssl]..." >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    # Not Debian: the names are a hint, and whether it builds decides.
    echo "install-deps: no apt here. Needed, by their Debian names:" >&2
    echo " $want" | tr -s ' \n' ' ' | fold -s -w 100 >&2
    echo >&2
    [ "${SEALMQ_SKIP_DEPS:-}" = 1 ] && exit 0
    echo "install-deps: install them, then run make with SEALMQ_SKIP_DEPS=1" >&2
    exit 1
fi

# Virtual packages count too (pkg-config may be pkgconf): a name that no installed package carries is asked for.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' | sed -n 's/^installed //p' | sed 's/([^)]*)//g' | tr -s ' ,' '\n\n')
missing=
for package in $want; do
    printf '%s\n' "$installed" | grep -qxF "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "install-deps: not root and no sudo. As root: apt-get install$missing" >&2
        exit 1
    }
    as_root=sudo
fi
echo "install-deps: installing$missing"
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" </dev/null; }

# A broker that comes as a test's client tool must not start by itself and take port 1883. dpkg asks policy-rc.d before it
# starts a service; one that exists already is the administrator's and stays. (Enabled at boot: see below.)
policy=/usr/sbin/policy-rc.d
placed=
restore() { [ -z "$placed" ] || $as_root rm -f "$policy"; placed=; }
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
hold_services() {
    [ ! -e "$policy" ] && [ ! -L "$policy" ] || return 0
    printf '#!/bin/sh\n# placed by install-deps.sh of sealmq while it installs; safe to delete\nexit 101\n' | $as_root tee "$policy" >/dev/null
    placed=1
    $as_root chmod 755 "$policy"
}
case " $missing " in *" mosquitto "*) new_mosquitto=1 ;; *) new_mosquitto= ;; esac
[ -z "$new_mosquitto" ] || hold_services

log=$(mktemp)
install_all() {
    # shellcheck disable=SC2086
    apt --no-install-recommends install $missing >"$log" 2>&1
}
# The lists may be old or, on a fresh machine, empty: fetched only when needed.
if ! install_all; then
    echo "install-deps: refreshing apt's lists"
    if ! apt update >"$log" 2>&1 || ! install_all; then
        tail -n 20 "$log" >&2
        echo "install-deps: error: apt-get could not install:$missing" >&2
        rm -f "$log"
        exit 1
    fi
fi
rm -f "$log"
# Its package also enables it for the next boot; it was not here before, so nobody asked for that.
if [ -n "$new_mosquitto" ]; then
    $as_root deb-systemd-helper disable mosquitto.service >/dev/null 2>&1 || true
    $as_root update-rc.d mosquitto disable >/dev/null 2>&1 || true
fi
