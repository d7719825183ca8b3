#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# compare.sh - runs one list of scenarios against several running brokers in
# turn (A B, B A, A B, ...) and prints the ratios to the first one.
#
#   compare.sh [-r ROUNDS] [-d SECONDS] [-l LIST] [-o OUT.jsonl] NAME=PORT:PIDS[:PKIDIR] ...
#
#   PIDS    as for mqload --pid: 123 or 123,124 or @/run/broker.pid
#   PKIDIR  has ca.crt client.crt client.key (default: $PKI)
#   LIST    file of lines "name|mqload arguments"; a name that starts with "!"
#           runs in the first round only (idle: memory per connection is right
#           only while the broker's heap is still fresh)
# $MQLOAD is the generator (default build/mqload). A ratio above 1 is better than the first broker, for every metric: those
# where less is better (latency, memory, time) are turned over.
set -eu
load=${MQLOAD:-build/mqload}
rounds=3 dur=5 list='' out=$(mktemp /tmp/mqload-compare.XXXXXX)
while getopts r:d:l:o: o; do
    case $o in
    r) rounds=$OPTARG ;; d) dur=$OPTARG ;; l) list=$OPTARG ;; o) out=$OPTARG ;;
    *) sed -n '3,16p' "$0" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || { sed -n '3,16p' "$0" >&2; exit 2; }

scenarios() {
    if [ -n "$list" ]; then grep -v '^ *\(#\|$\)' "$list"; return; fi
    cat <<LIST
!idle-2k|idle --subs 2000 --duration 2
connect|connect --concurrency 32
connect-tls12|connect --concurrency 32 --tls 1.2
connect-resume|connect --concurrency 32 --resume
p2p-q0-64|p2p --qos 0
p2p-q0-1k|p2p --qos 0 --payload 1024
p2p-q0-64-single|p2p --qos 0 --batch 1
p2p-q1-64|p2p --qos 1
p2p-q1-1k|p2p --qos 1 --payload 1024
p2p-q2-64|p2p --qos 2
p2p-q1-rate|p2p --qos 1 --rate 5000
fanout-q0|fanout --subs 500
fanout-q1|fanout --subs 500 --qos 1 --window 4
fanin-q0|fanin --pubs 500
fanin-q1|fanin --pubs 500 --qos 1
share-q1|fanin --pubs 100 --subs 4 --share --qos 1
wild|wild --m 1000,10000,100000
retain-50k|retain --count 50000 --qos 1
durable|durable --rate 5000 --offline 1
LIST
}

: > "$out"
for ((r = 1; r <= rounds; r++)); do
    order=("$@")
    if ((r % 2 == 0)); then
        order=()
        for b in "$@"; do order=("$b" ${order[@]+"${order[@]}"}); done
    fi
    while IFS='|' read -r name args <&3; do
        case $name in '!'*) [ "$r" = 1 ] || continue ;; esac
        for b in "${order[@]}"; do
            IFS=: read -r port pids pki <<< "${b#*=}"
            pki=${pki:-${PKI:?no PKIDIR given and PKI is not set}}
            printf 'round %d  %-18s %s\n' "$r" "$name" "${b%%=*}" >&2
            # shellcheck disable=SC2086,SC2046
            line=$("$load" $(printf '%s' "$args" | sed 's/^\([^ ]*\)/\1 --duration '"$dur"'/') \
                --port "$port" --pid "$pids" --ca "$pki/ca.crt" --cert "$pki/client.crt" \
                --key "$pki/client.key" --json) || true
            [ -n "$line" ] || line='{"ok":0}'
            printf '%d\t%s\t%s\t%s\n' "$r" "${name#!}" "${b%%=*}" "$line" >> "$out"
        done
    done 3< <(scenarios)
done

names=; for b in "$@"; do names="$names ${b%%=*}"; done
awk -F'\t' -v names="$names" '
function median(a, n,   i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && a[j-1] > a[j]; j--) { t = a[j]; a[j] = a[j-1]; a[j-1] = t }
    return n ? (n % 2 ? a[(n+1)/2] : (a[n/2] + a[n/2+1]) / 2) : 0
}
function shown(k) {
    return k ~ /^(msgs_per_cpu_s|msg_s|lat_p99_us|hs_per_cpu_s|hs_s|rss_per_conn|ramp_conn_per_cpu_s|store_per_cpu_s|acked_per_cpu_s|deliver_all_ms|rss_per_retained|peak_rss_kb)$/ ||
           k ~ /^m[0-9]+_(cpu_us_per_pub|rss_per_sub|subscribe_us_cpu)$/
}
function less(k) { return k ~ /lat_|rss|_ms$|cpu_us|us_cpu/ }
BEGIN { nb = split(names, B, " ") }
{
    s = $2
    if (!(s in seen)) { seen[s] = 1; S[++ns] = s }
    j = $4; gsub(/[{}]/, "", j); n = split(j, F, ",")
    for (i = 1; i <= n; i++) {
        p = index(F[i], ":"); k = substr(F[i], 1, p - 1); gsub(/"/, "", k)
        v = substr(F[i], p + 1)
        if (k == "ok") { if (v != 1) bad[s, $3]++; continue }
        if (!shown(k)) continue
        if (!((s, k) in has)) { has[s, k] = 1; K[s, ++nk[s]] = k }
        V[s, k, $3, $1] = v + 0; if ($1 > R) R = $1
    }
}
END {
    printf "%-18s %-22s", "scenario", "metric"
    for (b = 1; b <= nb; b++) printf " %14s", B[b]
    for (b = 2; b <= nb; b++) printf " %14s", "x " B[b]
    print ""
    for (i = 1; i <= ns; i++) {
        s = S[i]
        for (m = 1; m <= nk[s]; m++) {
            k = K[s, m]; printf "%-18s %-22s", s, k
            for (b = 1; b <= nb; b++) {
                n = 0; for (r = 1; r <= R; r++) if ((s, k, B[b], r) in V) a[++n] = V[s, k, B[b], r]
                printf " %14.1f", median(a, n)
            }
            for (b = 2; b <= nb; b++) {
                n = 0
                for (r = 1; r <= R; r++) {
                    if (!((s, k, B[1], r) in V) || !((s, k, B[b], r) in V)) continue
                    x = V[s, k, B[1], r]; y = V[s, k, B[b], r]
                    if (less(k)) { t = x; x = y; y = t }
                    if (x > 0 && y > 0) a[++n] = y / x
                }
                if (n) printf " %14.3f", median(a, n); else printf " %14s", "-"
            }
            print ""
        }
        for (b = 1; b <= nb; b++)
            if (bad[s, B[b]]) printf "%-18s CHECKS FAILED in %d run(s) of %s\n", s, bad[s, B[b]], B[b]
    }
}' "$out"
echo "raw results: $out" >&2
