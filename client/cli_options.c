/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One table of options for all commands: letters and names as mosquitto_pub and mosquitto_sub have them, and our own. */
#include "client/cli_options.h"

#include "base/textfile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { SWITCH, TEXT, LIST, NUMBER, REAL, SPAN_MS, SPAN_S, COUNT, SIZE, URL, PROTOCOL, UNSUPPORTED };

struct option {
	const char *letter, *name;
	enum kind kind;
	unsigned commands;
	bool in_file;            /* may stand in the file and in the environment */
	size_t at;               /* of its field */
	long min, max;           /* of a NUMBER */
	const char *argument, *help;
};
#define AT(field) offsetof(struct options, field)

static const struct option table[] = {
	{ "-h", "--host", TEXT, FOR_ALL, true, AT(host), 0, 0, "HOST", "the broker (localhost)" },
	{ "-p", "--port", NUMBER, FOR_ALL, true, AT(port), 1, 65535, "PORT", "8883 with TLS, 1883 without" },
	{ "-L", "--url", URL, FOR_MESSAGES, false, 0, 0, 0, "URL", "mqtt(s)://[user[:password]@]host[:port]/topic" },
	{ "-A", "--bind", TEXT, FOR_ALL, true, AT(bind_address), 0, 0, "ADDRESS", "the local address to connect from" },
	{ "-i", "--id", TEXT, FOR_ALL, true, AT(id), 0, 0, "ID", "client id (sealmq-, the host's name and random digits)" },
	{ "-I", "--id-prefix", TEXT, FOR_ALL, true, AT(id_prefix), 0, 0, "PREFIX", "client id: this and the process id" },
	{ "-c", "--disable-clean-session", SWITCH, FOR_MESSAGES, false, AT(disable_clean_session), 0, 0, NULL, "a session that outlives the connection (needs -i)" },
	{ "-k", "--keepalive", NUMBER, FOR_ALL, true, AT(keepalive_s), 5, 65535, "SECONDS", "keepalive (60)" },
	{ "-u", "--username", TEXT, FOR_ALL, true, AT(username), 0, 0, "NAME", "user name (the broker goes by the certificate)" },
	{ "-P", "--pw", TEXT, FOR_ALL, true, AT(password), 0, 0, "PASSWORD", "password" },
	{ "-V", "--protocol-version", PROTOCOL, FOR_ALL, true, AT(version31), 0, 0, "VERSION", "mqttv311 or mqttv31" },
	{ NULL, "--cafile", TEXT, FOR_ALL | FOR_RECEIPT, true, AT(cafile), 0, 0, "FILE", "the authorities, PEM" },
	{ NULL, "--capath", TEXT, FOR_ALL, true, AT(capath), 0, 0, "FOLDER", "the authorities, for TLS alone: sealing needs --cafile" },
	{ NULL, "--cert", TEXT, FOR_ALL | FOR_RECEIPT, true, AT(certfile), 0, 0, "FILE", "this client's certificate, PEM: who it is" },
	{ NULL, "--key", TEXT, FOR_ALL | FOR_RECEIPT, true, AT(keyfile), 0, 0, "FILE", "its private key, PEM" },
	{ NULL, "--crlfile", TEXT, FOR_ALL | FOR_RECEIPT, true, AT(crlfile), 0, 0, "FILE", "revocation lists, for the senders of sealed messages" },
	{ NULL, "--ciphers", TEXT, FOR_ALL, true, AT(ciphers), 0, 0, "LIST", "TLS 1.2 cipher suites" },
	{ NULL, "--tls-version", TEXT, FOR_ALL, true, AT(tls_version), 0, 0, "VERSION", "tlsv1.2 or tlsv1.3" },
	{ NULL, "--tls-alpn", TEXT, FOR_ALL, true, AT(tls_alpn), 0, 0, "NAME", "TLS application protocol" },
	{ NULL, "--insecure", SWITCH, FOR_ALL, true, AT(insecure), 0, 0, NULL, "do not compare the server's name with its certificate" },
	{ NULL, "--nodelay", SWITCH, FOR_ALL, true, AT(nodelay), 0, 0, NULL, "TCP_NODELAY" },
	{ NULL, "--keep-trying", SWITCH, FOR_ALL, true, AT(keep_trying), 0, 0, NULL, "also wait for the first connection" },
	{ NULL, "--reconnect-max", NUMBER, FOR_ALL, true, AT(reconnect_max_s), 1, 3600, "SECONDS", "the longest pause between two tries (60)" },
	{ NULL, "--will-topic", TEXT, FOR_MESSAGES, true, AT(will_topic), 0, 0, "TOPIC", "where the broker publishes when this client is lost; sealed, if it is a sealed topic" },
	{ NULL, "--will-payload", TEXT, FOR_MESSAGES, true, AT(will_payload), 0, 0, "TEXT", "and what (nothing)" },
	{ NULL, "--will-qos", NUMBER, FOR_MESSAGES, true, AT(will_qos), 0, 2, "QOS", "and how (0)" },
	{ NULL, "--will-retain", SWITCH, FOR_MESSAGES, true, AT(will_retain), 0, 0, NULL, "retained" },

	{ "-t", "--topic", LIST, FOR_MESSAGES, true, AT(topics), 0, 0, "TOPIC", "the topic; sub: a filter, several -t are possible" },
	{ "-q", "--qos", NUMBER, FOR_MESSAGES, true, AT(qos), 0, 2, "QOS", "quality of service (1)" },
	{ "-m", "--message", TEXT, FOR_PUB | FOR_SEND, false, AT(message), 0, 0, "TEXT", "the payload" },
	{ "-f", "--file", TEXT, FOR_PUB | FOR_SEND, false, AT(file), 0, 0, "FILE", "the payload is the file's content" },
	{ "-s", "--stdin-file", SWITCH, FOR_PUB | FOR_SEND, false, AT(stdin_whole), 0, 0, NULL, "the payload is all of standard input" },
	{ "-l", "--stdin-line", SWITCH, FOR_PUB | FOR_SEND, false, AT(stdin_lines), 0, 0, NULL, "a message for each line of standard input" },
	{ "-n", "--null-message", SWITCH, FOR_PUB, false, AT(null_message), 0, 0, NULL, "an empty payload; with -r it clears a retained message" },
	{ "-r", "--retain", SWITCH, FOR_PUB, false, AT(retain), 0, 0, NULL, "retained" },
	{ NULL, "--repeat", NUMBER, FOR_PUB, false, AT(repeat), 1, 1000000000, "N", "publish it N times" },
	{ NULL, "--repeat-delay", REAL, FOR_PUB, false, AT(repeat_delay_s), 0, 1000000, "SECONDS", "with a pause between" },
	{ "-M", "--max-inflight", NUMBER, FOR_PUB, true, AT(max_inflight), 1, 65535, "N", "unacknowledged messages at a time (20)" },
	{ "-C", "--count", NUMBER, FOR_SUB, false, AT(count), 1, 2147483647, "N", "end after N messages" },
	{ "-E", "--exit-after-suback", SWITCH, FOR_SUB, false, AT(exit_after_suback), 0, 0, NULL, "end when all subscriptions are acknowledged" },
	{ "-W", "--timeout", NUMBER, FOR_ALL, true, AT(timeout_s), 1, 2147483, "SECONDS", "end after that time, with status 27" },
	{ "-F", "--format", TEXT, FOR_SUB, true, AT(format), 0, 0, "FORMAT", "as mosquitto_sub has it; or jsonl: one JSON object per message" },
	{ "-N", "--no-eol", SWITCH, FOR_SUB, false, AT(no_newline), 0, 0, NULL, "no line feed after a payload" },
	{ "-R", "--no-retained", SWITCH, FOR_SUB, false, AT(no_retained), 0, 0, NULL, "not what is retained or from the history" },
	{ NULL, "--retained-only", SWITCH, FOR_SUB, false, AT(retained_only), 0, 0, NULL, "nothing else, and end at the first live message" },
	{ NULL, "--remove-retained", SWITCH, FOR_SUB, false, AT(remove_retained), 0, 0, NULL, "clear each retained message that comes" },
	{ "-T", "--filter-out", LIST, FOR_SUB, false, AT(filter_out), 0, 0, "FILTER", "drop messages of these topics" },
	{ "-U", "--unsubscribe", LIST, FOR_SUB, false, AT(unsubscribe), 0, 0, "FILTER", "unsubscribe from it first" },
	{ NULL, "--random-filter", REAL, FOR_SUB, false, AT(random_filter), 0, 100, "PERCENT", "print that share of the messages" },
	{ NULL, "--pretty", SWITCH, FOR_SUB, false, AT(pretty), 0, 0, NULL, "%j and %J over several lines" },

	{ NULL, "--state", TEXT, FOR_ALL, true, AT(state), 0, 0, "FILE", "where it is remembered who issues which keys (~/.local/state/sealmq/pins)" },
	{ NULL, "--no-state", SWITCH, FOR_ALL, true, AT(no_state), 0, 0, NULL, "do not remember it: trust what comes first, each time" },

	{ NULL, "--sealed", SWITCH, FOR_MESSAGES, true, AT(sealed), 0, 0, NULL, "sealed or not at all: never in plain text" },
	{ NULL, "--plain", SWITCH, FOR_MESSAGES, true, AT(plain), 0, 0, NULL, "do not ask for keys: the plain view" },
	{ NULL, "--sign", SWITCH, FOR_PUB, true, AT(sign), 0, 0, NULL, "sign sealed messages (unasked where the topic requires it)" },
	{ NULL, "--require-signature", SWITCH, FOR_SUB, true, AT(require_signature), 0, 0, NULL, "refuse what its sender has not signed" },
	{ NULL, "--history", TEXT, FOR_SUB | FOR_CHAT, false, AT(history), 0, 0, "SPEC", "first the past: 100 (chat's default), 15m, 7d, since-<ms> or all" },
	{ NULL, "--max-age", SPAN_MS, FOR_SUB, true, AT(max_age_ms), 0, 0, "SPAN", "refuse what is older than 90s, 15m, 12h, 7d, or of unknown age" },
	{ NULL, "--accept", TEXT, FOR_SUB, true, AT(accept), 0, 0, "VERDICTS", "which are printed (live,late,past); also: revoked-since, duplicate" },
	{ NULL, "--transcript", TEXT, FOR_SUB, true, AT(transcript), 0, 0, "FILE", "append each verified sealed message to it: proof for later" },

	{ NULL, "--outbox", TEXT, FOR_PUB, false, AT(outbox), 0, 0, "FILE", "keep messages in it until they are acknowledged, over restarts" },
	{ NULL, "--dedup", TEXT, FOR_SUB, false, AT(dedup), 0, 0, "FILE", "keep in it what was printed: nothing twice, nothing left out, over restarts" },
	{ "-o", "--output", TEXT, FOR_SUB, false, AT(output), 0, 0, "FILE", "with --dedup: print to this file, each message exactly once" },
	{ NULL, "--all", SWITCH, FOR_INBOX, false, AT(all), 0, 0, NULL, "also what was shown before" },
	{ "-f", "--follow", SWITCH, FOR_INBOX, false, AT(follow), 0, 0, NULL, "go on: print what comes" },

	{ NULL, "--first", COUNT, FOR_RECEIPT, false, AT(first), 0, 0, "N", "make: the first message that the receipt is about (1)" },
	{ "-o", "--output", TEXT, FOR_RECEIPT, false, AT(output), 0, 0, "FILE", "make: where the receipt goes (standard output)" },

	{ NULL, "--mode", TEXT, FOR_TOPIC, false, AT(mode), 0, 0, "MODE", "broker (the default), open or owner" },
	{ NULL, "--signatures", TEXT, FOR_TOPIC, false, AT(sign_policy), 0, 0, "POLICY", "off, optional (the default) or required" },
	{ NULL, "--member", LIST, FOR_TOPIC, false, AT(members), 0, 0, "CN", "a member by name; CN:read, CN:write for less than both" },
	{ NULL, "--member-cert", LIST, FOR_TOPIC, false, AT(member_certs), 0, 0, "FILE", "a member by certificate (PEM); FILE:read, FILE:write" },
	{ NULL, "--new-members", TEXT, FOR_TOPIC, false, AT(new_members), 0, 0, "WHAT", "see-past (the default) or from-join" },
	{ NULL, "--history", COUNT, FOR_TOPIC, false, AT(history_count), 0, 0, "N", "keep N messages of each topic (0: no limit of that kind)" },
	{ NULL, "--history-age", SPAN_S, FOR_TOPIC, false, AT(history_age_s), 0, 0, "SPAN", "keep messages that long: 90s, 15m, 12h, 7d" },
	{ NULL, "--history-bytes", SIZE, FOR_TOPIC, false, AT(history_bytes), 0, 0, "SIZE", "keep so much: 512K, 64M, 2G" },
	{ NULL, "--rotate-age", SPAN_S, FOR_TOPIC, false, AT(rotate_age_s), 0, 0, "SPAN", "a new key when the current one is so old" },
	{ NULL, "--rotate-count", COUNT, FOR_TOPIC, false, AT(rotate_count), 0, 0, "N", "a new key after so many messages" },
	{ NULL, "--json", SWITCH, FOR_TOPIC | FOR_KEY, false, AT(json), 0, 0, NULL, "the answer as JSON" },
	{ "-o", "--output", TEXT, FOR_KEY, false, AT(output), 0, 0, "FILE", "export, backup: where the keys go" },
	{ NULL, "--to", TEXT, FOR_KEY, false, AT(recipient), 0, 0, "FILE", "export, backup: for this certificate (PEM) of the owner's" },
	{ NULL, "--password-file", TEXT, FOR_KEY, false, AT(password_file), 0, 0, "FILE", "export, backup, import: a password is its first line ('-': standard input's)" },
	{ NULL, "--show-keys", SWITCH, FOR_KEY, false, AT(show_keys), 0, 0, NULL, "print the secret keys, too" },

	{ "-v", "--verbose", SWITCH, FOR_MESSAGES, false, AT(verbose), 0, 0, NULL, "sub: topic before each payload; pub: a line for each acknowledgement" },
	{ "-d", "--debug", SWITCH, FOR_ALL, false, AT(debug), 0, 0, NULL, "what the MQTT library does" },
	{ NULL, "--quiet", SWITCH, FOR_ALL | FOR_RECEIPT, true, AT(quiet), 0, 0, NULL, "no messages on standard error" },

	{ "-D", "--property", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "properties are MQTT 5's, which the broker does not speak" },
	{ "-x", "--session-expiry-interval", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "MQTT 5's; see the broker's persistent_client_expiration" },
	{ NULL, "--psk", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "the identity is a certificate: --cert, --key" },
	{ NULL, "--psk-identity", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "the identity is a certificate: --cert, --key" },
	{ NULL, "--tls-engine", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "keys are read from PEM files" },
	{ NULL, "--tls-engine-kpass-sha1", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "keys are read from PEM files" },
	{ NULL, "--tls-use-os-certs", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "who is trusted is said by --cafile" },
	{ NULL, "--keyform", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "keys are read from PEM files" },
	{ NULL, "--proxy", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "there is no proxy support" },
	{ NULL, "--unix", UNSUPPORTED, FOR_MESSAGES, false, 0, 0, 0, NULL, "the broker has no such listener" },
};
enum { OPTIONS = sizeof table / sizeof table[0] };

