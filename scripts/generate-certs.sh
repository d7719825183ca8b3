#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# generate-certs.sh - a small certificate authority for one broker and its clients. Needs the openssl command.
#
# Files in the output directory: ca, server, client and one NAME per device, each .crt and .key; ca.crl once something
# is revoked; ca.db/ records what was issued. The signatures a broker makes decide what a handshake costs, hence a P-256
# broker; clients are RSA, since the envelopes that carry topic keys are RSA.
#
# A certificate is recorded before it gets its name, and every file appears whole, by rename: an interrupted run leaves
# nothing half made, and running again completes it.
set -eu
umask 077
LC_ALL=C
export LC_ALL
unset OPENSSL_CONF

usage() {
    cat <<'END'
usage: generate-certs.sh [options] [command]
  (no command)      ca (10 years), server and client (1 year); what exists is kept
  client NAME...    a certificate per device; NAME is its identity (CN)
  server [HOST...]  a certificate per host name or address; without one: "server", for this machine
  renew NAME...     a new certificate for the same key, subject and names (the old one stays valid until it expires)
  revoke NAME...    revoke every certificate of that name, and write ca.crl (a path to a .crt file works too)
  crl               write ca.crl anew; a broker that reads it refuses everybody once it is stale
  list              every certificate, and its days left
options:
  --out DIR         where (default: certs)
  --algo rsa|ec     kind of the new keys (default: RSA-3072 ca, P-256 server, RSA-2048 clients)
  --days N          validity of the new certificates (default 365; the ca: 3650)
  --crl-days N      until when ca.crl is fresh (default 30)
  --san NAME        one more name or address in a broker's certificate; may be repeated
  --force           replace keys and certificates that exist; without a command that includes the ca
END
}
die() {
    printf 'generate-certs: error: %s\n' "$*" >&2
    exit 1
}
note() { printf 'generate-certs: %s\n' "$*"; }

# ---- arguments
out=certs days=365 crl_days=30 algo='' force='' san='' command=''
number() { case $2 in '' | 0* | *[!0-9]* | ??????*) die "$1: expected a number of days from 1 to 99999, got '$2'" ;; esac; }
add_san() { case $1 in '' | *[!0-9A-Za-z.:-]*) die "--san: '$1' is not a host name or address" ;; *) san="$san $1" ;; esac; }
args=0
for arg in "$@"; do # options may stand anywhere; what is no option is kept, in order, in "$@"
    [ "$args" = 0 ] && set --
    args=1
    if [ -n "${want:-}" ]; then
        case $want in
        --out) out=$arg ;;
        --algo) algo=$arg ;;
        --days) number "$want" "$arg" && days=$arg ;;
        --crl-days) number "$want" "$arg" && crl_days=$arg ;;
        --san) add_san "$arg" ;;
        esac
        want=
        continue
    fi
    if [ -n "${only_names:-}" ]; then
        set -- "$@" "$arg"
        continue
    fi
    case $arg in
    --out | --algo | --days | --crl-days | --san) want=$arg ;;
    --out=*) out=${arg#*=} ;;
    --algo=*) algo=${arg#*=} ;;
    --days=*) number --days "${arg#*=}" && days=${arg#*=} ;;
    --crl-days=*) number --crl-days "${arg#*=}" && crl_days=${arg#*=} ;;
    --san=*) add_san "${arg#*=}" ;;
    --force) force=1 ;;
    --) only_names=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*) die "unknown option '$arg' (--help lists them)" ;;
    *) set -- "$@" "$arg" ;;
    esac
done
[ -z "${want:-}" ] || die "$want: a value is missing"
case $algo in '' | rsa | ec) ;; *) die "--algo: expected rsa or ec, got '$algo'" ;; esac
[ -n "$out" ] || die "--out: expected a directory"
if [ $# -gt 0 ]; then
    command=$1
    shift
fi
case $command in
'' | server) ;;
crl | list) [ $# = 0 ] || die "$command takes no name" ;;
client | renew | revoke) [ $# -gt 0 ] || die "$command: a name is missing" ;;
*) die "unknown command '$command' (--help lists them)" ;;
esac
command -v openssl >/dev/null 2>&1 || die "the openssl command is missing (Debian: apt-get install openssl)"

