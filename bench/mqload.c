/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mqload - load generator for MQTT 3.1.1 brokers over (mutual) TLS.
 *
 * OpenSSL 3 + epoll, one process, one event loop per worker thread, a
 * controller (the main thread) that drives the scenario step by step.  See
 * README.md for the scenarios, the metrics and the known limits.
 *
 * Layout: options | small helpers | /proc sampling | MQTT encoding | message
 * tracking | connections | publishers | packet handling | event loop |
 * controller helpers | scenarios | reporting | main.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define NS 1000000000ull
#define HDR 24                  /* payload header: run, pub, seq, timestamp */
#define MAX_PIDS 32             /* broker processes */
#define MAX_THREADS 64
#define OUT_SOFT (256u << 10)   /* stop filling a connection above this */
#define WILD_MAXCONN 64
#define SRC_ADDRS 16            /* 127.0.0.1 .. for the connect scenario */

/* ---------------------------------------------------------------- options */

enum scen { P2P, FANOUT, FANIN, CONNECT, IDLE, WILD, RETAIN, DURABLE, FLOOD, CHURN, PAST, NSCEN };
static const char *scen_name[NSCEN] = { "p2p", "fanout", "fanin", "connect",
    "idle", "wild", "retain", "durable", "flood", "churn", "past" };

enum credit { CR_NONE, CR_E2E, CR_ACK, CR_PING };  /* closed-loop flow control */

static struct {
    enum scen scen;
    const char *host, *ca, *cert, *key, *cert_dir, *cipher, *groups, *sni;
    const char *kill_cmd, *restart_cmd, *label, *mlist, *pidspec, *prefix, *tls_s;
    int port, tls, threads, pubs, subs, pairs, qos, subqos, payload, window;
    int batch, concurrency, keepalive, per_src, source;
    double rate, duration, warmup, drain, offline, kill_at, timeout;
    u64 count;
    bool plain, resume, json, share, online, keep, verbose, lowmem, on_signal;
} O = {
    .host = "127.0.0.1", .port = 8883, .threads = 1, .subqos = -1,
    .payload = 64, .window = 0, .batch = 0, .concurrency = 64,
    .keepalive = 3600, .per_src = 25000, .duration = 10, .warmup = 1,
    .drain = 5, .kill_at = -1, .timeout = 60, .prefix = "mqload",
};

/* ---------------------------------------------------------------- helpers */

static u64 now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * NS + (u64)ts.tv_nsec;
}

static void sleep_s(double s)
{
    struct timespec ts = { (time_t)s, (long)((s - (double)(time_t)s) * 1e9) };
    while (nanosleep(&ts, &ts) && errno == EINTR)
        ;
}

/* SIGINT and SIGTERM end the measured window early, the report is still made; SIGUSR1 begins it with --on-signal. */
static volatile sig_atomic_t told_to_end, told_to_begin;
static void on_end(int sig)
{
    if (sig == SIGUSR1)
        told_to_begin = 1;
    else
        told_to_end = 1;
}

static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("mqload: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void *xcalloc(size_t n, size_t sz)
{
    void *p = calloc(n ? n : 1, sz);
    if (!p)
        die("out of memory");
    return p;
}

static void *xrealloc(void *p, size_t n)
{
    if (!(p = realloc(p, n)))
        die("out of memory");
    return p;
}

/* Counters are written by one thread and read by the controller. */
#define ADD(x, n) __atomic_store_n(&(x), (x) + (n), __ATOMIC_RELAXED)
#define INC(x) ADD(x, 1)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define GET(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

static u64 rnd(u64 *s)          /* xorshift64* */
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * 2685821657736338717ull;
}

/* Log histogram: 64 linear steps in each power of two, error below 1.6 %. */
#define HB (64 * 60)
typedef struct { u64 n, max, b[HB]; } hist;

static unsigned hist_slot(u64 v)
{
    if (v < 64)
        return (unsigned)v;
    unsigned e = 63u - (unsigned)__builtin_clzll(v);
    return (e - 5) * 64 + (unsigned)((v >> (e - 6)) & 63);
}

static u64 hist_value(unsigned i)
{
    return i < 64 ? i : (64ull + i % 64) << (i / 64 - 1);
}

static void hist_add(hist *h, u64 v)
{
    h->n++;
    h->b[hist_slot(v)]++;
    if (v > h->max)
        h->max = v;
}

static void hist_merge(hist *d, const hist *s)
{
    d->n += s->n;
    if (s->max > d->max)
        d->max = s->max;
    for (int i = 0; i < HB; i++)
        d->b[i] += s->b[i];
}

static double hist_us(const hist *h, double q)
{
    u64 want = (u64)(q * (double)h->n + 0.5), c = 0;
    for (unsigned i = 0; i < HB && h->n; i++)
        if ((c += h->b[i]) >= want && c)
            return (double)hist_value(i) / 1e3;
    return 0;
}

/* Growing bit set of sequence numbers. */
typedef struct { u8 *b; size_t cap; } bits;

static bool bits_set(bits *m, u64 i)    /* returns the old value */
{
    size_t byte = (size_t)(i >> 3);
    if (byte >= m->cap) {
        size_t n = m->cap ? m->cap * 2 : 16;
        while (n <= byte)
            n *= 2;
        m->b = xrealloc(m->b, n);
        memset(m->b + m->cap, 0, n - m->cap);
        m->cap = n;
    }
    u8 bit = (u8)(1u << (i & 7)), old = m->b[byte] & bit;
    m->b[byte] |= bit;
    return old;
}

static bool bits_get(const bits *m, u64 i)
{
    size_t byte = (size_t)(i >> 3);
    return byte < m->cap && (m->b[byte] >> (i & 7) & 1);
}

/* ----------------------------------------------------------- /proc sampling */

static int npids;
static pid_t pids[MAX_PIDS];

/* --pid 12,13 or --pid @pidfile; read again after the broker was restarted. */
static void pids_load(void)
{
    npids = 0;
    if (!O.pidspec)
        return;
    char buf[1024], *save = NULL;
    snprintf(buf, sizeof buf, "%s", O.pidspec);
    for (char *s = strtok_r(buf, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
        long v = 0;
        if (*s == '@') {
            FILE *f = fopen(s + 1, "r");
            if (!f || fscanf(f, "%ld", &v) != 1)
                v = 0;
            if (f)
                fclose(f);
        } else {
            v = atol(s);
        }
        if (v > 0 && npids < MAX_PIDS)
            pids[npids++] = (pid_t)v;
    }
}

typedef struct { double user, sys, total; } cpu_t;

/* utime and stime have 10 ms steps; their sum is also to be had in ns, through
 * the CPU clock of the process (all threads, those that ended included). */
static cpu_t broker_cpu(void)
{
    static long hz;
    cpu_t r = { 0, 0, 0 };
    if (!hz)
        hz = sysconf(_SC_CLK_TCK);
    for (int i = 0; i < npids; i++) {
        char path[64], buf[1024], *p;
        unsigned long ut, st;
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pids[i]);
        FILE *f = fopen(path, "r");
        if (!f)
            continue;
        size_t n = fread(buf, 1, sizeof buf - 1, f);
        fclose(f);
        buf[n] = 0;
        if ((p = strrchr(buf, ')')) && sscanf(p + 2,
            "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ut, &st) == 2) {
            clockid_t clk;
            struct timespec ts;
            r.user += (double)ut / (double)hz;
            r.sys += (double)st / (double)hz;
            if (!clock_getcpuclockid(pids[i], &clk) && !clock_gettime(clk, &ts))
                r.total += (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
            else
                r.total += (double)(ut + st) / (double)hz;
        }
    }
    return r;
}

static double proc_kb(const char *file, const char *field)  /* sum over pids */
{
    double sum = 0;
    for (int i = 0; i < npids; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/%s", (int)pids[i], file);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            if (!strncmp(line, field, strlen(field)))
                sum += atof(line + strlen(field));
        if (f)
            fclose(f);
    }
    return sum;
}

static void reset_peak_rss(void)
{
    for (int i = 0; i < npids; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pids[i]);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (write(fd, "5", 1) < 0) { /* old kernel: peak is since start */ }
            close(fd);
        }
    }
}

