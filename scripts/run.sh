#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh - start the built broker in the foreground with conf/sealmq.conf. Makes certificates if there are none.
# The lines to paste come first, so that the broker's own ready line is the last thing printed.
set -eu
cd "$(dirname "$0")/.."
for name in ca server client; do
    [ -f "certs/$name.crt" ] || { scripts/generate-certs.sh --out certs; break; }
done
port=$(awk '$1 == "listener" { print $2; exit }' conf/sealmq.conf)
client="-h localhost -p ${port:-8883} --cafile certs/ca.crt --cert certs/client.crt --key certs/client.key"
cat <<END

Once it is ready, in two other terminals, in $(pwd):

  mosquitto_sub $client -t 'demo/#' -v
  mosquitto_pub $client -t demo/hello -m 'hello, sealed world'

END
exec build/sealmqd -c conf/sealmq.conf