# ---- names
# What a name may be: what the broker accepts as an identity, and what is safe as a file name.
check_name() {
    case $1 in
    '') die "a name is empty" ;;
    */*) die "'$1': a name may not hold '/'" ;;
    *+* | *'#'*) die "'$1': a name may not hold '+' or '#'" ;;
    *[[:cntrl:]]*) die "a name may not hold control characters" ;;
    .* | ' '* | *' ') die "'$1': a name may not begin with a dot, or begin or end with a space" ;;
    ca | ca.db) die "'$1' is the authority's own name" ;;
    esac
    [ "${#1}" -le 64 ] || die "'$1': a name has at most 64 bytes"
    if printf %s "$1" | grep -q "$(printf '\302[\200-\237]')"; then die "a name may not hold control characters"; fi
    ! command -v iconv >/dev/null 2>&1 || printf %s "$1" | iconv -f UTF-8 -t UTF-8 >/dev/null 2>&1 || die "a name is not valid UTF-8"
}
is_ipv4() {
    printf '%s\n' "$1" | awk -F. '{
        ok = NF == 4
        for (i = 1; i <= NF; i++) if ($i !~ /^[0-9]+$/ || length($i) > 3 || $i > 255) ok = 0
        exit !ok
    }'
}
# Prints the subjectAltName entry of a host name or address.
san_entry() {
    case $1 in
    *:*) case $1 in *[!0-9a-fA-F:.]*) die "'$1': not an IPv6 address" ;; *) echo "IP:$1" ;; esac ;;
    *[!0-9.]*)
        case ".$1." in
        *..* | *.-* | *-.* | *[!A-Za-z0-9.-]*) die "'$1': not a host name or address" ;;
        *) echo "DNS:$1" ;;
        esac
        ;;
    *)
        is_ipv4 "$1" || die "'$1': not an IPv4 address"
        echo "IP:$1"
        ;;
    esac
}
# The names in "$@" and those of --san, each once, as one subjectAltName.
san_list() {
    list=
    # shellcheck disable=SC2086
    for host in "$@" $san; do
        entry=$(san_entry "$host") || exit 1
        case ",$list," in *",$entry,"*) ;; *) list="$list${list:+,}$entry" ;; esac
    done
    echo "$list"
}
own_names() {
    printf 'localhost\n127.0.0.1\n::1\n'
    { hostname; hostname -f; uname -n; } 2>/dev/null | while read -r host; do
        (san_entry "$host") >/dev/null 2>&1 && [ "${#host}" -le 253 ] && echo "$host"
    done
    return 0
}

# ---- the directory
# Work happens inside it, so that openssl's configuration holds no path that would need quoting.
case $command in list | crl | revoke | renew) [ -d "$out" ] || die "no directory '$out'" ;; esac
made_dir=
[ -d "$out" ] || { mkdir -p "$out" 2>/dev/null && made_dir=1; } || die "cannot create '$out'"
# Given by path, and relative to where the user is: made absolute before the directory changes.
here=$(pwd)
[ -z "$made_dir" ] || chmod 755 "$out"
cd "$out" 2>/dev/null || die "cannot enter '$out'"

# Under sudo in a user's own clone the user, who will run the clients, must be able to read the keys.
hand_over=
if [ "$(id -u)" = 0 ] && [ -n "${SUDO_UID:-}" ] && [ "$(stat -c %u .. 2>/dev/null)" = "$SUDO_UID" ]; then
    hand_over=$SUDO_UID:${SUDO_GID:-$SUDO_UID}
    [ -z "$made_dir" ] || chown "$hand_over" .
fi

# ---- what certificates say
subject_of() { openssl x509 -noout -subject -nameopt compat -in "$1" | sed 's/^subject=//'; }
serial_of() { openssl x509 -noout -serial -in "$1" | sed 's/^serial=//'; }
is_broker() { openssl x509 -noout -ext extendedKeyUsage -in "$1" 2>/dev/null | grep -q 'Server Auth'; }
is_v1() { openssl x509 -noout -text -in "$1" | grep -q 'Version: 1 '; }
is_ours() { openssl verify -no_check_time -CAfile ca.crt "$1" >/dev/null 2>&1; }
# recorded field value [state]: is there such a line in the record? Fields: 1 state (V or R), 4 serial, 6 subject.
recorded() {
    [ -f ca.db/index.txt ] || return 1
    VALUE=$2 awk -F'\t' -v field="$1" -v state="${3:-.}" '$1 ~ state && $field == ENVIRON["VALUE"] { f = 1 } END { exit !f }' ca.db/index.txt
}
is_revoked() { recorded 4 "$(serial_of "$1")" R; }
same_key() { [ "$(openssl pkey -pubout -in "$1" 2>/dev/null)" = "$(openssl x509 -noout -pubkey -in "$2" 2>/dev/null)" ]; }
# Whole days until the certificate ends; negative when it has.
days_left() {
    openssl x509 -noout -enddate -in "$1" | sed 's/^notAfter=//; s/:/ /g' | awk -v now="$(date +%s)" '{
        m = (index("JanFebMarAprMayJunJulAugSepOctNovDec", $1) + 2) / 3; d = $2; y = $6
        if (m <= 2) { y--; m += 12 } # days since 1970 in the Gregorian calendar, years from March
        n = 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * (m - 3) + 2) / 5) + d - 719469
        s = (n * 86400 + $3 * 3600 + $4 * 60 + $5 - now) / 86400; i = int(s); print (i > s ? i - 1 : i) }'
}
end_of() { openssl x509 -noout -enddate -in "$1" | sed 's/^notAfter=//; s/ GMT$//; s/ [0-9]*:[0-9:]*//; s/  */ /g'; }