static double own_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
        (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* ------------------------------------------------------------ main objects */

enum { ST_NONE, ST_TCP, ST_TLS, ST_MQTT, ST_SUB, ST_READY, ST_BYE };
enum { G_SUB, G_PUB, NGRP };

struct thread;
struct pub;
struct sub;

typedef struct conn {
    struct thread *t;
    struct pub *pub;
    struct sub *sub;
    SSL *ssl;
    SSL_SESSION *sess;              /* only with --resume */
    char *out;                      /* bytes not yet written: [off, len) */
    u8 *in;                         /* partial packet */
    u8 *q2;                         /* QoS 2 packet ids received, not released */
    struct conn *qnext;             /* ramp queue */
    struct conn *hprev, *hnext;     /* connections with a deadline */
    u64 t_start, t_next;
    u32 outlen, outoff, outcap, inlen, id, sub_next, subacks;
    int fd;
    u32 ev;
    u16 pid;
    u8 state, grp, dirty, clean, reconnect, on_deadline, present;
    char cid[32], filter[64];
} conn;

typedef struct pub {
    conn *c;
    struct thread *t;
    u64 sent, acked, limit, rng;
    _Atomic u64 delivered;          /* counted by subscribers (CR_E2E) */
    u64 forgiven, seen_delivered, seen_at;  /* stall breaker */
    u64 pinged, pings, pings_sent;  /* CR_PING: messages behind a PINGREQ */
    u64 expect, expect_copies;      /* wild: deliveries due */
    u32 id, cap, copies;
    bool queued, out_blocked;
    _Atomic bool blocked;
    struct slot { u64 seq, ts; u16 pid; u8 state; } *slots;   /* unacked */
    bits ackmap;                    /* durable: which seq were acked */
    char topic[64];
} pub;

typedef struct { u64 next, distinct; bits own, *seen; } stream;
typedef struct sub { conn *c; u32 base, n, idx; stream *s; } sub;

typedef struct {
    u64 sent, acked, rx, rxbytes, dup, ooo, corrupt, alien, spurious, noretain;
    u64 badack, hs, resumed, disc, errors, bye_timeouts, stalls, ready[NGRP];
    u64 last_rx, first_rx, not_present;
} stats;

typedef struct thread {
    pthread_t th;
    int id, ep, efd;
    conn *rq_head, *rq_tail, *dl_head, *dl_tail;
    u32 inflight_hs;
    conn **dirty;
    u32 ndirty, dirtycap;
    pub **pubs, **readyq;
    u32 npubs, nready;
    u8 *rbuf;
    size_t rcap;
    u64 now, t0, issued, maxlag, next_timer;
    bool running, quit;
    void (*_Atomic cmd)(struct thread *, void *);
    void *arg;
    stats s;
    hist lat, late;              /* late: with --rate, how long after they were due messages were written */
} thread;

static thread *T;
static conn *conns;
static pub *pubs;
static sub *subs;
static u32 nconns, npubs, nsubs, run_id;
static _Atomic u64 started;         /* connections, with --count */
static enum credit credit_mode;
static _Atomic bool measuring;
static SSL_CTX *ctx;
static u8 *filler;
static pthread_mutex_t share_mu = PTHREAD_MUTEX_INITIALIZER;
static X509 **cert_x;
static EVP_PKEY **cert_k;
static u32 ncerts;
static struct sockaddr_in dst;
static char tls_desc[96] = "plain";

static void kick(thread *t)
{
    u64 one = 1;
    if (write(t->efd, &one, 8) < 0 && errno != EAGAIN)
        die("eventfd: %s", strerror(errno));
}

/* ----------------------------------------------------------- MQTT encoding */

static u8 *out_reserve(conn *c, size_t n)
{
    if (c->outlen + n > c->outcap) {
        if (c->outoff) {
            memmove(c->out, c->out + c->outoff, c->outlen - c->outoff);
            c->outlen -= c->outoff;
            c->outoff = 0;
        }
        if (c->outlen + n > c->outcap) {
            u32 cap = c->outcap ? c->outcap : 512;
            while (cap < c->outlen + n)
                cap *= 2;
            c->out = xrealloc(c->out, cap);
            c->outcap = cap;
        }
    }
    u8 *p = (u8 *)c->out + c->outlen;
    c->outlen += (u32)n;
    if (!c->dirty) {
        thread *t = c->t;
        if (t->ndirty == t->dirtycap)
            t->dirty = xrealloc(t->dirty, (t->dirtycap = t->dirtycap * 2 + 64) * sizeof *t->dirty);
        t->dirty[t->ndirty++] = c;
        c->dirty = 1;
    }
    return p;
}

static u8 *put16(u8 *p, u32 v) { p[0] = (u8)(v >> 8); p[1] = (u8)v; return p + 2; }

static u8 *put_str(u8 *p, const char *s, size_t n)
{
    p = put16(p, (u32)n);
    memcpy(p, s, n);
    return p + n;
}

static u8 *put_len(u8 *p, size_t n)
{
    do {
        *p++ = (u8)((n & 127) | (n > 127 ? 128 : 0));
    } while (n >>= 7);
    return p;
}

static size_t len_size(size_t n) { return n < 128 ? 1 : n < 16384 ? 2 : n < 2097152 ? 3 : 4; }

static void send_connect(conn *c)
{
    size_t n = strlen(c->cid), rl = 12 + n;
    u8 *p = out_reserve(c, 1 + len_size(rl) + rl);
    *p++ = 0x10;
    p = put_len(p, rl);
    p = put_str(p, "MQTT", 4);
    *p++ = 4;
    *p++ = c->clean ? 2 : 0;
    p = put16(p, (u32)O.keepalive);
    put_str(p, c->cid, n);
}

static void send_ack(conn *c, u8 type, u16 pid)
{
    u8 *p = out_reserve(c, 4);
    p[0] = type;
    p[1] = 2;
    put16(p + 2, pid);
}

static void send_simple(conn *c, u8 type)
{
    u8 *p = out_reserve(c, 2);
    p[0] = type;
    p[1] = 0;
}

/* plen 0 clears a retained message; otherwise the payload starts with HDR. */
static void send_publish(conn *c, u8 flags, const char *topic, size_t tlen, u16 pid,
                         u32 pubid, u64 seq, u64 ts, size_t plen)
{
    size_t rl = 2 + tlen + (flags & 6 ? 2 : 0) + plen;
    u8 *p = out_reserve(c, 1 + len_size(rl) + rl);
    *p++ = 0x30 | flags;
    p = put_len(p, rl);
    p = put_str(p, topic, tlen);
    if (flags & 6)
        p = put16(p, pid);
    if (plen) {
        memcpy(p, &run_id, 4);
        memcpy(p + 4, &pubid, 4);
        memcpy(p + 8, &seq, 8);
        memcpy(p + 16, &ts, 8);
        memcpy(p + HDR, filler, plen - HDR);
    }
}

static void send_subscribe1(conn *c, const char *filter, int qos)
{
    size_t n = strlen(filter), rl = 2 + 2 + n + 1;
    u8 *p = out_reserve(c, 1 + len_size(rl) + rl);
    *p++ = 0x82;
    p = put_len(p, rl);
    p = put16(p, 1);
    p = put_str(p, filter, n);
    *p = (u8)qos;
}

/* ------------------------------------------ wild: filters and expectations */

/* Topic prefix/w/A/B/C/D with levels in [0, k).  A filter is one of five
 * shapes; k grows with the cube root of M so that the number of matches per
 * message stays about the same (1.6) while the tree grows. */
enum { F_EXACT, F_D_PLUS, F_C_HASH, F_B_PLUS, F_A_PLUS, F_SHAPES };
static u32 wild_k, wild_nsub;
static u64 wild_m, wild_mask;
static struct went { u64 key, conns; } *wild_tab;
static u64 **wild_of;               /* per subscriber: its filter keys */
static u32 *wild_cnt;

static u64 wild_key(int shape, const u32 *l)
{
    u64 a = l[0], b = l[1], c = l[2], d = l[3];
    if (shape == F_D_PLUS || shape == F_C_HASH)
        d = 0;
    if (shape == F_B_PLUS)
        b = 0;
    if (shape == F_A_PLUS)
        a = 0;
    return (u64)(shape + 1) << 60 | a << 45 | b << 30 | c << 15 | d;
}

static struct went *wild_find(u64 key)
{
    u64 h = key * 0x9E3779B97F4A7C15ull;
    for (u64 i = h >> 20;; i++) {
        struct went *e = &wild_tab[i & wild_mask];
        if (!e->key || e->key == key)
            return e;
    }
}

static u64 wild_match(const u32 *l, u32 *copies)
{
    u64 m = 0;
    u32 n = 0;
    for (int s = 0; s < F_SHAPES; s++) {
        struct went *e = wild_find(wild_key(s, l));
        m |= e->conns;
        n += (u32)__builtin_popcountll(e->conns);
    }
    if (copies)
        *copies = n;
    return m;
}

static int wild_filter(char *buf, size_t cap, u64 key)
{
    u32 a = key >> 45 & 32767, b = key >> 30 & 32767, c = key >> 15 & 32767, d = key & 32767;
    switch ((int)(key >> 60) - 1) {
    case F_D_PLUS: return snprintf(buf, cap, "%s/w/%u/%u/%u/+", O.prefix, a, b, c);
    case F_C_HASH: return snprintf(buf, cap, "%s/w/%u/%u/%u/#", O.prefix, a, b, c);
    case F_B_PLUS: return snprintf(buf, cap, "%s/w/%u/+/%u/%u", O.prefix, a, c, d);
    case F_A_PLUS: return snprintf(buf, cap, "%s/w/+/%u/%u/%u", O.prefix, b, c, d);
    default: return snprintf(buf, cap, "%s/w/%u/%u/%u/%u", O.prefix, a, b, c, d);
    }
}

static void wild_build(u64 m, u32 nsub)
{
    static const u8 shape_of[20] = {    /* 60 % exact, 40 % wildcards */
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, F_D_PLUS, F_D_PLUS, F_D_PLUS,
        F_C_HASH, F_C_HASH, F_B_PLUS, F_B_PLUS, F_A_PLUS };
    u64 seed = 88172645463325252ull, cap = 64;      /* same set in every run */
    wild_m = m;
    wild_nsub = nsub;
    for (wild_k = 2; (u64)wild_k * wild_k * wild_k * 4 < m; wild_k++)
        ;
    while (cap < m * 2)
        cap *= 2;
    free(wild_tab);
    wild_tab = xcalloc(cap, sizeof *wild_tab);
    wild_mask = cap - 1;
    wild_of = xrealloc(wild_of, nsub * sizeof *wild_of);
    wild_cnt = xrealloc(wild_cnt, nsub * sizeof *wild_cnt);
    memset(wild_cnt, 0, nsub * sizeof *wild_cnt);
    for (u32 i = 0; i < nsub; i++)
        wild_of[i] = xcalloc(m / nsub + 1, sizeof(u64));
    for (u64 i = 0; i < m;) {
        u32 l[4], s = (u32)(i % nsub);
        u64 r = rnd(&seed);
        for (int j = 0; j < 4; j++)
            l[j] = (u32)(rnd(&seed) >> 33) % wild_k;
        struct went *e = wild_find(wild_key(shape_of[(r >> 40) % 20], l));
        if (e->conns >> s & 1)
            continue;
        e->key = wild_key(shape_of[(r >> 40) % 20], l);
        e->conns |= 1ull << s;
        wild_of[s][wild_cnt[s]++] = e->key;
        i++;
    }
}

/* SUBSCRIBE packets of up to 50 filters, at most 8 waiting for a SUBACK. */
static void wild_subscribe(conn *c)
{
    u32 me = c->sub->idx;
    while (c->sub_next < wild_cnt[me] && c->subacks < 8) {
        u8 tmp[50 * 80], *p = tmp;
        for (int i = 0; i < 50 && c->sub_next < wild_cnt[me]; i++) {
            char f[80];
            int n = wild_filter(f, sizeof f, wild_of[me][c->sub_next++]);
            p = put_str(p, f, (size_t)n);
            *p++ = (u8)O.subqos;
        }
        size_t rl = (size_t)(p - tmp) + 2;
        u8 *q = out_reserve(c, 1 + len_size(rl) + rl);
        *q++ = 0x82;
        q = put_len(q, rl);
        q = put16(q, ++c->subacks);
        memcpy(q, tmp, (size_t)(p - tmp));
    }
}

/* ------------------------------------------------------------- publishers */

static void pub_ready(pub *p)
{
    if (!p->queued) {
        p->queued = true;
        p->t->readyq[p->t->nready++] = p;
    }
}

static u16 pid_alloc(pub *p, u64 seq, u64 ts)
{
    conn *c = p->c;
    for (u32 i = 0; i < p->cap; i++) {
        if (++c->pid == 0)
            c->pid = 1;
        struct slot *s = &p->slots[c->pid & (p->cap - 1)];
        if (!s->state) {
            *s = (struct slot){ seq, ts, c->pid, 1 };
            return c->pid;
        }
    }
    return 0;
}

static struct slot *pid_find(pub *p, u16 pid)
{
    struct slot *s = p->slots ? &p->slots[pid & (p->cap - 1)] : NULL;
    return s && s->state && s->pid == pid ? s : NULL;
}

static int pub_topic(pub *p, u64 seq, char *buf, size_t cap)
{
    u32 l[4], n;
    switch (O.scen) {
    case IDLE:
        return snprintf(buf, cap, "%s/idle/%u", O.prefix, (u32)seq);
    case RETAIN:
        return snprintf(buf, cap, "%s/ret/%u/%u/%u", O.prefix, p->id, (u32)(seq / 1000), (u32)(seq % 1000));
    case WILD:
        for (int i = 0; i < 4; i++)
            l[i] = (u32)(rnd(&p->rng) >> 33) % wild_k;
        ADD(p->expect, (u32)__builtin_popcountll(wild_match(l, &n)));
        ADD(p->expect_copies, n);
        return snprintf(buf, cap, "%s/w/%u/%u/%u/%u", O.prefix, l[0], l[1], l[2], l[3]);
    default:
        memcpy(buf, p->topic, sizeof p->topic);
        return (int)strlen(p->topic);
    }
}

static void pub_ping(pub *p)
{
    INC(p->pings_sent);
    send_simple(p->c, 0xC0);
}

static bool pub_send(pub *p, u64 ts)
{
    char topic[96];
    u64 seq = p->sent;
    u16 pid = 0;
    if (O.qos && !(pid = pid_alloc(p, seq, ts)))
        return false;
    int n = pub_topic(p, seq, topic, sizeof topic);
    u8 flags = (u8)(O.qos << 1 | (O.scen == RETAIN));
    send_publish(p->c, flags, topic, (size_t)n, pid, p->id, seq, ts, (size_t)O.payload);
    INC(p->sent);
    INC(p->t->s.sent);
    if (credit_mode == CR_PING && p->sent - p->pinged >= (u64)(O.window + 1) / 2) {
        p->pinged = p->sent;
        pub_ping(p);
    }
    return true;
}

static u64 pub_inflight(pub *p)
{
    u64 done = p->acked;
    switch (credit_mode) {
    case CR_E2E: {
        u64 d = atomic_load_explicit(&p->delivered, memory_order_relaxed) / p->copies + p->forgiven;
        if (!O.qos || d < done)
            done = d;
        break;
    }
    case CR_PING:
        done = p->pings * (u64)((O.window + 1) / 2);
        break;
    case CR_NONE:
        return 0;
    case CR_ACK:
        break;
    }
    return done < p->sent ? p->sent - done : 0;
}

/* Closed loop: send what the window allows, all into one output buffer. */
static void pub_fill(thread *t, pub *p)
{
    conn *c = p->c;
    if (!t->running || c->state != ST_READY || O.rate > 0)
        return;
    u64 fl = pub_inflight(p), w = (u64)O.window;
    bool room = credit_mode == CR_NONE || fl + (u64)O.batch <= w;
    if (!room)
        atomic_store(&p->blocked, true);
    if (!room && O.threads > 1) {       /* a delivery may have slipped in */
        fl = pub_inflight(p);
        room = fl + (u64)O.batch <= w;
    }
    if (!room)
        return;
    atomic_store(&p->blocked, false);
    u64 n = credit_mode == CR_NONE ? UINT64_MAX : w - fl, ts = now_ns();
    p->out_blocked = false;
    for (; n && p->sent < p->limit; n--) {
        if (c->outlen - c->outoff > OUT_SOFT) {
            p->out_blocked = true;
            return;
        }
        if (!pub_send(p, ts))
            return;
    }
    atomic_store(&p->blocked, p->sent < p->limit);
}

/* Open loop: messages are stamped with the time they were due. */
static void pub_pace(thread *t)
{
    if (!t->running || O.rate <= 0 || !t->npubs)
        return;
    double per_ns = O.rate * t->npubs / npubs / 1e9;
    u64 due = (u64)((double)(t->now - t->t0) * per_ns) + 1; /* the first one at t0 */
    while (t->issued < due) {
        pub *p = t->pubs[t->issued % t->npubs];
        u64 at = t->t0 + (u64)((double)t->issued / per_ns);
        if (p->c->state != ST_READY || p->c->outlen - p->c->outoff > 4 * OUT_SOFT || p->sent >= p->limit || !pub_send(p, at))
            break;
        if (atomic_load_explicit(&measuring, memory_order_relaxed))
            hist_add(&t->late, t->now > at ? t->now - at : 0);
        t->issued++;
    }
    if (due - t->issued > t->maxlag)
        t->maxlag = due - t->issued;
}

static int slot_cmp(const void *a, const void *b)
{
    u64 x = (*(struct slot *const *)a)->seq, y = (*(struct slot *const *)b)->seq;
    return x < y ? -1 : x > y;
}

/* After a reconnect: repeat everything unacknowledged, in order. */
static void pub_resend(pub *p)
{
    u32 n = 0;
    struct slot **v = xcalloc(p->cap, sizeof *v);
    for (u32 i = 0; i < p->cap; i++)
        if (p->slots[i].state)
            v[n++] = &p->slots[i];
    qsort(v, n, sizeof *v, slot_cmp);
    for (u32 i = 0; i < n; i++)
        if (v[i]->state == 2)
            send_ack(p->c, 0x62, v[i]->pid);
        else
            send_publish(p->c, (u8)(8 | O.qos << 1), p->topic, strlen(p->topic), v[i]->pid,
                         p->id, v[i]->seq, now_ns(), (size_t)O.payload);
    free(v);
}

static void pub_acked(pub *p, struct slot *s)
{
    s->state = 0;
    INC(p->acked);
    INC(p->t->s.acked);
    if (O.scen == DURABLE)
        bits_set(&p->ackmap, s->seq);
    if (O.scen == PAST && atomic_load_explicit(&measuring, memory_order_relaxed))
        hist_add(&p->t->lat, now_ns() - s->ts);
    pub_ready(p);
}

/* ------------------------------------------------------------ connections */

static void conn_fail(conn *c, const char *why);
static void conn_flush(conn *c);

static void set_ev(conn *c, u32 ev)
{
    struct epoll_event e = { .events = ev, .data.ptr = c };
    if (c->ev == ev)
        return;
    if (epoll_ctl(c->t->ep, c->ev ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e))
        die("epoll_ctl: %s", strerror(errno));
    c->ev = ev;
}

static void ramp_push(conn *c, u64 not_before)
{
    thread *t = c->t;
    c->t_next = not_before;
    c->qnext = NULL;
    if (t->rq_tail)
        t->rq_tail->qnext = c;
    else
        t->rq_head = c;
    t->rq_tail = c;
}

static void deadline_on(conn *c)
{
    thread *t = c->t;
    if (c->on_deadline)
        return;
    c->on_deadline = 1;
    c->hnext = NULL;
    c->hprev = t->dl_tail;
    if (t->dl_tail)
        t->dl_tail->hnext = c;
    else
        t->dl_head = c;
    t->dl_tail = c;
    t->inflight_hs++;
}

static void deadline_off(conn *c)
{
    thread *t = c->t;
    if (!c->on_deadline)
        return;
    c->on_deadline = 0;
    *(c->hprev ? &c->hprev->hnext : &t->dl_head) = c->hnext;
    *(c->hnext ? &c->hnext->hprev : &t->dl_tail) = c->hprev;
    t->inflight_hs--;
}

/* connect and churn: a connection that ended starts again, until --count of them were started. */
static bool again(thread *t)
{
    return (O.scen == CONNECT || O.scen == CHURN) && t->running &&
        (!O.count || atomic_load(&started) < O.count);
}

static void conn_close(conn *c)
{
    thread *t = c->t;
    if (c->fd < 0)
        return;
    if (c->state == ST_READY)
        ADD(t->s.ready[c->grp], (u64)-1);
    deadline_off(c);
    if (c->ssl) {
        SSL_set_quiet_shutdown(c->ssl, 1);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    close(c->fd);
    SET(c->fd, -1);
    c->ev = 0;
    c->state = ST_NONE;
    free(c->out);
    free(c->in);
    c->out = NULL;
    c->in = NULL;
    c->outlen = c->outoff = c->outcap = c->inlen = c->sub_next = c->subacks = 0;
    if (again(t))
        ramp_push(c, 0);
    else if (c->reconnect)
        ramp_push(c, now_ns() + NS / 20);
}

static void conn_fail(conn *c, const char *why)
{
    thread *t = c->t;
    static _Atomic int shown;
    if (c->state == ST_READY)
        INC(t->s.disc);
    else if (c->state != ST_BYE)
        INC(t->s.errors);
    if (c->state != ST_BYE && !c->reconnect && (O.verbose || atomic_fetch_add(&shown, 1) < 5)) {
        char e[160] = "";
        if (ERR_peek_error())
            ERR_error_string_n(ERR_peek_error(), e, sizeof e);
        fprintf(stderr, "mqload: conn %u (%s) state %d: %s %s\n", c->id, c->cid, c->state, why, e);
    }
    ERR_clear_error();
    if ((O.scen == CONNECT || O.scen == CHURN) && t->running && c->state < ST_MQTT) {
        conn_close(c);              /* back off: do not spin on a dead broker */
        c->t_next = now_ns() + NS / 10;
        return;
    }
    conn_close(c);
}

static void conn_start(conn *c)
{
    static _Atomic u32 turn;
    int one = 1;
    bool ends = O.scen == CONNECT || O.scen == CHURN;
    u32 src = ends ? turn++ % SRC_ADDRS : (u32)O.source + c->id / (u32)O.per_src;
    u64 nth = atomic_fetch_add(&started, 1);
    if (O.scen == CHURN)            /* every fourth leaves its session behind, the next one of the same name ends it */
        c->clean = nth % 4 != 0;
    SET(c->fd, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (c->fd < 0)
        die("socket: %s (connection %u; raise ulimit -n)", strerror(errno), c->id);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (src && ntohl(dst.sin_addr.s_addr) >> 24 == 127) {
        struct sockaddr_in a = { .sin_family = AF_INET };
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + src);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (struct sockaddr *)&a, sizeof a))
            die("bind 127.0.0.%u: %s", src + 1, strerror(errno));
    }
    c->t_start = now_ns();
    c->state = ST_TCP;
    deadline_on(c);
    if (connect(c->fd, (struct sockaddr *)&dst, sizeof dst) && errno != EINPROGRESS)
        conn_fail(c, strerror(errno));
    else
        set_ev(c, EPOLLOUT);
}

