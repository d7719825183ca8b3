#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# pki.sh DIR [ec|rsa|fleet] [NCLIENTS] - a throw-away CA, a server certificate for loopback, one client certificate, and NCLIENTS of them
# in DIR/clients. ec: P-256 throughout; rsa: RSA-2048 throughout; fleet: CA and clients RSA-2048, the server P-256.
set -eu
d=${1:?usage: pki.sh DIR [ec|rsa|fleet] [NCLIENTS]}
kind=${2:-ec} n=${3:-0}
mkdir -p "$d/clients"
cd "$d"
case $kind in
ec) server=ec others=ec ;;
rsa) server=rsa others=rsa ;;
fleet) server=ec others=rsa ;;
*) echo "unknown kind $kind" >&2; exit 2 ;;
esac
key() { # file, ec or rsa
    case $2 in
    rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1" 2>/dev/null ;;
    ec) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" ;;
    esac
}
issue() { # name, kind, CN, usage, [san]
    key "$1.key" "$2"
    { echo "basicConstraints=CA:FALSE"; echo "extendedKeyUsage=$4"; echo "keyUsage=digitalSignature"
      [ -z "${5:-}" ] || echo "subjectAltName=$5"; } >"$1.ext"
    openssl req -new -key "$1.key" -subj "/O=mqload/CN=$3" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -sha256 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm -f "$1.csr" "$1.ext"
}
key ca.key "$others"
openssl req -x509 -new -key ca.key -sha256 -days 30 -subj "/O=mqload/CN=mqload test CA" -out ca.crt
issue server "$server" localhost serverAuth IP:127.0.0.1,DNS:localhost
issue client "$others" client clientAuth
i=0
while [ "$i" -lt "$n" ]; do
    issue "clients/$i" "$others" "client$i" clientAuth
    i=$((i + 1))
done