crl_end() { openssl crl -noout -nextupdate -in ca.crl | sed 's/^nextUpdate=//'; }

# ---- making things; tmp is in the same directory, so that a rename is whole
tmp=
cleanup() { [ -z "$tmp" ] || rm -rf "$tmp"; }
begin_change() {
    mkdir -p ca.db/certs || die "cannot write to '$out'"
    # Two at a time would mix their records. The lock ends with the process.
    if command -v flock >/dev/null 2>&1; then
        exec 9>ca.db/lock
        flock -w 60 9 || die "another generate-certs.sh is at work in '$out'"
    fi
    trap cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    rm -rf .new.* # of a run that was killed
    tmp=$(mktemp -d .new.XXXXXX) || die "cannot write to '$out'"
    [ -f ca.db/index.txt ] || : >ca.db/index.txt
    [ -f ca.db/crlnumber ] || echo 01 >ca.db/crlnumber
    cat >"$tmp/cnf" <<END
[req]
distinguished_name = empty
string_mask = utf8only
[empty]
[ca]
default_ca = db
[db]
database = ca.db/index.txt
crlnumber = ca.db/crlnumber
certificate = ca.crt
private_key = ca.key
default_md = sha256
unique_subject = no
crl_extensions = crl
[crl]
authorityKeyIdentifier = keyid:always
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
END
    # By these a verifier finds its way from one certificate to the next.
    printf 'subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid:always\n' >"$tmp/ids"
}
# run what, openssl arguments: silent unless it fails.
run() {
    what=$1
    shift
    openssl "$@" >"$tmp/log" 2>&1 || {
        grep -v '^[.+*-]*$' "$tmp/log" >&2 || true
        die "$what failed; openssl's words are above"
    }
}
# 127 random bits, first digit 4: positive, unique, and of one length.
new_serial() { openssl rand -hex 16 | sed 's/^./4/'; }
# publish file name mode: under its name at once, never partly.
publish() {
    chmod "$3" "$tmp/$1"
    [ -z "$hand_over" ] || chown "$hand_over" "$tmp/$1"
    mv -f "$tmp/$1" "$2"
}
# new_key file rsa|ec [bits]: --algo overrides the kind.
new_key() {
    case ${algo:-$2} in
    rsa) run "making a key" genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:${3:-2048}" -out "$1" ;;
    ec) run "making a key" genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" ;;
    esac
}
need_ca_key() {
    [ -f ca.crt ] || die "no ca.crt in '$out'"
    [ -f ca.key ] || die "no ca.key in '$out': nothing can be signed here"
    same_key ca.key ca.crt || die "'$out': ca.key and ca.crt do not belong together"
}
# sign csr extensions-file [x509 arguments]: leaves tmp/crt, recorded. It must not outlive the authority, which would end it anyway.
sign() {
    csr=$1 extensions=$2
    shift 2
    left=$(($(days_left ca.crt) - 1)) valid=$days
    [ "$left" -ge 1 ] || die "the authority itself ends today or has ended ('renew ca' gives it a new certificate)"
    if [ "$valid" -gt "$left" ]; then
        valid=$left
        note "shortened to $valid days: the authority ends then"
    fi
    run "signing" x509 -req -in "$csr" -CA ca.crt -CAkey ca.key -set_serial "0x$(new_serial)" -days "$valid" -sha256 \
        -extfile "$extensions" -out "$tmp/crt" "$@"
    record "$tmp/crt"
}
write_crl() {
    need_ca_key
    run "making the revocation list" ca -config "$tmp/cnf" -gencrl -crldays "$crl_days" -out "$tmp/crl"
    publish crl ca.crl 644
    note "$out/ca.crl: $(grep -c '^R' ca.db/index.txt) revoked, fresh until $(crl_end)"
}