/* Where a value stands, for messages: "--qos" or "client.conf:3: qos". */
struct place { const char *command, *text; };

PRINTF_LIKE(2, 3) static bool fail(const struct place *p, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "sealmq %s: %s: ", p->command, p->text);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return false;
}

void complain(const struct options *o, const char *fmt, ...)
{
	va_list ap;
	if (o->quiet)
		return;
	char text[1024];
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (o->complainer)
		o->complainer->say(o->complainer->ctx, text);
	else
		fprintf(stderr, "sealmq: %s\n", text);
}

/* ---- values */

static bool set_number(const struct place *p, const struct option *spec, const char *value, int *out)
{
	char *end;
	errno = 0;
	long n = strtol(value, &end, 10);
	if (end == value || *end || errno || n < spec->min || n > spec->max)
		return fail(p, "expected a number from %ld to %ld, not '%s'", spec->min, spec->max, value);
	*out = (int)n;
	return true;
}

static bool set_real(const struct place *p, const struct option *spec, const char *value, double *out)
{
	char *end;
	double n = strtod(value, &end);
	if (end == value || *end || !(n >= (double)spec->min && n <= (double)spec->max))
		return fail(p, "expected a number from %ld to %ld, not '%s'", spec->min, spec->max, value);
	*out = n;
	return true;
}

