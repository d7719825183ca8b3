/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the command line, the environment and the configuration file say. In that order they win:
 *   an option                     --cafile certs/ca.crt
 *   SEALMQ_<NAME>                 SEALMQ_CAFILE=certs/ca.crt     (capitals, '-' as '_')
 *   a line of the file            cafile certs/ca.crt            ($SEALMQ_CONFIG, else $XDG_CONFIG_HOME/sealmq/client.conf, else ~/.config/…) */
#ifndef CLIENT_CLI_OPTIONS_H
#define CLIENT_CLI_OPTIONS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which commands know an option. */
enum {
	FOR_PUB = 1, FOR_SUB = 2, FOR_TOPIC = 4, FOR_KEY = 8, FOR_RECEIPT = 16, FOR_CHAT = 32, FOR_SEND = 64, FOR_INBOX = 128,
	FOR_MESSAGES = FOR_PUB | FOR_SUB,
	FOR_ALL = FOR_PUB | FOR_SUB | FOR_TOPIC | FOR_KEY | FOR_CHAT | FOR_SEND | FOR_INBOX,  /* that connect */
};

#define OPTIONS_LIST_MAX 64u

/* Where complaints go instead of standard error: a line without its line feed. */
struct complainer { void (*say)(void *ctx, const char *line); void *ctx; };

struct text_list { const char *items[OPTIONS_LIST_MAX]; size_t n; };

struct options { /* NOLINT(clang-analyzer-optin.performance.Padding): in groups by what they are about; there is one of it */
	/* connection */
	const char *host, *bind_address, *id, *id_prefix, *username, *password;
	int port;               /* 0: 8883 with TLS, 1883 without */
	int keepalive_s;
	bool disable_clean_session, nodelay, keep_trying, version31;
	const char *cafile, *capath, *certfile, *keyfile, *crlfile, *ciphers, *tls_version, *tls_alpn;
	bool insecure;
	const char *will_topic, *will_payload;
	int will_qos;
	bool will_retain;
	int reconnect_max_s;
	/* messages */
	struct text_list topics, filter_out, unsubscribe;
	int qos, max_inflight, timeout_s, count, repeat;
	double repeat_delay_s, random_filter;
	bool retain, verbose, debug, quiet;
	/* pub */
	const char *message, *file;
	bool null_message, stdin_lines, stdin_whole;
	const char *outbox;
	/* sub */
	const char *format, *history, *accept, *transcript, *dedup;
	bool no_newline, no_retained, retained_only, remove_retained, exit_after_suback, pretty;
	int64_t max_age_ms; /* -1: not given */
	/* inbox */
	bool all, follow;
	/* sealing */
	bool sign, require_signature, sealed, plain;
	const char *state;
	bool no_state;
	/* topic */
	const char *mode, *sign_policy, *new_members, *access;
	struct text_list members, member_certs;
	int64_t history_count, history_age_s, history_bytes, rotate_age_s, rotate_count; /* -1: not given */
	bool json, show_keys;
	char *kept[2 * OPTIONS_LIST_MAX]; /* what strings above point into: values of the file, -L's parts */
	size_t n_kept;
	/* receipt */
	int64_t first;
	const char *output;
	/* key export, import */
	const char *recipient, *password_file;
	const struct complainer *complainer; /* NULL: standard error */
	/* what stands between and behind the options */
	struct text_list words;
};

/* Reads argv (argv[0]: the command), environment and file. False: the reason has been printed, or (*help) the usage was. Strings point
 * into argv, the environment and what options_free frees. */
bool options_read(struct options *o, unsigned command, int argc, char **argv, bool *help) MUST_CHECK;
void options_free(struct options *o);
/* The options that a command knows, one per line, for its --help. */
void options_print(unsigned command);

int options_port(const struct options *o); /* what is connected to */
/* Whether what is needed for sealing is there: certificate, key and cafile. */
bool options_can_seal(const struct options *o);

/* Prints "sealmq COMMAND: …" to standard error, unless quiet. */
void complain(const struct options *o, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