static void conn_ready(conn *c)
{
    c->state = ST_READY;
    deadline_off(c);
    INC(c->t->s.ready[c->grp]);
    if (O.scen == CHURN) {          /* one message to itself; it leaves when that has come */
        send_publish(c, (u8)(O.qos << 1), c->filter, strlen(c->filter), 1, c->id, 0, c->t_start, (size_t)O.payload);
        INC(c->t->s.sent);
    }
    if (c->pub) {
        if (O.scen == DURABLE)
            pub_resend(c->pub);
        pub_ready(c->pub);
    }
}

static void conn_bye(conn *c)       /* DISCONNECT, close_notify, wait for EOF */
{
    if (c->state == ST_READY)
        ADD(c->t->s.ready[c->grp], (u64)-1);
    if (c->state < ST_MQTT) {
        conn_close(c);
        return;
    }
    send_simple(c, 0xE0);
    conn_flush(c);
    if (c->fd < 0)
        return;
    c->state = ST_BYE;
    deadline_off(c);
    deadline_on(c);
    c->t_next = now_ns() + 5 * NS;
    if (c->ssl)
        SSL_shutdown(c->ssl);
    else
        shutdown(c->fd, SHUT_WR);
}

static void conn_handshake(conn *c)
{
    ERR_clear_error();
    int r = SSL_connect(c->ssl);
    if (r == 1) {
        thread *t = c->t;
        if (SSL_session_reused(c->ssl))
            INC(t->s.resumed);
        if (!c->id && tls_desc[0] == 'p')
            snprintf(tls_desc, sizeof tls_desc, "%s %s", SSL_get_version(c->ssl), SSL_get_cipher(c->ssl));
        c->state = ST_MQTT;
        send_connect(c);
        set_ev(c, EPOLLIN);
        return;
    }
    switch (SSL_get_error(c->ssl, r)) {
    case SSL_ERROR_WANT_READ: set_ev(c, EPOLLIN); break;
    case SSL_ERROR_WANT_WRITE: set_ev(c, EPOLLOUT); break;
    default: conn_fail(c, "TLS handshake");
    }
}

static void conn_tcp_up(conn *c)
{
    int err = 0;
    socklen_t n = sizeof err;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n);
    if (err) {
        conn_fail(c, strerror(err));
        return;
    }
    if (O.plain) {
        c->state = ST_MQTT;
        send_connect(c);
        set_ev(c, EPOLLIN);
        return;
    }
    if (!(c->ssl = SSL_new(ctx)) || !SSL_set_fd(c->ssl, c->fd))
        die("SSL_new");
    SSL_set_app_data(c->ssl, c);
    if (O.sni)
        SSL_set_tlsext_host_name(c->ssl, O.sni);
    if (ncerts) {
        SSL_use_certificate(c->ssl, cert_x[c->id % ncerts]);
        SSL_use_PrivateKey(c->ssl, cert_k[c->id % ncerts]);
    }
    if (c->sess)
        SSL_set_session(c->ssl, c->sess);
    c->state = ST_TLS;
    conn_handshake(c);
}

static int on_new_session(SSL *ssl, SSL_SESSION *s)
{
    conn *c = SSL_get_app_data(ssl);
    SSL_SESSION_free(c->sess);
    c->sess = s;
    return 1;
}

static void conn_flush(conn *c)
{
    c->dirty = 0;
    if (c->fd < 0 || c->state < ST_MQTT)
        return;
    while (c->outoff < c->outlen) {
        u32 n = c->outlen - c->outoff;
        int r;
        if (c->ssl) {
            r = SSL_write(c->ssl, c->out + c->outoff, n > 16384 ? 16384 : (int)n);
            if (r <= 0) {
                int e = SSL_get_error(c->ssl, r);
                if (e == SSL_ERROR_WANT_WRITE)
                    set_ev(c, EPOLLIN | EPOLLOUT);
                else if (e != SSL_ERROR_WANT_READ)
                    conn_fail(c, "write");
                return;
            }
        } else {
            r = (int)send(c->fd, c->out + c->outoff, n, MSG_NOSIGNAL);
            if (r < 0) {
                if (errno == EAGAIN)
                    set_ev(c, EPOLLIN | EPOLLOUT);
                else
                    conn_fail(c, "write");
                return;
            }
        }
        c->outoff += (u32)r;
    }
    c->outoff = c->outlen = 0;
    if (c->ev & EPOLLOUT)
        set_ev(c, EPOLLIN);
    if (c->outcap > 4 * OUT_SOFT || O.lowmem) {
        free(c->out);
        c->out = NULL;
        c->outcap = 0;
    }
    if (c->pub && c->pub->out_blocked)
        pub_ready(c->pub);
}