/* A whole number with one of the units behind it. */
static bool set_units(const struct place *p, const char *value, const char *units, const int64_t *factors, const char *expected, int64_t *out)
{
	char *end;
	errno = 0;
	long long n = strtoll(value, &end, 10);
	const char *unit = end == value || !*end ? NULL : strchr(units, *end);
	int64_t factor = unit ? factors[unit - units] : 1;
	if (end == value || errno || n < 0 || (*end && (!unit || end[1])) || n > INT64_MAX / 1000 / factor)
		return fail(p, "expected %s, not '%s'", expected, value);
	*out = n * factor;
	return true;
}

static bool set_count(const struct place *p, const char *value, int64_t *out)
{
	static const int64_t factors[] = { 1 };
	return set_units(p, value, "", factors, "a number", out);
}

static bool set_span(const struct place *p, const char *value, int64_t per_second, int64_t *out)
{
	static const int64_t factors[] = { 1, 60, 3600, 86400, 604800 };
	int64_t seconds = 0;
	if (!set_units(p, value, "smhdw", factors, "a span such as 90s, 15m, 12h, 7d", &seconds))
		return false;
	*out = seconds * per_second;
	return true;
}

static bool set_size(const struct place *p, const char *value, int64_t *out)
{
	static const int64_t factors[] = { 1024, 1048576, 1073741824 };
	return set_units(p, value, "KMG", factors, "a size such as 512K, 64M, 2G", out);
}

