#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# demo.sh - a broker, two members and a stranger on a sealed topic, each step with the command that does it. `make demo` calls it. Everything is in a
# temporary folder and ends with it. SEALMQD, SEALMQ: the programs; DEMO_PORT: where the broker listens (18883).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
broker=${SEALMQD:-$root/build/sealmqd} cli=${SEALMQ:-$root/build/sealmq} port=${DEMO_PORT:-18883}
work=$(mktemp -d "${TMPDIR:-/tmp}/sealmq-demo.XXXXXX")
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

say() { printf '\n# %s\n' "$*"; }
# as WHO COMMAND…: prints and runs sealmq as that client. Its certificate comes by the environment, as it would by ~/.config/sealmq/client.conf.
as() {
    who=$1
    shift
    printf '%s$ sealmq' "$who"
    for word; do case $word in *[!a-zA-Z0-9/_.=-]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac; done
    printf '\n'
    identity "$who" "$cli" "$@"
}
identity() {
    name=$1
    shift
    SEALMQ_CONFIG='' SEALMQ_STATE=pins.$name XDG_DATA_HOME=$work/keys.$name SEALMQ_HOST=localhost SEALMQ_PORT=$port SEALMQ_CAFILE=certs/ca.crt SEALMQ_CERT=certs/$name.crt SEALMQ_KEY=certs/$name.key "$@"
}
# What must fail does so; anything else ends the demo.
refused() { if "$@"; then echo "demo: this was to be refused"; exit 1; fi; }
# Waits for a line in a file.
await() {
    n=0
    until grep -q "$1" "$2" 2>/dev/null; do
        n=$((n + 1))
        [ $n -lt 200 ] || { echo "demo: '$1' has not come in $2:"; cat "$2"; exit 1; }
        sleep 0.1
    done
}

say "Certificates: who somebody is. alice owns topics, bob is a member, mallory is nobody in particular."
for name in alice bob mallory; do
    echo "\$ generate-certs.sh client $name"
    "$root/scripts/generate-certs.sh" --out certs client $name >certs.log 2>&1 || { cat certs.log; exit 1; }
done
"$root/scripts/generate-certs.sh" --out certs >certs.log 2>&1 || { cat certs.log; exit 1; }

say "A broker, with a store on disk. alice may create topics."
cat >broker.conf <<END
listener $port 127.0.0.1
cafile certs/ca.crt
certfile certs/server.crt
keyfile certs/server.key
require_certificate true
use_identity_as_username true
store lmdb
store_dir data
topic_admin alice
direct_messages 10
log_dest file broker.log
END
[ "$(id -u)" != 0 ] || echo "user root" >>broker.conf
cat broker.conf
echo "\$ sealmqd -c broker.conf &"
"$broker" -c broker.conf >broker.out 2>&1 &
pids=$!
n=0
until identity alice "$cli" sub -t demo/ready -E -W 2 --quiet >/dev/null 2>&1; do
    n=$((n + 1))
    [ $n -lt 50 ] && kill -0 "$pids" 2>/dev/null || { echo "demo: the broker does not start:"; cat broker.out broker.log 2>/dev/null; exit 1; }
    sleep 0.1
done

say "alice creates a sealed topic with two members. What is published there is kept."
as alice topic create plant/line1 --member alice --member bob --history 100

say "bob listens. Nobody tells him that the topic is sealed: he asks for its key, and gets it in an envelope for his certificate."
echo "bob\$ sealmq sub -t 'plant/line1/#' -F '%t  %c  %V  %p' &"
identity bob "$cli" sub -d -t 'plant/line1/#' -F '%t  %c  %V  %p' >bob.out 2>&1 &
pids="$pids $!"
await '^Subscribed' bob.out

say "alice publishes, twice; the second message is signed."
as alice pub -t plant/line1/temperature -m '21.5 degrees' -v
as alice pub -t plant/line1/temperature -m '22.0 degrees' --sign -v
await '22.0 degrees' bob.out
echo "bob has read:"
grep '^plant' bob.out

say "On the wire and on disk it is a sealed message. This is what goes through the broker (\$SEALED/…):"
as alice sub -t '$SEALED/plant/line1/#' --plain --history 1 -C 1 -F '%t  %x'
if grep -aq '22.0 degrees' data/*; then echo "demo: the text is in the store"; exit 1; fi
echo "(and the text '22.0 degrees' is nowhere in the store's files)"

say "What the envelope grants bob:"
as bob key open '$KEYS/plant/line1'

say "bob comes late: another program of his reads the past first."
as bob sub -t 'plant/line1/#' --history all -C 2 -F '%t  %c  %V  %p'

say "mallory has a good certificate, but is no member: refused."
refused as mallory sub -t 'plant/line1/#' -W 5
refused as mallory pub -t plant/line1/temperature -m 'all is well' --sealed
refused as mallory topic show plant/line1

say "alice removes bob. From her answer on he gets nothing new; the key changes."
as alice topic remove plant/line1 bob
as alice pub -t plant/line1/temperature -m '23.5 degrees' -v
refused as bob sub -t 'plant/line1/#' -W 5
if grep -q '23.5 degrees' bob.out; then echo "demo: bob has read it"; exit 1; fi
echo "(bob's program, still connected, has not got '23.5 degrees')"

say "alice reads all of it, under both keys."
as alice sub -t 'plant/line1/#' --history all -C 3 -F jsonl

say "A conversation: every line is signed, and shown under the name in the certificate. Here in pipes; on a terminal it is for people."
as alice topic create team --signatures required --history 100 --member alice --member bob
echo "bob\$ echo 'shall we?' | sealmq chat team"
echo 'shall we?' | identity bob "$cli" chat team >bob.chat
echo "alice\$ echo 'at noon' | sealmq chat team"
echo 'at noon' | identity alice "$cli" chat team >alice.chat
echo "alice has read:"
cat alice.chat
grep -q 'past	bob	shall we?' alice.chat || { echo "demo: alice has not seen the past"; exit 1; }

say "A message for bob alone, who is away. The broker keeps it, and cannot read it: the key is alice's."
as alice send bob -m 'the code is 4711'
if grep -aq 'code is 4711' data/*; then echo "demo: the text is in the store"; exit 1; fi
as bob inbox
refused as mallory sub -t direct/alice/bob -W 5

say "End to end: of this topic alice makes the keys herself, here. The broker hands out envelopes that it cannot open."
as alice topic create board --mode owner --member alice --member bob --history 10
as alice pub -t board -m 'nobody but members reads this' --sign -v
as bob sub -t board --history all -C 1 -F '%t  %c  %V  %p'
refused as mallory sub -t board -W 5
echo "alice's root key is on her machine, sealed under her private key:"
(cd "$work" && find keys.alice -type f -name '[0-9a-f]*')

say "bob leaves the board: alice makes a new key, and sends it to those who stay."
as alice topic remove board bob
as alice topic show board

say "What the broker's audit log says:"
grep 'audit' broker.log | tail -n 8 || echo "(no audit lines)"
say "done"