/* -------------------------------------------------------- packet handling */

static void churn_got(conn *c, const u8 *pl, size_t n)
{
    stats *s = &c->t->s;
    if (n != (size_t)O.payload || memcmp(pl, &run_id, 4) || memcmp(pl + 4, &c->id, 4) || memcmp(pl + HDR, filler, n - HDR)) {
        INC(s->alien);
        return;
    }
    INC(s->rx);
    if (atomic_load(&measuring))
        hist_add(&c->t->lat, now_ns() - c->t_start);
    conn_bye(c);
}

static void deliver(conn *c, u8 hdr, const u8 *topic, size_t tlen, const u8 *pl, size_t n, u64 now)
{
    thread *t = c->t;
    sub *s = c->sub;
    u32 run, id;
    u64 seq, ts;
    if (O.scen == CHURN) {
        churn_got(c, pl, n);
        return;
    }
    if (!s || n < HDR || (memcpy(&run, pl, 4), run != run_id)) {
        INC(t->s.alien);
        return;
    }
    memcpy(&id, pl + 4, 4);
    memcpy(&seq, pl + 8, 8);
    memcpy(&ts, pl + 16, 8);
    if (n != (size_t)O.payload || memcmp(pl + HDR, filler, n - HDR) || id >= npubs ||
        seq >= GET(pubs[id].sent)) {
        INC(t->s.corrupt);
        return;
    }
    if (id - s->base >= s->n || (O.scen == IDLE && seq != s->idx)) {
        INC(t->s.spurious);
        return;
    }
    if (O.scen == WILD) {
        char b[96];
        u32 l[4], skip = (u32)strlen(O.prefix) + 3;
        snprintf(b, sizeof b, "%.*s", (int)(tlen > skip ? tlen - skip : 0), (const char *)topic + skip);
        if (sscanf(b, "%u/%u/%u/%u", l, l + 1, l + 2, l + 3) != 4 || !(wild_match(l, NULL) >> s->idx & 1)) {
            INC(t->s.spurious);
            return;
        }
    }
    stream *st = &s->s[id - s->base];
    if (O.share)
        pthread_mutex_lock(&share_mu);
    bool old = bits_set(st->seen, seq);
    if (O.share)
        pthread_mutex_unlock(&share_mu);
    if (old) {
        INC(t->s.dup);
    } else {
        INC(st->distinct);
        if (seq < st->next)
            INC(t->s.ooo);
    }
    if (seq >= st->next)
        st->next = seq + 1;
    if (O.scen == RETAIN && !(hdr & 1))
        INC(t->s.noretain);
    INC(t->s.rx);
    ADD(t->s.rxbytes, n);
    if (!t->s.first_rx)
        SET(t->s.first_rx, now);
    SET(t->s.last_rx, now);
    if (atomic_load_explicit(&measuring, memory_order_relaxed))
        hist_add(&t->lat, now > ts ? now - ts : 0);
    if (credit_mode == CR_E2E) {
        pub *p = &pubs[id];
        u64 d = 1 + atomic_fetch_add_explicit(&p->delivered, 1, memory_order_relaxed);
        if (p->copies == 1 || d % p->copies == 0) {
            if (p->t == t)
                pub_ready(p);
            else if (atomic_exchange(&p->blocked, false))
                kick(p->t);
        }
    }
}

static void on_connack(conn *c, const u8 *b, size_t n)
{
    thread *t = c->t;
    if (n < 2 || b[1] || c->state != ST_MQTT) {
        conn_fail(c, "CONNACK refused");
        return;
    }
    c->present = b[0] & 1;
    INC(t->s.hs);
    if (O.scen == CONNECT) {
        if (atomic_load(&measuring))
            hist_add(&t->lat, now_ns() - c->t_start);
        conn_bye(c);
    } else if (O.scen == WILD && c->grp == G_SUB) {
        c->state = ST_SUB;
        wild_subscribe(c);
    } else if (c->filter[0] && !(O.scen == DURABLE && c->present)) {
        c->state = ST_SUB;
        c->t_start = now_ns();
        send_subscribe1(c, c->filter, O.subqos);
    } else {
        conn_ready(c);
    }
}

static void on_packet(conn *c, u8 hdr, const u8 *b, size_t n, u64 now)
{
    thread *t = c->t;
    pub *p = c->pub;
    u16 pid = n >= 2 ? (u16)(b[0] << 8 | b[1]) : 0;
    struct slot *s;
    switch (hdr >> 4) {
    case 2:
        on_connack(c, b, n);
        break;
    case 3: {
        size_t tl = pid, h = 2 + tl + (hdr & 6 ? 2 : 0);
        if (h > n) {
            conn_fail(c, "bad PUBLISH");
            break;
        }
        if (hdr & 6) {
            pid = (u16)(b[2 + tl] << 8 | b[3 + tl]);
            if ((hdr & 6) == 4) {
                u8 bit = (u8)(1 << (pid & 7));
                if (!c->q2)
                    c->q2 = xcalloc(8192, 1);
                bool again = c->q2[pid >> 3] & bit;
                c->q2[pid >> 3] |= bit;
                send_ack(c, 0x50, pid);
                if (again)
                    break;
            } else {
                send_ack(c, 0x40, pid);
            }
        }
        deliver(c, hdr, b + 2, tl, b + h, n - h, now);
        break;
    }
    case 4:
    case 7:
        if (p && (s = pid_find(p, pid)))
            pub_acked(p, s);
        else if (O.scen == CHURN)
            INC(t->s.acked);
        else
            INC(t->s.badack);
        break;
    case 5:
        if (p && (s = pid_find(p, pid)))
            s->state = 2;
        else
            INC(t->s.badack);
        send_ack(c, 0x62, pid);
        break;
    case 6:
        if (c->q2)
            c->q2[pid >> 3] &= (u8)~(1 << (pid & 7));
        send_ack(c, 0x70, pid);
        break;
    case 9:
        for (size_t i = 2; i < n; i++)
            if (b[i] & 0x80)
                INC(t->s.errors);
        if (O.scen == WILD && (c->subacks--, wild_subscribe(c), c->subacks))
            break;
        if (c->state == ST_SUB)
            conn_ready(c);
        break;
    case 13:
        if (p) {
            INC(p->pings);
            pub_ready(p);
        }
        break;
    default:
        conn_fail(c, "unexpected packet");
    }
}

/* Returns the number of bytes consumed; the connection may be gone after. */
static size_t parse(conn *c, const u8 *b, size_t n, u64 now)
{
    size_t off = 0;
    while (n - off >= 2 && c->fd >= 0) {
        size_t rl = 0, i = off + 1;
        int sh = 0;
        do {
            if (i >= n)
                return off;
            if (sh > 21) {
                conn_fail(c, "bad length");
                return n;
            }
            rl |= (size_t)(b[i] & 127) << sh;
            sh += 7;
        } while (b[i++] & 128);
        if (n - i < rl)
            break;
        if (c->state != ST_BYE)
            on_packet(c, b[off], b + i, rl, now);
        off = i + rl;
    }
    return off;
}

static void conn_read(conn *c)
{
    thread *t = c->t;
    bool more = true;
    while (more && c->fd >= 0) {
        size_t n = c->inlen;
        if (n) {
            memcpy(t->rbuf, c->in, n);
            free(c->in);
            c->in = NULL;
            c->inlen = 0;
        }
        bool eof = false;
        while (n < t->rcap) {
            int r;
            if (c->ssl) {
                r = SSL_read(c->ssl, t->rbuf + n, (int)(t->rcap - n));
                if (r <= 0) {
                    int e = SSL_get_error(c->ssl, r);
                    eof = e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE;
                    more = false;
                    break;
                }
                n += (size_t)r;
                if (!SSL_has_pending(c->ssl)) {     /* level triggered */
                    more = false;
                    break;
                }
            } else {
                r = (int)recv(c->fd, t->rbuf + n, t->rcap - n, 0);
                if (r <= 0) {
                    eof = !r || errno != EAGAIN;
                    more = false;
                    break;
                }
                n += (size_t)r;
                more = n == t->rcap;
                break;
            }
        }
        size_t used = parse(c, t->rbuf, n, now_ns());
        if (c->fd < 0)
            return;
        if (eof) {
            conn_fail(c, "closed by the broker");
            return;
        }
        if (used == 0 && n == t->rcap)
            die("packet larger than the read buffer");
        if (used < n) {
            c->inlen = (u32)(n - used);
            c->in = xrealloc(NULL, c->inlen);
            memcpy(c->in, t->rbuf + used, c->inlen);
        }
    }
}

static void conn_event(conn *c, u32 ev)
{
    if (c->fd < 0)
        return;
    if (c->state == ST_TCP) {
        conn_tcp_up(c);
    } else if (c->state == ST_TLS) {
        conn_handshake(c);
    } else {
        if (ev & EPOLLOUT)
            conn_flush(c);
        if (ev & (EPOLLIN | EPOLLERR | EPOLLHUP) && c->fd >= 0)
            conn_read(c);
    }
}

/* ------------------------------------------------------------- event loop */

static void timers(thread *t)
{
    t->next_timer = t->now + NS / 5;
    for (conn *c = t->dl_head, *nx; c; c = nx) {
        nx = c->hnext;
        if (c->state == ST_BYE ? t->now > c->t_next : t->now > c->t_start + (u64)(O.timeout * 1e9)) {
            if (c->state == ST_BYE)
                INC(t->s.bye_timeouts);
            conn_fail(c, "timeout");
        }
    }
    for (u32 i = 0; t->running && credit_mode == CR_E2E && i < t->npubs; i++) {
        pub *p = t->pubs[i];        /* lost messages must not eat the window */
        u64 d = atomic_load(&p->delivered);
        if (d != p->seen_delivered || !pub_inflight(p)) {
            p->seen_delivered = d;
            p->seen_at = t->now;
        } else if (t->now - p->seen_at > 2 * NS && O.rate <= 0) {
            p->forgiven = p->sent - d / p->copies;
            p->seen_at = t->now;
            INC(t->s.stalls);
            pub_ready(p);
        }
    }
}

static u64 ramp(thread *t)          /* returns ns until the next start */
{
    while (t->rq_head && t->inflight_hs < (u32)(O.concurrency + O.threads - 1) / (u32)O.threads) {
        conn *c = t->rq_head;
        if (c->t_next > t->now)
            return c->t_next - t->now;
        if (!(t->rq_head = c->qnext))
            t->rq_tail = NULL;
        if (c->fd < 0)
            conn_start(c);
    }
    return NS / 10;
}

#define PACE_MIN 20000u             /* ns; what is due within it goes together */