static bool set_protocol(const struct place *p, const char *value, bool *version31)
{
	if (strcmp(value, "5") == 0 || strcmp(value, "mqttv5") == 0)
		return fail(p, "the broker does not speak MQTT 5; expected mqttv311 or mqttv31");
	*version31 = strcmp(value, "31") == 0 || strcmp(value, "mqttv31") == 0;
	if (!*version31 && strcmp(value, "311") != 0 && strcmp(value, "mqttv311") != 0)
		return fail(p, "expected mqttv311 or mqttv31, not '%s'", value);
	return true;
}

static bool add(const struct place *p, struct text_list *l, const char *value)
{
	if (l->n == OPTIONS_LIST_MAX)
		return fail(p, "more than %u of them", OPTIONS_LIST_MAX);
	l->items[l->n++] = value;
	return true;
}

/* Owned until options_free; NULL when there is no room or memory. */
static char *keep(struct options *o, char *text)
{
	if (text && o->n_kept < sizeof o->kept / sizeof o->kept[0])
		return o->kept[o->n_kept++] = text;
	free(text);
	return NULL;
}

void options_free(struct options *o)
{
	while (o->n_kept > 0)
		free(o->kept[--o->n_kept]);
}

/* mqtt(s)://[user[:password]@]host[:port]/topic */
static bool set_url(const struct place *p, const char *value, struct options *o)
{
	bool tls = strncmp(value, "mqtts://", 8) == 0;
	if (!tls && strncmp(value, "mqtt://", 7) != 0)
		return fail(p, "expected mqtt:// or mqtts://, not '%s'", value);
	char *rest = keep(o, strdup(value + (tls ? 8 : 7)));
	char *topic = rest ? strchr(rest, '/') : NULL;
	if (!topic || !topic[1])
		return fail(p, "expected a topic behind the host");
	*topic++ = '\0';
	char *at = strrchr(rest, '@'), *host = at ? at + 1 : rest;
	if (at) {
		*at = '\0';
		char *password = strchr(rest, ':');
		if (password)
			*password++ = '\0';
		o->username = rest;
		o->password = password;
	}
	char *port = *host == '[' ? strchr(host, ']') : host;
	port = port ? strchr(port, ':') : NULL;
	if (port)
		*port++ = '\0';
	const struct option number = { .min = 1, .max = 65535 };
	if (port && !set_number(p, &number, port, &o->port))
		return false;
	if (!port)
		o->port = tls ? 8883 : 1883;
	o->host = host;
	return add(p, &o->topics, topic);
}