# make_ca [anew]: without a word, for a key that is there already.
make_ca() {
    if [ -f ca.crt ]; then
        note "replacing the authority: certificates of the old one are refused from now on"
        rm -f ca.crt ca.crl ca.db/index.txt* ca.db/certs/*.crt
        : >ca.db/index.txt
    fi
    if [ -f ca.key ] && [ -z "$1" ]; then cp ca.key "$tmp/key"; else new_key "$tmp/key" rsa 3072; fi
    # Two authorities of one name would make for puzzling errors, hence the random part.
    run "making the authority" req -x509 -new -config "$tmp/cnf" -extensions authority -key "$tmp/key" -sha256 -utf8 \
        -days 3650 -set_serial "0x$(new_serial)" -subj "/O=sealmq/CN=sealmq CA $(openssl rand -hex 4)" -out "$tmp/crt"
    publish key ca.key 600
    publish crt ca.crt 644
    note "$out/ca.crt: new, until $(end_of ca.crt)"
}

# What a certificate for that key (a public one) may be used for, into tmp/leaf.
write_extensions() { # broker|client public-key [subjectAltName]
    may=digitalSignature purpose=clientAuth
    # An RSA key also unwraps: the envelopes with topic keys, for a client.
    ! openssl pkey -pubin -noout -text -in "$2" | grep -qi '^modulus' || may="$may, keyEncipherment"
    [ "$1" = client ] || purpose=serverAuth
    {
        cat "$tmp/ids"
        printf 'basicConstraints = critical, CA:FALSE\nkeyUsage = critical, %s\nextendedKeyUsage = %s\n' "$may" "$purpose"
        [ -z "${3:-}" ] || printf 'subjectAltName = %s\n' "$3"
    } >"$tmp/leaf"
}
# One made by hand is not recorded yet; before its file gives way it has to be, or it could not be revoked by name.
record() {
    is_ours "$1" || return 0
    serial=$(serial_of "$1")
    ! recorded 4 "$serial" || return 0
    cp "$1" "ca.db/certs/$serial.crt"
    run "recording the certificate" ca -config "$tmp/cnf" -valid "ca.db/certs/$serial.crt"
}

# make_leaf kind name [subjectAltName]: kind is broker or client.
make_leaf() {
    kind=$1 name=$2 names=${3:-}
    if [ -f "./$name.crt" ]; then
        is_broker "./$name.crt" && has=broker || has=client
        [ "$has" = "$kind" ] || die "'$name': $out/$name.crt is the certificate of a $has; take another name"
        if [ -z "$force" ]; then
            state=kept
            [ ! -f ca.crt ] || is_ours "./$name.crt" || state="kept, but it is not of this authority (--force replaces it)"
            [ ! -f "./$name.key" ] || same_key "./$name.key" "./$name.crt" || state="kept, but its key does not belong to it (--force replaces both)"
            ! is_revoked "./$name.crt" || state="kept, but it is revoked (--force makes a new one)"
            [ "$(days_left "./$name.crt")" -ge 0 ] || state="kept, but it has expired ('renew $name')"
            note "$out/$name.crt: $state"
            return
        fi
    fi
    need_ca_key
    if [ -f "./$name.key" ] && [ -z "$force" ]; then
        cp "./$name.key" "$tmp/key"
    elif [ "$kind" = broker ]; then
        new_key "$tmp/key" ec
    else
        new_key "$tmp/key" rsa
    fi
    openssl pkey -in "$tmp/key" -pubout -out "$tmp/pub" 2>/dev/null || die "'$name': $out/$name.key cannot be read as a key"
    write_extensions "$kind" "$tmp/pub" "$names"
    [ ! -f "./$name.crt" ] || record "./$name.crt"
    run "making a request" req -new -config "$tmp/cnf" -utf8 -key "$tmp/key" -subj "/CN=$(printf %s "$name" | sed 's/\\/\\\\/g')" -out "$tmp/csr"
    sign "$tmp/csr" "$tmp/leaf"
    # A certificate never stands beside a key that is not its own, also when this is interrupted between the two.
    if [ -n "$force" ] || [ ! -f "./$name.key" ]; then
        rm -f "./$name.crt"
        publish key "./$name.key" 600
    fi
    publish crt "./$name.crt" 644
    note "$out/$name.crt: new, until $(end_of "./$name.crt")"
}

renew() {
    name=$1
    [ -f "./$name.crt" ] || die "'$name': no $out/$name.crt"
    need_ca_key
    if [ "$name" = ca ]; then
        # Same key, name and identifier: what it has signed stays valid, and clients may keep the old file until it ends.
        run "renewing the authority" x509 -in ca.crt -signkey ca.key -sha256 -days 3650 -set_serial "0x$(new_serial)" -out "$tmp/crt"
        publish crt ca.crt 644
        note "$out/ca.crt: renewed, until $(end_of ca.crt); hand it to the clients before the old one ends"
        return
    fi
    is_ours "./$name.crt" || die "'$name': not a certificate of this authority"
    ! is_revoked "./$name.crt" || die "'$name' is revoked: make a new key and certificate with --force instead"
    # Its key may be on the device alone. So a throw-away key signs the request, and the old public key is put in.
    openssl x509 -noout -pubkey -in "./$name.crt" >"$tmp/pub"
    run "making a key" genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$tmp/throwaway"
    run "making a request" x509 -x509toreq -in "./$name.crt" -signkey "$tmp/throwaway" -copy_extensions copyall -out "$tmp/csr"
    if is_v1 "./$name.crt"; then write_extensions client "$tmp/pub"; else cp "$tmp/ids" "$tmp/leaf"; fi
    record "./$name.crt"
    sign "$tmp/csr" "$tmp/leaf" -force_pubkey "$tmp/pub" -copy_extensions copyall
    publish crt "./$name.crt" 644
    note "$out/$name.crt: renewed, until $(end_of "./$name.crt")"
}

revoke_file() {
    ! is_revoked "$1" || return 0
    run "revoking" ca -config "$tmp/cnf" -revoke "$1"
    [ -f "ca.db/certs/$(serial_of "$1").crt" ] || cp "$1" "ca.db/certs/$(serial_of "$1").crt"
    note "revoked: $(subject_of "$1"), serial $(serial_of "$1")"
}
# Every certificate of that subject: a renewed one's predecessor is as valid as itself.
revoke() {
    file=./$1.crt subject=/CN=$1
    case $1 in
    /*.crt | /*.pem) file=$1 ;;
    *.crt | *.pem) [ -f "$file" ] || file=$here/$1 ;;
    esac
    [ "$1" != ca ] || die "the authority cannot revoke itself: make a new one with --force"
    if [ -f "$file" ]; then
        openssl x509 -noout -in "$file" 2>/dev/null || die "'$1': not a certificate"
        is_ours "$file" || die "'$1': not a certificate of this authority"
        subject=$(subject_of "$file")
        cp "$file" "$tmp/old" # the loop below may meet the same one
        revoke_file "$tmp/old"
    else
        recorded 6 "$subject" || die "'$1': no $out/$1.crt, and none recorded under that name"
    fi
    # shellcheck disable=SC2013
    for serial in $(SUBJECT=$subject awk -F'\t' '$1 == "V" && $6 == ENVIRON["SUBJECT"] { print $4 }' ca.db/index.txt); do
        [ -f "ca.db/certs/$serial.crt" ] || die "serial $serial is recorded, but ca.db/certs/$serial.crt is missing"
        revoke_file "ca.db/certs/$serial.crt"
    done
}

list() {
    printf '%-24s %-10s %6s  %-12s  %s\n' NAME KIND DAYS UNTIL STATE
    for file in ./*.crt; do
        [ -f "$file" ] || continue
        name=${file#./} name=${name%.crt} state=valid
        if ! openssl x509 -noout -in "$file" 2>/dev/null; then
            printf '%-24s %-10s %6s  %-12s  %s\n' "$name" - - - "not a certificate"
            continue
        fi
        left=$(days_left "$file")
        if [ "$name" = ca ]; then kind=authority; elif is_broker "$file"; then kind=broker; else kind=client; fi
        ! is_v1 "$file" || kind="$kind,v1"
        [ "$left" -ge 30 ] || state="ends soon"
        [ "$left" -ge 0 ] || state=expired
        [ ! -f ca.crt ] || is_ours "$file" || state="of another authority"
        ! is_revoked "$file" || state=revoked
        printf '%-24s %-10s %6s  %-12s  %s\n' "$name" "$kind" "$left" "$(end_of "$file")" "$state"
    done
    [ ! -f ca.crl ] || note "$out/ca.crl: fresh until $(crl_end)"
}

# ---- the commands; every name is checked before anything is made
case $command in
list)
    list
    exit 0
    ;;
client)
    for name in "$@"; do
        check_name "$name"
        [ "$name" != server ] || die "'server' is the broker's own name"
    done
    ;;
server)
    for name in "$@"; do
        check_name "$name"
        san_entry "$name" >/dev/null
    done
    ;;
renew) for name in "$@"; do [ "$name" = ca ] || check_name "$name"; done ;;
esac
san_list >/dev/null
begin_change
case $command in
'')
    if [ -f ca.crt ] && [ -z "$force" ]; then note "$out/ca.crt: kept"; else make_ca "$force"; fi
    # shellcheck disable=SC2046
    make_leaf broker server "$(san_list $(own_names))"
    make_leaf client client
    ;;
client)
    [ -f ca.crt ] || make_ca ""
    for name in "$@"; do make_leaf client "$name"; done
    ;;
server)
    [ -f ca.crt ] || make_ca ""
    # shellcheck disable=SC2046
    [ $# -gt 0 ] || make_leaf broker server "$(san_list $(own_names))"
    for name in "$@"; do make_leaf broker "$name" "$(san_list "$name")"; done
    ;;
renew) for name in "$@"; do renew "$name"; done ;;
revoke)
    need_ca_key
    for name in "$@"; do revoke "$name"; done
    write_crl
    ;;
crl) write_crl ;;
esac
[ -z "$hand_over" ] || chown -R "$hand_over" ca.db