static void *worker(void *arg)
{
    thread *t = arg;
    struct epoll_event ev[512];
    if (O.rate > 0)
        prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);   /* the kernel would add 50 us to each wait */
    while (!t->quit) {
        u64 wait = ramp(t);
        if (t->running && O.rate > 0 && t->npubs) {
            double per_ns = O.rate * t->npubs / npubs / 1e9;
            u64 due = t->t0 + (u64)((double)t->issued / per_ns), now = now_ns();
            u64 w = due > now ? due - now : 0;
            w = w < PACE_MIN ? PACE_MIN : w;
            wait = w < wait ? w : wait;
        }
        if (t->nready || t->ndirty)
            wait = 0;
        struct timespec ts = { 0, (long)wait };
        int n = epoll_pwait2(t->ep, ev, 512, &ts, NULL);
        t->now = now_ns();
        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr) {
                conn_event(ev[i].data.ptr, ev[i].events);
                continue;
            }
            u64 v;
            if (read(t->efd, &v, 8) == 8) {
                void (*f)(thread *, void *) = atomic_load(&t->cmd);
                if (f) {
                    f(t, t->arg);
                    atomic_store(&t->cmd, NULL);
                }
                for (u32 k = 0; k < t->npubs && O.rate <= 0; k++)
                    pub_ready(t->pubs[k]);
            }
        }
        if (t->now >= t->next_timer)
            timers(t);
        pub_pace(t);
        u32 nr = t->nready;
        for (u32 i = 0; i < nr; i++) {
            t->readyq[i]->queued = false;
            pub_fill(t, t->readyq[i]);
        }
        memmove(t->readyq, t->readyq + nr, (t->nready - nr) * sizeof *t->readyq);
        t->nready -= nr;
        for (u32 i = 0; i < t->ndirty; i++)
            if (t->dirty[i]->dirty)
                conn_flush(t->dirty[i]);
        t->ndirty = 0;
    }
    return NULL;
}

/* ----------------------------------------------------- controller: commands */

static void run_all(void (*f)(thread *, void *), void *arg)
{
    for (int i = 0; i < O.threads; i++) {
        T[i].arg = arg;
        atomic_store(&T[i].cmd, f);
        kick(&T[i]);
        while (atomic_load(&T[i].cmd))
            sleep_s(50e-6);
    }
}

static void cmd_start(thread *t, void *g)
{
    for (u32 i = 0; i < nconns; i++)
        if (conns[i].t == t && conns[i].grp == *(int *)g && conns[i].fd < 0)
            ramp_push(&conns[i], 0);
}

static void cmd_bye(thread *t, void *g)
{
    for (u32 i = 0; i < nconns; i++)
        if (conns[i].t == t && conns[i].grp == *(int *)g) {
            conns[i].reconnect = 0;
            if (conns[i].fd >= 0 && conns[i].state != ST_BYE)
                conn_bye(&conns[i]);
        }
}

static void cmd_go(thread *t, void *arg)
{
    (void)arg;
    t->t0 = t->now;
    t->issued = 0;
    t->running = true;
    for (u32 i = 0; i < t->npubs; i++)
        t->pubs[i]->seen_at = t->now;
}

static void cmd_stop(thread *t, void *arg)
{
    (void)arg;
    t->running = false;
    t->rq_head = t->rq_tail = NULL;
}

static void cmd_sync(thread *t, void *arg)     /* orders memory, no more */
{
    (void)t;
    (void)arg;
}

static void cmd_ping(thread *t, void *arg)
{
    (void)arg;
    for (u32 i = 0; i < t->npubs; i++)
        if (t->pubs[i]->c->state == ST_READY)
            pub_ping(t->pubs[i]);
}

static void cmd_unretain(thread *t, void *arg)
{
    char b[96];
    for (u32 i = 0; i < t->npubs; i++) {
        pub *p = t->pubs[i];
        for (u64 q = 0; q < p->sent; q++)
            send_publish(p->c, 1, b, (size_t)pub_topic(p, q, b, sizeof b), 0, 0, 0, 0, 0);
    }
    cmd_ping(t, arg);
}

typedef struct { u64 t; cpu_t cpu; double own; stats s; u64 pings; } snap;

static snap take(void)
{
    snap r = { .t = now_ns(), .cpu = broker_cpu(), .own = own_cpu() };
    u64 first = 0, last = 0;
    for (int i = 0; i < O.threads; i++) {
        u64 *d = (u64 *)&r.s, *s = (u64 *)&T[i].s;
        for (size_t k = 0; k < sizeof(stats) / 8; k++)
            d[k] += GET(s[k]);
        u64 f = GET(T[i].s.first_rx), l = GET(T[i].s.last_rx);
        if (l > last)
            last = l;
        if (f && (!first || f < first))
            first = f;
    }
    r.s.first_rx = first;
    r.s.last_rx = last;
    for (u32 i = 0; i < npubs; i++)
        r.pings += GET(pubs[i].pings);
    return r;
}

static double secs(u64 a, u64 b) { return b > a ? (double)(b - a) / 1e9 : 0; }
static double cpu_of(const snap *a, const snap *b)
{
    double d = b->cpu.total - a->cpu.total;
    return d > 0 ? d : 0;               /* it may have died meanwhile */
}