static bool set(struct options *o, const struct option *spec, const struct place *p, const char *value)
{
	void *field = (char *)o + spec->at;
	switch (spec->kind) {
	case SWITCH: *(bool *)field = true; return true;
	case TEXT: *(const char **)field = value; return true;
	case LIST: return add(p, field, value);
	case NUMBER: return set_number(p, spec, value, field);
	case REAL: return set_real(p, spec, value, field);
	case SPAN_MS: return set_span(p, value, 1000, field);
	case SPAN_S: return set_span(p, value, 1, field);
	case COUNT: return set_count(p, value, field);
	case SIZE: return set_size(p, value, field);
	case PROTOCOL: return set_protocol(p, value, field);
	case URL: /* on the command line alone */
	case UNSUPPORTED: break;
	}
	return fail(p, "not supported: %s", spec->help);
}

/* ---- the file and the environment */

static const struct option *find_name(const char *name, size_t len, unsigned command)
{
	for (int i = 0; i < OPTIONS; i++)
		if ((table[i].commands & command) && strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return &table[i];
	return NULL;
}

/* An option that may stand in the file, whatever command it is for: the file is everybody's. */
static const struct option *find_key(struct text_line key)
{
	for (int i = 0; i < OPTIONS; i++)
		if (table[i].in_file && text_is(key, table[i].name + 2))
			return &table[i];
	return NULL;
}

static bool truth(const struct place *p, const char *value, bool *yes)
{
	*yes = strcmp(value, "true") == 0;
	return *yes || strcmp(value, "false") == 0 || fail(p, "expected true or false, not '%s'", value);
}

/* A value from the file or the environment; -t there is a default that the command line replaces. */
static bool set_default(struct options *o, const struct option *spec, unsigned command, const struct place *p, const char *value)
{
	struct options scratch = *o;
	bool yes = true;
	if (spec->kind == SWITCH && !truth(p, value, &yes))
		return false;
	if (spec->kind == LIST)
		((struct text_list *)(void *)((char *)&scratch + spec->at))->n = 0;
	if (yes && !set(&scratch, spec, p, value))
		return false;
	if (spec->kind == SWITCH && !yes)
		*(bool *)(void *)((char *)&scratch + spec->at) = false;
	if (spec->commands & command)
		*o = scratch;
	return true;
}

/* On the heap; NULL: there is none. */
static char *file_path(void)
{
	const char *own = getenv("SEALMQ_CONFIG"), *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *path = NULL;
	if (own)
		return *own ? strdup(own) : NULL;
	if (base && *base == '/')
		return asprintf(&path, "%s/sealmq/client.conf", base) < 0 ? NULL : path;
	return home && asprintf(&path, "%s/.config/sealmq/client.conf", home) >= 0 ? path : NULL;
}

/* Paths in the file are relative to its folder. */
static char *file_value(const struct option *spec, const char *path, struct text_line value)
{
	static const char *const files[] = { "--cafile", "--capath", "--cert", "--key", "--crlfile", "--transcript", "--state" };
	const char *slash = strrchr(path, '/');
	char *text = NULL;
	bool is_path = false;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		is_path |= strcmp(spec->name, files[i]) == 0;
	if (is_path && slash && value.len > 0 && *value.p != '/')
		return asprintf(&text, "%.*s/%.*s", (int)(slash - path), path, (int)value.len, value.p) < 0 ? NULL : text;
	return strndup(value.p, value.len);
}

static void read_lines(struct options *o, const char *name, unsigned command, const char *path, struct textfile *t)
{
	struct text_line line;
	while (textfile_next(t, &line)) {
		struct text_line key = text_word(&line);
		const struct option *spec = find_key(key);
		char where[512];
		snprintf(where, sizeof where, "%s:%u: %.*s", path, t->line, (int)key.len, key.p);
		const struct place p = { name, where };
		if (!spec) {
			textfile_error(t, "%.*s: unknown; expected the name of an option such as host, cafile, cert, key", (int)key.len, key.p);
			continue;
		}
		const char *value = keep(o, file_value(spec, path, line));
		if (!value || !set_default(o, spec, command, &p, value))
			t->n_errors++;
	}
}

/* One that was asked for by SEALMQ_CONFIG must be there. */
static bool read_file(struct options *o, const char *name, unsigned command)
{
	struct textfile t = { .n_errors = 0 };
	size_t len;
	char *path = file_path();
	if (!path || (access(path, F_OK) != 0 && !getenv("SEALMQ_CONFIG"))) {
		free(path);
		return true;
	}
	char *text = textfile_read(path, &len, stderr);
	if (text) {
		textfile_start(&t, text, len, path, stderr);
		read_lines(o, name, command, path, &t);
	}
	bool good = text && t.n_errors == 0;
	free(text);
	free(path);
	return good;
}

/* An option's letters, and those of its variable. */
static const char lower[] = "abcdefghijklmnopqrstuvwxyz-", upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_";

static bool read_environment(struct options *o, const char *name, unsigned command)
{
	for (int i = 0; i < OPTIONS; i++) {
		char variable[64];
		size_t n = (size_t)snprintf(variable, sizeof variable, "SEALMQ_%s", table[i].name + 2);
		for (size_t j = 7; j < n; j++) {
			const char *small = strchr(lower, variable[j]);
			if (small && *small)
				variable[j] = upper[small - lower];
		}
		const char *value = table[i].in_file ? getenv(variable) : NULL;
		const struct place p = { name, variable };
		if (value && *value && !set_default(o, &table[i], command, &p, value))
			return false;
	}
	return true;
}

/* ---- the command line */

static const struct option *find(const char *word, unsigned command)
{
	for (int i = 0; i < OPTIONS; i++)
		if ((table[i].commands & command) && table[i].letter && strcmp(table[i].letter, word) == 0)
			return &table[i];
	return find_name(word, strlen(word), command);
}

static bool read_words(struct options *o, unsigned command, int argc, char **argv, bool *help)
{
	bool lists_are_defaults = true, only_words = false;
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		if (only_words || word[0] != '-' || word[1] == '\0') {
			if (!add(&(struct place){ argv[0], word }, &o->words, word))
				return false;
			continue;
		}
		if (strcmp(word, "--") == 0) {
			only_words = true;
			continue;
		}
		if (strcmp(word, "--help") == 0) {
			*help = true;
			return false;
		}
		const struct option *spec = find(word, command);
		const struct place p = { argv[0], word };
		if (!spec)
			return fail(&p, "unknown option (sealmq %s --help lists them)", argv[0]);
		const char *value = NULL;
		if (spec->kind != SWITCH && spec->kind != UNSUPPORTED && !(value = i + 1 < argc ? argv[++i] : NULL))
			return fail(&p, "expected %s behind it", spec->argument);
		if (spec->at == AT(topics) && lists_are_defaults) {
			o->topics.n = 0;
			lists_are_defaults = false;
		}
		if (spec->kind == URL ? !set_url(&p, value, o) : !set(o, spec, &p, value))
			return false;
	}
	return true;
}

