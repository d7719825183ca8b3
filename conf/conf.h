/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The configuration: mosquitto's dialect, parsed into one immutable struct. No I/O but reading the file(s). */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/err.h"
#include "base/log.h"
#include "topics/history_policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct conf_listener {
	uint16_t port;
	char *address;                /* NULL: all, IPv4 and IPv6 */
	int family;                   /* 0: both, 4, 6 (socket_domain) */
	bool plaintext;               /* no certfile; only on loopback, with allow_plaintext_loopback */
	char *cafile, *capath, *certfile, *keyfile, *crlfile;
	char *ciphers, *ciphers_tls13;
	bool tls12;                   /* tls_version tlsv1.2 (default: 1.2 and 1.3); tlsv1.3: 1.3 alone */
	bool require_matching_username;
	bool crl_expired_ok;          /* crl_expired warn: a list past its end still says who is revoked; fail: nobody of its issuer gets in */
	uint32_t max_connections;     /* 0: no limit of its own */
	unsigned line;                /* where it was declared, for messages */
};

/* pin: who has this name needs this key. Of several with the name one is enough. */
struct conf_pin {
	char *cn;
	uint8_t key[32];              /* SHA-256 of the SubjectPublicKeyInfo */
};

enum conf_store { CONF_STORE_LMDB, CONF_STORE_MEMORY };
enum conf_durability { CONF_STRICT, CONF_RELAXED, CONF_OFF };
enum conf_queue_full { CONF_QUEUE_END_SESSION, CONF_QUEUE_REJECT, CONF_QUEUE_DROP_OLDEST };

struct conf { /* NOLINT(clang-analyzer-optin.performance.Padding): in groups by what they are about */
	char *path;                           /* the file it came from; NULL: none */
	struct conf_listener *listeners;
	size_t n_listeners;

	/* limits */
	uint32_t max_connections;             /* default 100,000 (mosquitto: -1, unlimited, is accepted as that) */
	bool max_connections_given;           /* by the file: more than nofile allows is then refused; the default is lowered instead */
	uint32_t max_inflight_messages;       /* default 100; 0: 65,535 */
	uint32_t max_queued_messages;         /* per session; default 1,000,000; 0: no limit */
	uint64_t max_queued_bytes;            /* per session; default 1 GiB */
	uint64_t max_queued_memory;           /* of it, in memory, per session; default 64 MiB */
	uint32_t max_packet_size;             /* bytes; default 16 MiB */
	uint32_t max_connect_packet_size;     /* bytes before CONNECT; default 128 KiB */
	uint32_t max_keepalive_s;             /* default 65,535 */
	uint32_t max_topic_levels;            /* default 200 */
	uint64_t max_retained_messages;       /* 0: no limit */
	uint32_t max_subscriptions_per_client;/* default 0: no limit */
	uint32_t max_wildcard_shapes;         /* default 100; of one session (topics/trie.h: sub_set_shape_fits) */
	uint64_t persistent_client_expiration_s; /* 0: never; mosquitto's 14d, 2w, 1h, 3m, 1y forms */
	uint32_t handshake_timeout_s;         /* TLS handshake and CONNECT together; default 10 */
	uint32_t publish_wait_s;              /* default 30; 0: a publisher whose message is refused is closed at once */
	uint32_t will_grace_s;                /* default 60 */
	uint32_t max_handshakes_per_minute;   /* of one address (IPv6: its /64); 0: no limit, as below */
	uint32_t max_unfinished_handshakes;   /* of all; default 20,000 */
	uint32_t known_certificates;          /* signatures that each loop remembers; default 8,192; 0: none */
	uint32_t max_connections_per_identity;
	uint32_t max_connects_per_minute;     /* of one identity */
	uint32_t max_messages_per_second;     /* PUBLISH of one identity */
	uint64_t max_bytes_per_second;        /* in packets of one identity */
	uint32_t packet_timeout_s;            /* for a packet that has begun; default 300 */
	uint64_t max_partial_packet_memory;   /* bytes; default 1 GiB */
	enum conf_queue_full queue_full;

	/* behaviour */
	bool allow_plaintext_loopback, wills_at_shutdown, retain_available, allow_zero_length_clientid, set_tcp_nodelay;
	char *auto_id_prefix;                 /* default "auto-" */
	uint32_t sys_interval_s;              /* default 10; 0: no $SYS */
	uint32_t threads;                     /* loops; 0: chosen at start */
	uint32_t busy_delay_us;               /* sleep before the next poll after a turn of 8 messages or more; default 150 */

	/* store */
	enum conf_store store;
	uint32_t store_memory_delay_ms;       /* for tests */
	char *store_dir;                      /* default /var/lib/sealmq (persistence_location) */
	char *master_key_file;
	uint64_t store_max_size;              /* bytes */
	enum conf_durability durability;
	uint32_t sync_interval_ms;            /* durability relaxed */
	struct history_policy *history;       /* NULL: no topic keeps its past */

	/* process */
	char *user;                           /* NULL: stay; default for root: "sealmq" if it exists, else "nobody" is NOT assumed: a warning */
	char *pid_file;
	struct log_conf log;
	char *log_file;                       /* owns log.file */
	char *acl_file;
	char *topics_file;                    /* declares key spaces; NULL: none */
	struct conf_pin *pins;
	size_t n_pins;
	char **clientid_patterns;             /* a client id has to fit one; none: every one does (broker/clientid.h) */
	size_t n_clientid_patterns;
	bool keep_expired;                    /* certificate_expired keep: who is connected stays when the certificate ends */
	bool reload_on_change;                /* as SIGHUP does, when the files have changed */
	char **include_dirs;                  /* what include_dir named, for who watches the files */
	size_t n_include_dirs;
	char *audit_log;                      /* NULL: none */
	uint64_t audit_log_max_size;          /* bytes; default 100 MiB; 0: no limit */
	uint32_t audit_log_max_age_s;         /* default 0: no limit */
	uint32_t audit_checkpoint_lines;      /* default 1,000 */
	char **topic_admins;                  /* n_topic_admins CNs that may create key spaces */
	size_t n_topic_admins;
	uint32_t direct_messages;             /* key spaces direct/<own CN>/… that each identity may create; default 0: none */
};

/* Reads path (NULL: defaults alone: a TLS listener on 8883 with certs/…). Every problem is printed to errors as
 * "FILE:LINE: KEY: what is wrong, what was expected"; warnings likewise with "warning:". Returns NULL when there was an error; all
 * are reported, not just the first. */
struct conf *conf_load(const char *path, FILE *errors) MUST_CHECK;
void conf_free(struct conf *c);

/* Makes next, just loaded, what a broker that works by `running` can go over to: its listeners and what else needs a restart are taken
 * from running, and each such difference is printed as "FILE:LINE: warning: …". ERR_NOMEM: next is only fit to be freed. */
enum err conf_keep(struct conf *next, const struct conf *running, FILE *warnings) MUST_CHECK;

#endif