static void note(const char *fmt, ...)
{
    va_list ap;
    if (O.json && !O.verbose)
        return;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static u32 group_size(int g)
{
    u32 n = 0;
    for (u32 i = 0; i < nconns; i++)
        n += conns[i].grp == g;
    return n;
}

/* Connects a group; returns how many are ready when nothing moves any more. */
static u32 bring_up(int g, bool must)
{
    u32 want = group_size(g);
    snap s0 = take(), s = s0;
    u64 last = s0.t, seen = 0;
    run_all(cmd_start, &g);
    while (s = take(), s.s.ready[g] < want) {
        u64 mark = s.s.ready[g] + s.s.hs + s.s.errors;
        if (mark != seen) {
            seen = mark;
            last = s.t;
        }
        if (s.s.ready[g] + (s.s.errors - s0.s.errors) >= want && O.scen != DURABLE)
            break;
        if (secs(last, s.t) > O.timeout + 1)
            break;
        sleep_s(O.scen == RETAIN ? 0.001 : 0.005);
    }
    if (must && s.s.ready[g] < want)
        die("only %llu of %u %s connections came up", (unsigned long long)s.s.ready[g], want,
            g == G_SUB ? "subscriber" : "publisher");
    return (u32)s.s.ready[g];
}

static void bring_down(int g)
{
    run_all(cmd_bye, &g);
    for (int i = 0; i < 1000; i++) {
        bool busy = false;
        for (u32 k = 0; k < nconns && !busy; k++)
            busy = conns[k].grp == g && GET(conns[k].fd) >= 0;
        if (!busy)
            break;
        sleep_s(0.005);
    }
}

/* Waits until `want` distinct messages came (and all is acked), or nothing
 * has moved for --drain seconds. */
static void drain(u64 want)
{
    u64 mark = 0, last = now_ns();
    for (;;) {
        snap s = take();
        if (s.s.rx - s.s.dup >= want && (!O.qos || s.s.acked >= s.s.sent))
            break;
        if (s.s.rx + s.s.acked + s.pings != mark) {
            mark = s.s.rx + s.s.acked + s.pings;
            last = s.t;
        }
        if (secs(last, s.t) > O.drain)
            break;
        sleep_s(0.005);
    }
}

/* A PINGREQ on each publisher; its answer means all before it was handled. */
static void barrier(void (*f)(thread *, void *))
{
    u64 t0 = now_ns();
    run_all(f, NULL);
    for (bool busy = true; busy && secs(t0, now_ns()) < O.timeout; sleep_s(0.001)) {
        busy = false;
        for (u32 i = 0; i < npubs; i++)
            busy |= GET(pubs[i].pings) < GET(pubs[i].pings_sent);
    }
}

static void measure(double s, snap *a, snap *b)
{
    while (O.on_signal && !told_to_begin && !told_to_end)
        sleep_s(0.001);
    *a = take();
    atomic_store(&measuring, true);
    for (u64 end = now_ns() + (u64)(s * 1e9), now; !told_to_end && (now = now_ns()) < end;)
        sleep_s(end - now < NS / 20 ? (double)(end - now) / 1e9 : 0.05);
    atomic_store(&measuring, false);
    *b = take();
}

/* --------------------------------------------------------------- reporting */

static struct { char k[32], s[96]; double v; } R[256];
static int nr;

static void rep(const char *k, double v)
{
    if (nr < 256)
        snprintf(R[nr].k, sizeof R[nr].k, "%s", k), R[nr++].v = v;
}

static void reps(const char *k, const char *s)
{
    if (nr < 256)
        snprintf(R[nr].k, sizeof R[nr].k, "%s", k), snprintf(R[nr++].s, sizeof R[0].s, "%s", s);
}

static void num(char *b, size_t n, double v)
{
    if (v == (double)(long long)v)
        snprintf(b, n, "%lld", (long long)v);
    else
        snprintf(b, n, v < 1 ? "%.5f" : v < 1000 ? "%.3f" : "%.1f", v);
}

static void print_report(void)
{
    char b[64];
    if (O.json)
        putchar('{');
    for (int i = 0; i < nr; i++) {
        num(b, sizeof b, R[i].v);
        if (O.json)
            printf(R[i].s[0] ? "%s\"%s\":\"%s\"" : "%s\"%s\":%s", i ? "," : "", R[i].k, R[i].s[0] ? R[i].s : b);
        else
            printf("  %-26s %s\n", R[i].k, R[i].s[0] ? R[i].s : b);
    }
    if (O.json)
        puts("}");
}

static void rep_latency(void)
{
    hist *h = xcalloc(1, sizeof *h);
    atomic_store(&measuring, false);
    run_all(cmd_sync, NULL);
    for (int i = 0; i < O.threads; i++)
        hist_merge(h, &T[i].lat);
    rep("lat_p50_us", hist_us(h, .5));
    rep("lat_p90_us", hist_us(h, .9));
    rep("lat_p99_us", hist_us(h, .99));
    rep("lat_p999_us", hist_us(h, .999));
    rep("lat_max_us", (double)h->max / 1e3);
    if (O.rate > 0) {
        *h = (hist){ 0 };
        for (int i = 0; i < O.threads; i++)
            hist_merge(h, &T[i].late);
        rep("late_p50_us", hist_us(h, .5));
        rep("late_p99_us", hist_us(h, .99));
        rep("late_p999_us", hist_us(h, .999));
    }
    free(h);
}

static void rep_cpu(const snap *a, const snap *b, double n, const char *per_cpu)
{
    double cpu = cpu_of(a, b), w = secs(a->t, b->t);
    if (npids) {
        rep(per_cpu, cpu > 0 ? n / cpu : 0);
        if (!strcmp(per_cpu, "acked_per_cpu_s"))
            return;                     /* durable: the rest is for delivery */
        rep("broker_cpu_s", cpu);
        rep("broker_user_s", b->cpu.user - a->cpu.user);
        rep("broker_sys_s", b->cpu.sys - a->cpu.sys);
        rep("broker_cores", cpu / w);
    }
    rep("gen_cpu_s", b->own - a->own);
    rep("window_s", w);
}

static void rep_mem(void)
{
    if (npids) {
        rep("peak_rss_kb", proc_kb("status", "VmHWM:"));
        rep("rss_kb", proc_kb("status", "VmRSS:"));
    }
}

static u64 distinct(void)
{
    u64 n = 0;
    for (u32 i = 0; i < nsubs; i++)
        for (u32 k = 0; k < subs[i].n; k++)
            n += GET(subs[i].s[k].distinct);
    return n;
}

/* QoS 2 messages that were received and never released with a PUBREL. */
static u64 unreleased(void)
{
    u64 n = 0;
    for (u32 i = 0; i < nsubs; i++)
        for (int k = 0; subs[i].c->q2 && k < 8192; k++)
            n += (u64)__builtin_popcount(subs[i].c->q2[k]);
    return n;
}

/* Ends with the verdict: ok is 1 when every check passed. Order is promised per topic, so among retained messages there is none. */
static void rep_checks(u64 expected)
{
    snap s = take();
    u64 unrel = 0;
    for (int i = 0; i < 200 && (run_all(cmd_sync, NULL), unrel = unreleased()); i++)
        sleep_s(0.005);
    run_all(cmd_sync, NULL);
    u64 got = distinct(), lost = got < expected ? expected - got : 0;
    rep("sent", (double)s.s.sent);
    rep("acked", (double)s.s.acked);
    rep("expected", (double)expected);
    rep("received", (double)s.s.rx);
    rep("lost", (double)lost);
    rep("dup", (double)s.s.dup);
    rep("out_of_order", (double)s.s.ooo);
    rep("corrupt", (double)s.s.corrupt);
    rep("alien", (double)s.s.alien);
    rep("spurious", (double)s.s.spurious);
    rep("bad_acks", (double)s.s.badack);
    rep("qos2_unreleased", (double)unrel);
    rep("disconnects", (double)s.s.disc);
    rep("errors", (double)s.s.errors);
    rep("window_stalls", (double)s.s.stalls);
    rep("ok", !lost && !(s.s.dup && O.scen != WILD && O.scen != DURABLE) && !(s.s.ooo && !O.share && O.scen != RETAIN) &&
        !s.s.corrupt && !s.s.alien && !s.s.spurious && !s.s.badack && !s.s.noretain &&
        (O.scen == DURABLE || (!s.s.disc && !s.s.errors && !unrel)));
}

/* --------------------------------------------------------------- scenarios */

static void add_conn(int g, pub *p, sub *s)
{
    static u32 count[NGRP];
    conn *c = &conns[nconns];
    c->id = nconns++;
    c->fd = -1;
    c->grp = (u8)g;
    c->clean = 1;
    c->pub = p;
    c->sub = s;
    snprintf(c->cid, sizeof c->cid, "ml%08x%c%u", run_id, g == G_PUB ? 'p' : 's', count[g]++);
    if (p)
        p->c = c;
    if (s)
        s->c = c;
}

/* Creates np publishers and ns subscribers; a subscriber sees the streams of
 * all publishers, or with `paired` of publisher number idx only. */
static void make(u32 np, u32 ns, bool paired)
{
    bits *shared = O.share ? xcalloc(np, sizeof *shared) : NULL;
    npubs = np;
    nsubs = ns;
    pubs = xcalloc(np, sizeof *pubs);
    subs = xcalloc(ns, sizeof *subs);
    conns = xcalloc(np + ns, sizeof *conns);
    O.lowmem = np + ns > 2000;
    for (u32 i = 0; i < ns; i++) {
        sub *s = &subs[i];
        s->idx = i;
        s->base = paired ? i : 0;
        s->n = paired ? 1 : np;
        s->s = xcalloc(s->n, sizeof *s->s);
        for (u32 k = 0; k < s->n; k++)
            s->s[k].seen = shared ? &shared[k] : &s->s[k].own;
        add_conn(G_SUB, NULL, s);
    }
    for (u32 i = 0; i < np; i++) {
        pub *p = &pubs[i];
        p->id = i;
        p->limit = UINT64_MAX;
        p->copies = paired || O.share ? 1 : ns;
        p->rng = 0x9E3779B97F4A7C15ull * (i + 1);
        if (O.qos) {
            u32 want = 2 * (u32)(O.rate > 0 || credit_mode == CR_NONE ? 8192 : O.window);
            for (p->cap = 64; p->cap < want; p->cap *= 2)
                ;
            p->slots = xcalloc(p->cap, sizeof *p->slots);
        }
        add_conn(G_PUB, p, NULL);
    }
    for (int i = 0; i < O.threads; i++) {
        T[i].pubs = xcalloc(np + 1, sizeof *T[i].pubs);
        T[i].readyq = xcalloc(np + 1, sizeof *T[i].readyq);
    }
    for (u32 i = 0; i < nconns; i++) {
        conn *c = &conns[i];
        thread *t = c->t = &T[(c->pub ? c->pub->id : c->sub->idx) % (u32)O.threads];
        if (c->pub) {
            c->pub->t = t;
            t->pubs[t->npubs++] = c->pub;
        }
    }
}

static void set_filter(sub *s, const char *fmt, ...)
{
    va_list ap;
    char f[64];
    va_start(ap, fmt);
    vsnprintf(f, sizeof f, fmt, ap);
    va_end(ap);
    snprintf(s->c->filter, sizeof s->c->filter, O.share ? "$share/g/%s" : "%s", f);
}

static u64 total_sent(u32 copies)
{
    u64 n = 0;
    for (u32 i = 0; i < npubs; i++)
        n += GET(pubs[i].sent) * (copies ? copies : pubs[i].copies);
    return n;
}

static void scen_flow(void)
{
    u32 np = O.scen == P2P ? (u32)O.pairs : O.scen == FANOUT ? (u32)(O.pubs ? O.pubs : 1) : (u32)(O.pubs ? O.pubs : 100);
    u32 ns = O.scen == P2P ? (u32)O.pairs : O.scen == FANIN ? (u32)(O.subs ? O.subs : 1) : (u32)(O.subs ? O.subs : 100);
    snap a, b;
    credit_mode = CR_E2E;
    make(np, ns, O.scen == P2P);
    for (u32 i = 0; i < np; i++) {
        if (O.scen == FANOUT)
            snprintf(pubs[i].topic, sizeof pubs[i].topic, "%s/fanout", O.prefix);
        else
            snprintf(pubs[i].topic, sizeof pubs[i].topic, "%s/%s/%u", O.prefix, scen_name[O.scen], i);
        if (O.count)
            pubs[i].limit = (O.count + np - 1) / np;
    }
    for (u32 i = 0; i < ns; i++)
        if (O.scen == P2P)
            set_filter(&subs[i], "%s/p2p/%u", O.prefix, i);
        else
            set_filter(&subs[i], "%s/%s", O.prefix, O.scen == FANIN ? "fanin/#" : "fanout");
    note("connecting %u subscribers and %u publishers", ns, np);
    bring_up(G_SUB, true);
    bring_up(G_PUB, true);
    reset_peak_rss();
    run_all(cmd_go, NULL);
    sleep_s(O.warmup);
    measure(O.duration, &a, &b);
    run_all(cmd_stop, NULL);
    drain(total_sent(0));
    double n = (double)(b.s.rx - a.s.rx), w = secs(a.t, b.t), cpu = cpu_of(&a, &b);
    rep("pubs", np);
    rep("subs", ns);
    rep("msg_s", n / w);
    rep("pub_s", (double)(b.s.sent - a.s.sent) / w);
    rep_cpu(&a, &b, n, "msgs_per_cpu_s");
    if (n > 0) {
        if (npids)
            rep("cpu_us_per_msg", cpu / n * 1e6);
        rep("gen_us_per_msg", (b.own - a.own) / n * 1e6);
    }
    rep_latency();
    if (O.rate > 0) {
        u64 lag = 0;
        for (int i = 0; i < O.threads; i++)
            lag = T[i].maxlag > lag ? T[i].maxlag : lag;
        rep("rate_target", O.rate);
        rep("max_lag_msgs", (double)lag);
    }
    rep_mem();
    rep_checks(total_sent(0));
}

/* Until --count connections have ended, instead of for --duration seconds. */
static void measure_count(snap *a, snap *b)
{
    *a = take();
    atomic_store(&measuring, true);
    u64 last = a->t, mark = 0;
    while (*b = take(), b->s.hs < O.count && !told_to_end && secs(last, b->t) < O.timeout) {
        if (b->s.hs != mark) {
            mark = b->s.hs;
            last = b->t;
        }
        sleep_s(0.01);
    }
    atomic_store(&measuring, false);
}

/* connect and churn: the same clients come and go. */
static void scen_connect(void)
{
    snap a, b;
    int g = G_SUB;
    credit_mode = CR_NONE;
    make(0, (u32)O.concurrency, false);
    for (u32 i = 0; O.scen == CHURN && i < nsubs; i++)
        set_filter(&subs[i], "%s/churn/%u", O.prefix, i);
    reset_peak_rss();
    double rss0 = proc_kb("status", "RssAnon:");
    run_all(cmd_go, NULL);
    run_all(cmd_start, &g);
    if (O.count) {
        measure_count(&a, &b);
    } else {
        sleep_s(O.warmup);
        measure(O.duration, &a, &b);
    }
    run_all(cmd_stop, NULL);
    sleep_s(0.2);
    bring_down(G_SUB);
    double n = (double)(b.s.hs - a.s.hs);
    rep("concurrency", O.concurrency);
    rep("handshakes", n);
    rep("hs_s", n / secs(a.t, b.t));
    rep_cpu(&a, &b, n, "hs_per_cpu_s");
    if (n > 0) {
        rep("broker_ms_per_hs", cpu_of(&a, &b) / n * 1e3);
        rep("gen_ms_per_hs", (b.own - a.own) / n * 1e3);
    }
    rep("resumed", (double)(b.s.resumed - a.s.resumed));
    rep_latency();
    rep_mem();
    if (npids) {
        rep("rss_anon_before_kb", rss0);
        rep("rss_anon_after_kb", proc_kb("status", "RssAnon:"));
    }
    b = take();
    if (O.scen == CHURN) {
        rep("sent", (double)b.s.sent);
        rep("received", (double)b.s.rx);
        rep("alien", (double)b.s.alien);
    }
    rep("errors", (double)b.s.errors);
    rep("bye_timeouts", (double)b.s.bye_timeouts);
    /* QoS 1 to a session that was left behind may come twice: once when it comes back. */
    rep("ok", n > 0 && !b.s.errors && !b.s.alien && (!O.count || b.s.hs >= O.count));
    if (O.scen == CHURN) {              /* leave no sessions behind */
        O.scen = CONNECT;
        O.count = 0;
        for (u32 i = 0; i < nconns; i++)
            conns[i].clean = 1;
        run_all(cmd_sync, NULL);
        run_all(cmd_start, &g);
        for (int i = 0; i < 2000 && take().s.hs < b.s.hs + nconns; i++)
            sleep_s(0.005);
    }
}

/* Publishers without any window: as fast as TCP takes it, to a topic that nobody reads unless --subs says so. */
static void scen_flood(void)
{
    snap a, b;
    credit_mode = CR_NONE;
    make((u32)(O.pubs ? O.pubs : 1), (u32)O.subs, false);
    for (u32 i = 0; i < npubs; i++)
        snprintf(pubs[i].topic, sizeof pubs[i].topic, "%s/flood/%u", O.prefix, i);
    for (u32 i = 0; i < nsubs; i++)
        set_filter(&subs[i], "%s/flood/#", O.prefix);
    bring_up(G_SUB, true);
    bring_up(G_PUB, true);
    run_all(cmd_go, NULL);
    sleep_s(O.warmup);
    measure(O.duration, &a, &b);
    run_all(cmd_stop, NULL);
    double n = (double)(b.s.sent - a.s.sent);
    rep("pub_s", n / secs(a.t, b.t));
    rep_cpu(&a, &b, n, "pubs_per_cpu_s");
    rep_mem();
    rep("disconnects", (double)b.s.disc);
    rep("ok", b.s.sent > 0 && !b.s.disc && !b.s.errors); /* a limit may have brought it to a halt */
}

static void scen_idle(void)
{
    u32 n = (u32)(O.subs ? O.subs : 1000);
    double rss0, pss0, rss1, pss1;
    snap a, b, h0, h1;
    credit_mode = CR_NONE;
    make(1, n, false);
    pubs[0].limit = n;
    for (u32 i = 0; i < n; i++)
        set_filter(&subs[i], "%s/idle/%u", O.prefix, i);
    reset_peak_rss();
    rss0 = proc_kb("smaps_rollup", "Rss:");
    pss0 = proc_kb("smaps_rollup", "Pss:");
    a = take();
    u32 up = bring_up(G_SUB, false);
    b = take();
    sleep_s(1);
    rss1 = proc_kb("smaps_rollup", "Rss:");
    pss1 = proc_kb("smaps_rollup", "Pss:");
    note("%u connections up in %.1f s, holding %.0f s", up, secs(a.t, b.t), O.duration);
    h0 = take();
    while (O.on_signal && !told_to_begin && !told_to_end)
        sleep_s(0.1);
    sleep_s(O.duration);
    h1 = take();
    bring_up(G_PUB, true);
    atomic_store(&measuring, true);
    u64 t0 = now_ns();
    run_all(cmd_go, NULL);
    drain(n);
    snap e = take();
    rep("connections", up);
    rep("ramp_s", secs(a.t, b.t));
    rep("ramp_conn_s", up / secs(a.t, b.t));
    if (npids) {
        rep("ramp_conn_per_cpu_s", up / cpu_of(&a, &b));
        rep("rss_per_conn", (rss1 - rss0) * 1024 / up);
        rep("pss_per_conn", (pss1 - pss0) * 1024 / up);
        rep("rss_before_kb", rss0);
        rep("rss_after_kb", rss1);
        rep("hold_cpu_s", cpu_of(&h0, &h1));
    }
    rep("hold_s", O.duration);
    rep("alive", (double)distinct());
    rep("alive_check_s", secs(t0, e.s.last_rx));
    rep_latency();
    rep_mem();
    rep_checks(n);
    bring_down(G_SUB);
}

static void scen_wild(void)
{
    u32 ns = (u32)(O.subs ? O.subs : 16), np = (u32)(O.pubs ? O.pubs : 1);
    char list[256], key[32], *save = NULL;
    u64 expected = 0, lost0 = 0;
    if (ns > WILD_MAXCONN)
        die("wild: at most %d subscribers", WILD_MAXCONN);
    credit_mode = CR_PING;
    make(np, ns, false);
    bring_up(G_PUB, true);
    rep("pubs", np);
    rep("subs", ns);
    snprintf(list, sizeof list, "%s", O.mlist ? O.mlist : "1000,10000,100000");
    for (char *m = strtok_r(list, ",", &save); m; m = strtok_r(NULL, ",", &save)) {
        u64 nm = strtoull(m, NULL, 10), due0 = 0, due1 = 0, e1 = 0, lost;
        snap a, b;
        wild_build(nm, ns);
        double rss0 = proc_kb("smaps_rollup", "Rss:");
        note("subscribing");
        a = take();
        bring_up(G_SUB, true);
        b = take();
        double rss1 = proc_kb("smaps_rollup", "Rss:");
#define K(s) (snprintf(key, sizeof key, "m%llu_" s, (unsigned long long)nm), key)
        rep(K("subscribe_s"), secs(a.t, b.t));
        if (npids) {
            rep(K("subscribe_us_cpu"), cpu_of(&a, &b) / (double)nm * 1e6);
            rep(K("rss_per_sub"), (rss1 - rss0) * 1024 / (double)nm);
        }
        note("%llu subscriptions in %.2f s", (unsigned long long)nm, secs(a.t, b.t));
        run_all(cmd_go, NULL);
        sleep_s(O.warmup);
        for (u32 i = 0; i < np; i++)
            due0 += GET(pubs[i].expect_copies);
        measure(O.duration, &a, &b);
        for (u32 i = 0; i < np; i++)
            due1 += GET(pubs[i].expect_copies);
        run_all(cmd_stop, NULL);
        for (u32 i = 0; i < np; i++)
            e1 += pubs[i].expect;
        expected = e1;
        drain(expected);
        double n = (double)(b.s.sent - a.s.sent), d = (double)(b.s.rx - a.s.rx);
        rep(K("pub_s"), n / secs(a.t, b.t));
        rep(K("msg_s"), d / secs(a.t, b.t));
        rep(K("matches_per_pub"), (double)(due1 - due0) / n);
        rep(K("recv_per_pub"), d / n);
        if (npids) {
            rep(K("cpu_us_per_pub"), cpu_of(&a, &b) / n * 1e6);
            rep(K("pubs_per_cpu_s"), n / cpu_of(&a, &b));
        }
        lost = e1 - distinct();
        rep(K("lost"), (double)(lost - lost0));
        lost0 = lost;
        note("unsubscribing");
        a = take();
        u64 c0 = now_ns();
        bring_down(G_SUB);
        sleep_s(0.3);
        b = take();
        rep(K("teardown_s"), secs(c0, now_ns()) - 0.3);
        if (npids)
            rep(K("teardown_cpu_s"), cpu_of(&a, &b));
        for (u32 i = 0; i < ns; i++)
            free(wild_of[i]);
    }
    rep_latency();
    rep_mem();
    rep_checks(expected);
}

static void scen_retain(void)
{
    u32 np = (u32)(O.pubs ? O.pubs : 1), ns = (u32)(O.subs ? O.subs : 1);
    u64 m = O.count ? O.count : 100000, total = (m + np - 1) / np * np;
    snap a, b, c;
    credit_mode = O.qos ? CR_ACK : CR_PING;
    make(np, ns, false);
    for (u32 i = 0; i < np; i++)
        pubs[i].limit = (m + np - 1) / np;
    for (u32 i = 0; i < ns; i++)
        set_filter(&subs[i], "%s/ret/#", O.prefix);
    bring_up(G_PUB, true);
    reset_peak_rss();
    double rss0 = proc_kb("smaps_rollup", "Rss:");
    a = take();
    run_all(cmd_go, NULL);
    u64 last = a.t, mark = 0;
    while (b = take(), O.qos ? b.s.acked < total : b.s.sent < total) {
        if (b.s.sent + b.s.acked != mark)
            mark = b.s.sent + b.s.acked, last = b.t;
        if (secs(last, b.t) > O.timeout)
            break;
        sleep_s(0.002);
    }
    run_all(cmd_stop, NULL);
    barrier(cmd_ping);
    b = take();
    sleep_s(0.2);
    double rss1 = proc_kb("smaps_rollup", "Rss:");
    rep("retained", (double)total);
    rep("store_s", secs(a.t, b.t));
    rep("store_msg_s", (double)total / secs(a.t, b.t));
    if (npids) {
        rep("store_per_cpu_s", (double)total / cpu_of(&a, &b));
        rep("rss_per_retained", (rss1 - rss0) * 1024 / (double)total);
    }
    atomic_store(&measuring, true);
    b = take();
    bring_up(G_SUB, true);
    drain(total * ns);
    c = take();
    run_all(cmd_sync, NULL);
    rep("deliver_first_ms", secs(subs[0].c->t_start, c.s.first_rx) * 1e3);
    rep("deliver_all_ms", secs(subs[0].c->t_start, c.s.last_rx) * 1e3);
    rep("msg_s", (double)(c.s.rx - b.s.rx) / secs(subs[0].c->t_start, c.s.last_rx));
    rep_cpu(&b, &c, (double)(c.s.rx - b.s.rx), "msgs_per_cpu_s");
    rep("not_flagged_retain", (double)c.s.noretain);
    rep_mem();
    rep_checks(total * ns);
    bring_down(G_SUB);
    if (!O.keep)
        barrier(cmd_unretain);
}

/* Publishers alone; latency is that of the acknowledgement. Then, with --subs, new subscribers, who get what was stored: all of it, with --count. */
static void scen_past(void)
{
    u32 np = (u32)(O.pubs ? O.pubs : 1), ns = (u32)O.subs;
    snap a, b, c;
    credit_mode = CR_ACK;
    make(np, ns, false);
    for (u32 i = 0; i < np; i++) {
        snprintf(pubs[i].topic, sizeof pubs[i].topic, "%s/past/%u", O.prefix, i);
        if (O.count)
            pubs[i].limit = (O.count + np - 1) / np;
    }
    for (u32 i = 0; i < ns; i++)
        set_filter(&subs[i], "%s/past/#", O.prefix);
    bring_up(G_PUB, true);
    run_all(cmd_go, NULL);
    if (O.count) {
        u64 total = (O.count + np - 1) / np * np;
        a = take();
        while (b = take(), b.s.acked < total && secs(a.t, b.t) < O.timeout)
            sleep_s(0.002);
    } else {
        sleep_s(O.warmup);
        measure(O.duration, &a, &b);
    }
    run_all(cmd_stop, NULL);
    drain(0);
    rep("acked_s", (double)(b.s.acked - a.s.acked) / secs(a.t, b.t));
    rep_cpu(&a, &b, (double)(b.s.acked - a.s.acked), "acked_per_cpu_s");
    rep_latency();
    b = take();
    if (ns) {
        note("replaying");
        u64 t0 = now_ns();
        bring_up(G_SUB, true);
        drain(b.s.sent * ns);
        c = take();
        run_all(cmd_sync, NULL);
        rep("replay_msg_s", (double)(c.s.rx - b.s.rx) / secs(t0, c.s.last_rx));
        rep("replay_first_ms", secs(t0, c.s.first_rx) * 1e3);
        rep_cpu(&b, &c, (double)(c.s.rx - b.s.rx), "replay_per_cpu_s");
    }
    rep_mem();
    rep_checks(b.s.sent * ns);
}

/* system(3) with our descriptors closed on exec; a wait of 0 is success. */
static void shell(const char *what, const char *cmd)
{
    note("%s: %s", what, cmd);
    int r = system(cmd);
    if (r)
        fprintf(stderr, "mqload: %s returned %d\n", what, r);
}

static void kill_restart(void)
{
    u64 t0 = now_ns();
    if (O.kill_cmd)
        shell("kill", O.kill_cmd);
    if (O.restart_cmd)
        shell("restart", O.restart_cmd);
    snap s;
    do {                                /* until the publishers are back */
        sleep_s(0.02);
        s = take();
    } while (s.s.ready[G_PUB] < npubs && secs(t0, s.t) < O.timeout);
    rep("outage_s", secs(t0, s.t));
    pids_load();
}

static void scen_durable(void)
{
    u32 np = (u32)(O.pubs ? O.pubs : 4), ns = (u32)(O.subs ? O.subs : 1);
    u64 acked = 0, unacked_rx = 0, lost = 0, present = 0;
    bool killing = O.kill_cmd || O.restart_cmd;
    int gs = G_SUB;
    credit_mode = CR_ACK;
    make(np, ns, false);
    for (u32 i = 0; i < np; i++) {
        snprintf(pubs[i].topic, sizeof pubs[i].topic, "%s/dur/%u", O.prefix, i);
        if (O.count)
            pubs[i].limit = (O.count + np - 1) / np;
        pubs[i].c->clean = 0;
    }
    for (u32 i = 0; i < ns; i++) {
        set_filter(&subs[i], "%s/dur/#", O.prefix);
        subs[i].c->clean = 0;
    }
    bring_up(G_SUB, true);
    if (!O.online)
        bring_down(G_SUB);
    bring_up(G_PUB, true);
    for (u32 i = 0; i < nconns; i++)
        conns[i].reconnect = conns[i].grp == G_PUB || O.online;
    reset_peak_rss();
    snap a = take(), b;
    run_all(cmd_go, NULL);
    double kill_at = killing ? O.kill_at >= 0 ? O.kill_at : O.duration / 2 : -1;
    if (killing && kill_at < O.duration) {
        sleep_s(kill_at);
        kill_restart();
        sleep_s(O.duration - kill_at);
    } else {
        sleep_s(O.duration);
    }
    run_all(cmd_stop, NULL);
    u64 t = now_ns();
    while (b = take(), b.s.acked < b.s.sent && secs(t, now_ns()) < O.drain)
        sleep_s(0.005);
    rep("publish_s", secs(a.t, b.t));
    rep("acked_s", (double)b.s.acked / secs(a.t, b.t));
    if (!killing || kill_at >= O.duration)
        rep_cpu(&a, &b, (double)b.s.acked, "acked_per_cpu_s");
    sleep_s(O.offline);
    if (killing && kill_at >= O.duration)
        kill_restart();
    note("published %llu, acked %llu; subscriber comes back", (unsigned long long)b.s.sent,
         (unsigned long long)b.s.acked);
    a = take();
    if (O.online) {
        u32 want = group_size(G_SUB);
        for (int i = 0; i < 1000 && take().s.ready[G_SUB] < want; i++)
            sleep_s(0.01);
    } else {
        bring_up(gs, true);
    }
    for (u32 i = 0; i < ns; i++)
        present += subs[i].c->present;
    drain(b.s.acked * ns);
    b = take();
    rep("deliver_s", secs(a.t, b.s.last_rx));
    rep_cpu(&a, &b, (double)(b.s.rx - a.s.rx), "msgs_per_cpu_s");
    run_all(cmd_sync, NULL);
    for (u32 i = 0; i < np; i++)
        for (u64 q = 0; q < pubs[i].sent; q++) {
            bool ack = bits_get(&pubs[i].ackmap, q);
            acked += ack;
            for (u32 k = 0; k < ns; k++) {
                bool got = bits_get(subs[k].s[i].seen, q);
                lost += ack && !got;
                unacked_rx += !ack && got;
            }
        }
    rep("session_present", present == ns);
    rep("acked_messages", (double)acked);
    rep("acked_lost", (double)lost);
    rep("unacked_received", (double)unacked_rx);
    rep_mem();
    rep_checks(acked * ns + unacked_rx);
    bring_down(G_SUB);
    bring_down(G_PUB);
    for (u32 i = 0; i < nconns; i++)    /* leave no sessions behind */
        conns[i].clean = 1, conns[i].filter[0] = 0;
    for (u32 i = 0; i < npubs; i++)
        memset(pubs[i].slots, 0, pubs[i].cap * sizeof *pubs[i].slots);
    for (int g = 0; g < NGRP; g++) {
        bring_up(g, false);
        bring_down(g);
    }
}

/* -------------------------------------------------------------------- main */

static void tls_setup(void)
{
    if (O.plain)
        return;
    if (!(ctx = SSL_CTX_new(TLS_client_method())))
        die("SSL_CTX_new");
    int v = O.tls == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(ctx, O.tls ? v : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx, v);
    if (O.cipher && !SSL_CTX_set_ciphersuites(ctx, O.cipher)) {
        ERR_clear_error();
        if (!SSL_CTX_set_cipher_list(ctx, O.cipher))
            die("--cipher %s", O.cipher);
    }
    if (O.groups && !SSL_CTX_set1_groups_list(ctx, O.groups))
        die("--groups %s", O.groups);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                     SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, 65536);
    SSL_CTX_set_session_cache_mode(ctx, O.resume ? SSL_SESS_CACHE_CLIENT |
                                   SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
    if (O.resume)
        SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    else
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    if (O.ca) {
        if (!SSL_CTX_load_verify_locations(ctx, O.ca, NULL))
            die("--ca %s", O.ca);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    if (O.cert && SSL_CTX_use_certificate_chain_file(ctx, O.cert) != 1)
        die("--cert %s", O.cert);
    if (O.key && SSL_CTX_use_PrivateKey_file(ctx, O.key, SSL_FILETYPE_PEM) != 1)
        die("--key %s", O.key);
    while (O.cert_dir) {                /* DIR/0.crt DIR/0.key DIR/1.crt ... */
        char p[512];
        FILE *f;
        snprintf(p, sizeof p, "%s/%u.crt", O.cert_dir, ncerts);
        if (!(f = fopen(p, "r")))
            break;
        cert_x = xrealloc(cert_x, (ncerts + 1) * sizeof *cert_x);
        cert_k = xrealloc(cert_k, (ncerts + 1) * sizeof *cert_k);
        cert_x[ncerts] = PEM_read_X509(f, NULL, NULL, NULL);
        fclose(f);
        snprintf(p, sizeof p, "%s/%u.key", O.cert_dir, ncerts);
        if (!(f = fopen(p, "r")))
            die("%s: %s", p, strerror(errno));
        cert_k[ncerts] = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        fclose(f);
        if (!cert_x[ncerts] || !cert_k[ncerts])
            die("%s: not a PEM pair", p);
        ncerts++;
    }
    if (O.cert_dir && !ncerts)
        die("--cert-dir %s: no 0.crt there", O.cert_dir);
}

static void usage(int rc)
{
    fputs("usage: mqload SCENARIO [options]      (README.md has the details)\n"
"scenarios: p2p fanout fanin connect idle wild retain durable flood churn past\n"
"  --host A --port N          broker (127.0.0.1:8883)\n"
"  --ca F --cert F --key F    PEM files; --cert-dir D uses D/0.crt D/0.key D/1.crt ...\n"
"  --plain                    no TLS\n"
"  --tls 1.2|1.3  --cipher S  --groups S  --sni NAME  --resume\n"
"  --threads N  --pairs N  --pubs N  --subs N  --payload BYTES  --qos Q  --sub-qos Q\n"
"  --window W (in flight per publisher)  --batch B (refill when B fit; W/4)\n"
"  --rate R (open loop, msg/s over all publishers)\n"
"  --duration S  --warmup S  --drain S  --timeout S  --concurrency N  --keepalive S\n"
"  --count N (limit of messages: p2p/fan*/durable, of connections: connect/churn; retain M)  --m LIST (wild)  --share\n"
"  --offline S  --online  --kill-cmd C  --restart-cmd C  --kill-at S   (durable)\n"
"  --keep (retain: leave them)  --conns-per-src N  --source N (first address: 127.0.0.1 + N)  --prefix TOPIC\n"
"  --pid P[,P|@FILE]          broker processes to account\n"
"  --json  --label TEXT  --verbose  --on-signal (the window begins with SIGUSR1)\n", rc ? stderr : stdout);
    exit(rc);
}

static const struct { const char *name; char type; void *v; } opts[] = {
    { "host", 's', &O.host }, { "port", 'i', &O.port }, { "ca", 's', &O.ca },
    { "cert", 's', &O.cert }, { "key", 's', &O.key }, { "cert-dir", 's', &O.cert_dir },
    { "plain", 'b', &O.plain }, { "tls", 's', &O.tls_s }, { "cipher", 's', &O.cipher },
    { "groups", 's', &O.groups }, { "sni", 's', &O.sni }, { "resume", 'b', &O.resume },
    { "threads", 'i', &O.threads }, { "pairs", 'i', &O.pairs }, { "pubs", 'i', &O.pubs },
    { "subs", 'i', &O.subs }, { "payload", 'i', &O.payload }, { "qos", 'i', &O.qos },
    { "sub-qos", 'i', &O.subqos }, { "window", 'i', &O.window }, { "batch", 'i', &O.batch },
    { "rate", 'd', &O.rate }, { "duration", 'd', &O.duration }, { "warmup", 'd', &O.warmup },
    { "drain", 'd', &O.drain }, { "timeout", 'd', &O.timeout },
    { "concurrency", 'i', &O.concurrency }, { "keepalive", 'i', &O.keepalive },
    { "count", 'u', &O.count }, { "m", 's', &O.mlist }, { "share", 'b', &O.share },
    { "offline", 'd', &O.offline }, { "online", 'b', &O.online },
    { "kill-cmd", 's', &O.kill_cmd }, { "restart-cmd", 's', &O.restart_cmd },
    { "kill-at", 'd', &O.kill_at }, { "keep", 'b', &O.keep },
    { "conns-per-src", 'i', &O.per_src }, { "source", 'i', &O.source }, { "prefix", 's', &O.prefix },
    { "pid", 's', &O.pidspec }, { "json", 'b', &O.json }, { "label", 's', &O.label },
    { "verbose", 'b', &O.verbose }, { "on-signal", 'b', &O.on_signal }, { "help", 'h', NULL },
};
#define NOPTS (int)(sizeof opts / sizeof *opts)

int main(int argc, char **argv)
{
    struct option lo[NOPTS + 1];
    int o;
    memset(lo, 0, sizeof lo);
    for (int i = 0; i < NOPTS; i++)
        lo[i] = (struct option){ opts[i].name, strchr("bh", opts[i].type) == NULL, NULL, 256 + i };
    while ((o = getopt_long(argc, argv, "h", lo, NULL)) != -1) {
        if (o == 'h' || (o >= 256 && opts[o - 256].type == 'h'))
            usage(0);
        if (o < 256)
            usage(2);
        void *v = opts[o - 256].v;
        switch (opts[o - 256].type) {
        case 's': *(const char **)v = optarg; break;
        case 'i': *(int *)v = atoi(optarg); break;
        case 'd': *(double *)v = atof(optarg); break;
        case 'u': *(u64 *)v = strtoull(optarg, NULL, 10); break;
        case 'b': *(bool *)v = true; break;
        }
    }
    O.tls = !O.tls_s ? 0 : !strcmp(O.tls_s, "1.2") ? 12 : !strcmp(O.tls_s, "1.3") ? 13 : -1;
    if (optind + 1 != argc)
        usage(2);
    for (O.scen = 0; O.scen < NSCEN && strcmp(argv[optind], scen_name[O.scen]); O.scen++)
        ;
    if (O.scen == NSCEN || O.tls < 0 || O.qos < 0 || O.qos > 2 || O.threads < 1 ||
        O.threads > MAX_THREADS || O.payload < HDR || O.window < 0 || strlen(O.prefix) > 20)
        usage(2);
    if (!O.pairs)
        O.pairs = 50;
    if (!O.window)
        O.window = O.scen == RETAIN || O.scen == WILD ? 200 : 16;
    if (O.window > 20000)
        O.window = 20000;
    if (O.batch < 1)
        O.batch = O.window / 4 ? O.window / 4 : 1;
    if (O.batch > O.window)
        O.batch = O.window;
    if (O.scen == IDLE || O.scen == FLOOD)
        O.qos = 0;
    if (O.scen == CHURN && O.qos > 1)
        usage(2);
    if ((O.scen == DURABLE || O.scen == PAST) && !O.qos)
        O.qos = 1;
    if (O.subqos < 0)
        O.subqos = O.qos;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_end);
    signal(SIGTERM, on_end);
    signal(SIGUSR1, on_end);
    dst.sin_family = AF_INET;
    dst.sin_port = htons((u16)O.port);
    if (inet_pton(AF_INET, O.host, &dst.sin_addr) != 1)
        die("--host must be an IPv4 address");
    if (getrandom(&run_id, sizeof run_id, 0) != sizeof run_id)
        die("getrandom");
    struct rlimit rl;
    if (!getrlimit(RLIMIT_NOFILE, &rl)) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
    filler = xcalloc((size_t)O.payload, 1);
    for (int i = 0; i < O.payload; i++)
        filler[i] = (u8)('A' + i % 53);
    pids_load();
    if (npids && broker_cpu().user + proc_kb("status", "VmRSS:") <= 0)
        die("--pid %s: no such process", O.pidspec);
    tls_setup();
    T = xcalloc((size_t)O.threads, sizeof *T);
    for (int i = 0; i < O.threads; i++) {
        thread *t = &T[i];
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
        t->id = i;
        t->rcap = 262144 + 2 * (size_t)O.payload;
        t->rbuf = xcalloc(t->rcap, 1);
        if ((t->ep = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
            (t->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0 ||
            epoll_ctl(t->ep, EPOLL_CTL_ADD, t->efd, &e))
            die("epoll: %s", strerror(errno));
        if (pthread_create(&t->th, NULL, worker, t))
            die("pthread_create");
    }
    reps("scenario", scen_name[O.scen]);
    if (O.label)
        reps("label", O.label);
    rep("qos", O.qos);
    rep("payload", O.payload);
    rep("window", O.rate > 0 ? 0 : O.window);
    rep("batch", O.rate > 0 ? 0 : O.batch);
    switch (O.scen) {
    case CONNECT:
    case CHURN: scen_connect(); break;
    case FLOOD: scen_flood(); break;
    case IDLE: scen_idle(); break;
    case WILD: scen_wild(); break;
    case RETAIN: scen_retain(); break;
    case DURABLE: scen_durable(); break;
    case PAST: scen_past(); break;
    default: scen_flow();
    }
    reps("tls", tls_desc);
    print_report();
    fflush(stdout);
    bring_down(G_PUB);
    bring_down(G_SUB);
    for (int i = nr; i-- > 0;)
        if (!strcmp(R[i].k, "ok"))
            _exit(R[i].v ? 0 : 3);
    _exit(0);
}