int options_port(const struct options *o)
{
	return o->port ? o->port : o->cafile || o->capath ? 8883 : 1883;
}

bool options_can_seal(const struct options *o)
{
	return o->cafile && o->certfile && o->keyfile;
}

/* What does not go together. */
static bool fits(const struct options *o, const char *name, unsigned command)
{
	const struct place tls = { name, "--cert" }, id = { name, "-c" }, view = { name, "--sealed" }, will = { name, "--will-payload" };
	if (command != FOR_RECEIPT && (o->certfile || o->keyfile) && !o->cafile && !o->capath)
		return fail(&tls, "without --cafile or --capath there is nobody to trust");
	if (!o->certfile != !o->keyfile)
		return fail(&tls, "expected --cert and --key together");
	if (o->disable_clean_session && !o->id && !o->id_prefix)
		return fail(&id, "a session that is to be found again needs a client id: -i");
	if (o->sealed && o->plain)
		return fail(&view, "not together with --plain");
	if (o->sealed && !options_can_seal(o))
		return fail(&view, "sealing needs --cafile, --cert and --key");
	if ((o->will_payload || o->will_retain) && !o->will_topic)
		return fail(&will, "expected --will-topic, too");
	return true;
}

bool options_read(struct options *o, unsigned command, int argc, char **argv, bool *help)
{
	*help = false;
	memset(o, 0, sizeof *o);
	o->host = "localhost";
	o->keepalive_s = 60;
	o->qos = 1;
	o->max_inflight = 20;
	o->repeat = 1;
	o->reconnect_max_s = 60;
	o->random_filter = 100;
	o->accept = "live,late,past";
	o->max_age_ms = o->history_count = o->history_age_s = o->history_bytes = o->rotate_age_s = o->rotate_count = -1;
	bool good = read_file(o, argv[0], command) && read_environment(o, argv[0], command) && read_words(o, command, argc, argv, help) &&
	            fits(o, argv[0], command);
	if (!good)
		options_free(o);
	return good;
}

void options_print(unsigned command)
{
	for (int i = 0; i < OPTIONS; i++) {
		const struct option *s = &table[i];
		char head[64];
		if (!(s->commands & command) || s->kind == UNSUPPORTED)
			continue;
		snprintf(head, sizeof head, "%s%s%s%s%s", s->letter ? s->letter : "   ", s->letter ? " " : "", s->name, s->argument ? " " : "",
		         s->argument ? s->argument : "");
		printf("  %-32s %s\n", head, s->help);
	}
}
