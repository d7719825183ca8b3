/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parser: lines to keys, keys to members by the table in keys.c, then the checks that need the whole.
 * Everything wrong is reported before it gives up. One thread, at start and reload. */
#include "conf/conf.h"

#include "base/textfile.h"
#include "conf/keys.h"
#include "conf/parse.h"
#include "conf/value.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT 8883u
#define CONNECTIONS_DEFAULT 100000u
#define LISTENERS_MAX 1000u

struct parser {
	struct conf *c;
	struct conf_listener defaults;  /* keys before the first listener line */
	const char **files;             /* of each listener, for messages; borrowed from included */
	struct included *included;
	struct textfile *t;             /* the file being read */
	FILE *errors;
	unsigned n_errors;
	unsigned *seen_global, *seen_listener; /* per key: the line it was on, 0: not yet */
	uint16_t port;                  /* of mosquitto's default listener (port, bind_address); 0: not asked for */
	char *bind_address;
	unsigned default_line;          /* 0: no such listener */
	const char *default_file;
	bool log_dest_given, log_type_given;
	bool is_main, from_memory;
	bool no_memory;
};

/* The paths of included files, kept until the end since messages name them. */
struct included {
	struct included *next;
	char path[];
};

static void problem(struct parser *p, const char *file, unsigned line, const char *text)
{
	struct textfile at = { .name = file, .line = line, .errors = p->errors };
	textfile_error(&at, "%s", text);
	p->n_errors++;
}

static char *copy_text(struct parser *p, const char *s, size_t len)
{
	char *copy = strndup(s, len);
	if (!copy)
		p->no_memory = true;
	return copy;
}

static char *copy_string(struct parser *p, const char *s) { return s ? copy_text(p, s, strlen(s)) : NULL; }

static void listener_reset(struct conf_listener *l)
{
	free(l->address);
	free(l->cafile);
	free(l->capath);
	free(l->certfile);
	free(l->keyfile);
	free(l->crlfile);
	free(l->ciphers);
	free(l->ciphers_tls13);
	*l = (struct conf_listener){ 0 };
}

static void listener_copy(struct parser *p, struct conf_listener *to, const struct conf_listener *from)
{
	*to = *from;
	to->address = copy_string(p, from->address);
	to->cafile = copy_string(p, from->cafile);
	to->capath = copy_string(p, from->capath);
	to->certfile = copy_string(p, from->certfile);
	to->keyfile = copy_string(p, from->keyfile);
	to->crlfile = copy_string(p, from->crlfile);
	to->ciphers = copy_string(p, from->ciphers);
	to->ciphers_tls13 = copy_string(p, from->ciphers_tls13);
}

/* A new listener with the defaults as they stand; NULL (and no_memory) when there is no memory. */
static struct conf_listener *listener_add(struct parser *p, uint16_t port, const char *file, unsigned line)
{
	struct conf *c = p->c;
	struct conf_listener *more = realloc(c->listeners, (c->n_listeners + 1) * sizeof *more);
	if (more)
		c->listeners = more;
	const char **more_files = realloc(p->files, (c->n_listeners + 1) * sizeof *more_files);
	if (more_files)
		p->files = more_files;
	if (!more || !more_files) {
		p->no_memory = true;
		return NULL;
	}
	struct conf_listener *l = &c->listeners[c->n_listeners];
	p->files[c->n_listeners++] = file;
	listener_copy(p, l, &p->defaults);
	l->port = port;
	l->line = line;
	return l;
}

/* ---- one key */

/* What a good value looks like, for messages. */
static void expectation(const struct conf_key *key, char *out, size_t size)
{
	switch (key->type) {
	case KEY_BOOL:
	case KEY_PERSISTENCE:
		(void)snprintf(out, size, "true or false");
		return;
	case KEY_NUMBER:
	case KEY_COUNT:
	case KEY_PORT:
		(void)snprintf(out, size, "a number from %llu to %llu", (unsigned long long)key->min, (unsigned long long)key->max);
		return;
	case KEY_SIZE32:
	case KEY_SIZE64:
		(void)snprintf(out, size, "%llu to %llu bytes, as a number with perhaps K, M, G or T behind it (64K)",
			(unsigned long long)key->min, (unsigned long long)key->max);
		return;
	case KEY_SECONDS:
		(void)snprintf(out, size, "%llu to %llu seconds, as a number with perhaps s, m, h, d, w or y behind it (90s, 5m)",
			(unsigned long long)key->min, (unsigned long long)key->max);
		return;
	case KEY_EXPIRY:
		(void)snprintf(out, size, "a number and h, d, w, m (month) or y (14d), or 0 for never");
		return;
	case KEY_WORD:
	case KEY_WORD_BOOL:
	case KEY_SOCKET_DOMAIN:
		if (key->words[2])
			(void)snprintf(out, size, "%s, %s or %s", key->words[0], key->words[1], key->words[2]);
		else
			(void)snprintf(out, size, "%s or %s", key->words[0], key->words[1]);
		return;
	case KEY_TEXT:
	case KEY_LISTENER_LINE:
	case KEY_BIND_ADDRESS:
	case KEY_MAX_CONNECTIONS:
	case KEY_INCLUDE_DIR:
	case KEY_LOG_DEST:
	case KEY_LOG_TYPE:
		break;
	}
	(void)snprintf(out, size, "%s", key->expect);
}

static void bad_value(struct parser *p, const struct conf_key *key, struct text_line value)
{
	char quoted[TEXT_QUOTED_MAX], expected[160];
	expectation(key, expected, sizeof expected);
	if (value.len == 0)
		textfile_error(p->t, "%s: has no value; expected %s", key->name, expected);
	else
		textfile_error(p->t, "%s: %s is not valid; expected %s", key->name, text_quote(quoted, value.p, value.len), expected);
}

static bool value_word(const struct conf_key *key, struct text_line value, unsigned *index)
{
	for (unsigned i = 0; key->words[i]; i++) {
		if (text_is(value, key->words[i])) {
			*index = i;
			return true;
		}
	}
	return false;
}

/* Members are written by their bytes: the table's offset is all that is known of them. */
static void put(void *base, const struct conf_key *key, const void *value, size_t size)
{
	memcpy((char *)base + key->offset, value, size);
}

static void put_text(struct parser *p, void *base, const struct conf_key *key, struct text_line value)
{
	char *old = NULL, *text = copy_text(p, value.p, value.len);
	memcpy(&old, (char *)base + key->offset, sizeof old);
	free(old); /* a default */
	put(base, key, &text, sizeof text);
}

/* Types that the table describes whole. */
static bool put_value(struct parser *p, void *base, const struct conf_key *key, struct text_line value)
{
	uint64_t n = 0;
	unsigned word = 0;
	bool truth = false, ok = false;
	switch (key->type) {
	case KEY_TEXT:
		if (value.len > key->max)
			return false;
		put_text(p, base, key, value);
		return true;
	case KEY_BOOL:
		ok = value_bool(value.p, value.len, &truth);
		break;
	case KEY_WORD_BOOL:
		ok = value_word(key, value, &word);
		truth = word == 1;
		break;
	case KEY_NUMBER:
	case KEY_COUNT:
		ok = value_number(value.p, value.len, key->min, key->max, &n);
		break;
	case KEY_SIZE32:
	case KEY_SIZE64:
		ok = value_size(value.p, value.len, key->min, key->max, &n);
		break;
	case KEY_SECONDS:
		ok = value_seconds(value.p, value.len, key->min, key->max, &n);
		break;
	case KEY_EXPIRY:
		ok = value_expiry(value.p, value.len, &n);
		break;
	case KEY_WORD:
		ok = value_word(key, value, &word);
		break;
	case KEY_PERSISTENCE:
		ok = value_bool(value.p, value.len, &truth);
		word = truth ? CONF_STORE_LMDB : CONF_STORE_MEMORY;
		break;
	case KEY_LISTENER_LINE:
	case KEY_PORT:
	case KEY_BIND_ADDRESS:
	case KEY_SOCKET_DOMAIN:
	case KEY_MAX_CONNECTIONS:
	case KEY_INCLUDE_DIR:
	case KEY_LOG_DEST:
	case KEY_LOG_TYPE:
		return false;
	}
	if (!ok)
		return false;
	if (key->type == KEY_BOOL || key->type == KEY_WORD_BOOL)
		put(base, key, &truth, sizeof truth);
	else if (key->type == KEY_WORD || key->type == KEY_PERSISTENCE)
		put(base, key, &word, sizeof word);
	else if (key->type == KEY_COUNT || key->type == KEY_SIZE64 || key->type == KEY_EXPIRY)
		put(base, key, &n, sizeof n);
	else
		put(base, key, &(uint32_t){ (uint32_t)n }, sizeof(uint32_t)); /* the table's max fits 32 bits */
	return true;
}

/* An address or host name: what the resolver could take, so that a stray word is found here. */
static bool is_address(struct text_line value)
{
	for (size_t i = 0; i < value.len; i++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:-_%", value.p[i]))
			return false;
	return value.len > 0 && value.len < 256;
}

static bool set_listener(struct parser *p, struct text_line value)
{
	uint64_t port = 0;
	struct text_line word = text_word(&value);
	if (!value_number(word.p, word.len, 1, 65535, &port) || (value.len && !is_address(value)) || p->c->n_listeners == LISTENERS_MAX)
		return false;
	struct conf_listener *l = listener_add(p, (uint16_t)port, p->t->name, p->t->line);
	if (l && value.len) {
		free(l->address);
		l->address = copy_text(p, value.p, value.len);
	}
	memset(p->seen_listener, 0, conf_n_keys * sizeof *p->seen_listener);
	return true;
}

static void default_listener_asked(struct parser *p)
{
	if (p->default_line)
		return;
	p->default_line = p->t->line;
	p->default_file = p->t->name;
}

static bool set_port(struct parser *p, struct text_line value)
{
	uint64_t port = 0;
	if (!value_number(value.p, value.len, 1, 65535, &port))
		return false;
	default_listener_asked(p);
	p->port = (uint16_t)port;
	return true;
}

static bool set_bind_address(struct parser *p, struct text_line value)
{
	if (!is_address(value))
		return false;
	default_listener_asked(p);
	free(p->bind_address);
	p->bind_address = copy_text(p, value.p, value.len);
	return true;
}

static bool set_max_connections(struct parser *p, struct text_line value)
{
	uint64_t n = 0;
	struct conf *c = p->c;
	bool none = text_is(value, "-1") || text_is(value, "0"); /* mosquitto's "unlimited" */
	if (!none && !value_number(value.p, value.len, 1, UINT32_MAX, &n))
		return false;
	if (c->n_listeners) {
		c->listeners[c->n_listeners - 1].max_connections = (uint32_t)n;
	} else {
		c->max_connections = none ? CONNECTIONS_DEFAULT : (uint32_t)n;
		c->max_connections_given = !none;
	}
	return true;
}

static bool set_log_type(struct parser *p, struct text_line value)
{
	static const struct { const char *name; unsigned mask; } types[] = {
		{ "error", LOG_ERROR }, { "warning", LOG_WARNING }, { "notice", LOG_NOTICE }, { "information", LOG_INFO }, { "debug", LOG_DEBUG },
		{ "all", LOG_ERROR | LOG_WARNING | LOG_NOTICE | LOG_INFO | LOG_DEBUG },
		/* mosquitto's finer types: their lines are debug lines here */
		{ "subscribe", 0 }, { "unsubscribe", 0 }, { "websockets", 0 }, { "internal", 0 },
	};
	if (!p->log_type_given)
		p->c->log.level_mask = 0;
	p->log_type_given = true;
	if (text_is(value, "none")) {
		p->c->log.level_mask = 0;
		return true;
	}
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		if (!text_is(value, types[i].name))
			continue;
		p->c->log.level_mask |= types[i].mask;
		if (types[i].mask == 0)
			textfile_warning(p->t, "log_type: %s has no effect: such lines are written with debug", types[i].name);
		return true;
	}
	return false;
}

static bool set_log_file(struct parser *p, struct text_line path)
{
	if (path.len == 0 || path.len > 4095)
		return false;
	if (p->c->log_file) {
		textfile_error(p->t, "log_dest: there is a log file already; expected one");
		return true;
	}
	p->c->log_file = copy_text(p, path.p, path.len);
	return true;
}

static bool set_log_dest(struct parser *p, struct text_line value)
{
	struct conf *c = p->c;
	struct text_line rest = value, word = text_word(&rest);
	bool is_file = text_is(word, "file");
	if (text_is(value, "topic") || text_is(value, "dlt")) {
		textfile_warning(p->t, "log_dest: %.*s has no effect: lines go to stderr, a file or syslog", (int)value.len, value.p);
		return true;
	}
	bool none = text_is(value, "none"), to_stdout = text_is(value, "stdout"), to_stderr = to_stdout || text_is(value, "stderr");
	bool to_syslog = text_is(value, "syslog");
	if (!is_file && !none && !to_stderr && !to_syslog)
		return false;
	if (!p->log_dest_given || none)
		c->log.to_stderr = c->log.to_syslog = false;
	p->log_dest_given = true;
	if (to_stdout)
		textfile_warning(p->t, "log_dest: stdout means stderr here");
	if (none) {
		free(c->log_file);
		c->log_file = NULL;
	}
	c->log.to_stderr |= to_stderr;
	c->log.to_syslog |= to_syslog;
	return !is_file || set_log_file(p, rest);
}

static bool include_dir(struct parser *p, struct text_line value);

/* A key of class KEY_SUPPORTED. False: the value is not valid. */
static bool set_key(struct parser *p, const struct conf_key *key, struct text_line value)
{
	struct conf *c = p->c;
	struct conf_listener *l = c->n_listeners ? &c->listeners[c->n_listeners - 1] : &p->defaults;
	switch (key->type) {
	case KEY_TEXT:
	case KEY_BOOL:
	case KEY_NUMBER:
	case KEY_COUNT:
	case KEY_SIZE32:
	case KEY_SIZE64:
	case KEY_SECONDS:
	case KEY_EXPIRY:
	case KEY_WORD:
	case KEY_WORD_BOOL:
	case KEY_PERSISTENCE:
		return put_value(p, key->scope == KEY_LISTENER ? (void *)l : c, key, value);
	case KEY_LISTENER_LINE:
		return set_listener(p, value);
	case KEY_PORT:
		return set_port(p, value);
	case KEY_BIND_ADDRESS:
		return set_bind_address(p, value);
	case KEY_SOCKET_DOMAIN:
		l->family = text_is(value, "ipv4") ? 4 : 6;
		return l->family == 4 || text_is(value, "ipv6");
	case KEY_MAX_CONNECTIONS:
		return set_max_connections(p, value);
	case KEY_INCLUDE_DIR:
		return include_dir(p, value);
	case KEY_LOG_DEST:
		return set_log_dest(p, value);
	case KEY_LOG_TYPE:
		return set_log_type(p, value);
	}
	return false;
}

/* ---- one line */

/* '#' after white space starts a comment, where no topic filter is expected. */
static struct text_line without_comment(struct text_line value)
{
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] == '#' && (i == 0 || value.p[i - 1] == ' ' || value.p[i - 1] == '\t')) {
			value.len = i;
			break;
		}
	}
	while (value.len && (value.p[value.len - 1] == ' ' || value.p[value.len - 1] == '\t'))
		value.len--;
	return value;
}

static void unknown_key(struct parser *p, struct text_line name)
{
	char quoted[TEXT_QUOTED_MAX];
	const struct conf_key *nearest = conf_key_nearest(name.p, name.len);
	const char *shown = text_quote(quoted, name.p, name.len);
	int bare = (int)strlen(shown) - 2; /* without the quotes */
	if (nearest)
		textfile_error(p->t, "%.*s: unknown key; did you mean %s?", bare, shown + 1, nearest->name);
	else
		textfile_error(p->t, "%.*s: unknown key; docs/configuration.md lists them all", bare, shown + 1);
}

static bool is_fixed_value(const struct conf_key *key, struct text_line value)
{
	bool wanted = false, given = false;
	if (value_bool(key->fixed, strlen(key->fixed), &wanted) && value_bool(value.p, value.len, &given))
		return wanted == given;
	return text_is(value, key->fixed);
}

/* A second value in the same place is a mistake that nobody would see; mosquitto refuses it for texts. */
static bool is_repeated(struct parser *p, const struct conf_key *key)
{
	bool many = key->type == KEY_LISTENER_LINE || key->type == KEY_INCLUDE_DIR || key->type == KEY_LOG_DEST || key->type == KEY_LOG_TYPE;
	bool listener = key->scope == KEY_LISTENER || (key->type == KEY_MAX_CONNECTIONS && p->c->n_listeners);
	unsigned *seen = &(listener ? p->seen_listener : p->seen_global)[key - conf_keys];
	unsigned before = *seen;
	*seen = p->t->line;
	if (before == 0 || many)
		return false;
	if (key->type == KEY_TEXT)
		textfile_error(p->t, "%s: given twice; the first is in line %u", key->name, before);
	else
		textfile_warning(p->t, "%s: given twice; this one counts, not line %u", key->name, before);
	return key->type == KEY_TEXT;
}

static void parse_line(struct parser *p, struct text_line line)
{
	char quoted[TEXT_QUOTED_MAX];
	struct text_line name = text_word(&line);
	const struct conf_key *key = conf_key_find(name.p, name.len);
	if (!key) {
		unknown_key(p, name);
		return;
	}
	struct text_line value = key->filter ? line : without_comment(line);
	switch (key->class) {
	case KEY_SUPPORTED:
		if (value.len == 0)
			bad_value(p, key, value);
		else if (!is_repeated(p, key) && !set_key(p, key, value))
			bad_value(p, key, value);
		return;
	case KEY_FIXED:
		if (!is_fixed_value(key, value))
			textfile_error(p->t, "%s: %s is refused: %s; expected %s", key->name,
				value.len ? text_quote(quoted, value.p, value.len) : "no value", key->reason, key->fixed);
		return;
	case KEY_HARMLESS:
		textfile_warning(p->t, "%s: has no effect: %s", key->name, key->reason);
		return;
	case KEY_REFUSED:
		textfile_error(p->t, "%.*s: refused: %s", (int)name.len, name.p, key->reason);
		return;
	}
}

/* ---- files */

static void parse_buffer(struct parser *p, const char *buf, size_t len, const char *name)
{
	struct textfile t, *outer = p->t;
	struct text_line line;
	textfile_start(&t, buf, len, name, p->errors);
	p->t = &t;
	while (!p->no_memory && textfile_next(&t, &line))
		parse_line(p, line);
	p->n_errors += t.n_errors;
	p->t = outer;
}

static void parse_file(struct parser *p, const char *path)
{
	size_t len = 0;
	char *buf = textfile_read(path, &len, p->errors);
	if (!buf) {
		p->n_errors++;
		return;
	}
	parse_buffer(p, buf, len, path);
	free(buf);
}

static int is_conf_file(const struct dirent *e)
{
	size_t len = strlen(e->d_name);
	return len > 5 && strcmp(e->d_name + len - 5, ".conf") == 0;
}

/* mosquitto's order: letters without regard to case, then the upper case of the same letter first. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	int order = strcasecmp((*a)->d_name, (*b)->d_name);
	return order ? order : strcmp((*a)->d_name, (*b)->d_name);
}

static const char *included_path(struct parser *p, struct text_line dir, const char *name)
{
	size_t size = dir.len + 1 + strlen(name) + 1;
	struct included *n = malloc(sizeof *n + size);
	if (!n) {
		p->no_memory = true;
		return NULL;
	}
	(void)snprintf(n->path, size, "%.*s/%s", (int)dir.len, dir.p, name);
	n->next = p->included;
	p->included = n;
	return n->path;
}

static bool include_dir(struct parser *p, struct text_line value)
{
	struct dirent **entries = NULL;
	if (value.len > 4095)
		return false;
	if (!p->is_main || p->from_memory) {
		textfile_error(p->t, "include_dir: only the main configuration file may include others");
		return true;
	}
	char *dir = copy_text(p, value.p, value.len);
	int n = dir ? scandir(dir, &entries, is_conf_file, by_name) : 0;
	if (n < 0)
		textfile_error(p->t, "include_dir: cannot read %s: %s; expected a directory", dir, strerror(errno));
	p->is_main = false;
	for (int i = 0; i < n; i++) {
		const char *path = included_path(p, value, entries[i]->d_name);
		if (path)
			parse_file(p, path);
		free(entries[i]);
	}
	p->is_main = true;
	free(entries);
	free(dir);
	return true;
}

/* ---- the whole */

/* "port" and "bind_address" ask for a listener that has the defaults; so does a file without any listener line. */
static void add_default_listener(struct parser *p)
{
	struct conf *c = p->c;
	struct conf_listener *d = &p->defaults;
	bool none = c->n_listeners == 0;
	if (!p->default_line && !none)
		return;
	if (none && !d->cafile && !d->capath && !d->certfile && !d->keyfile) { /* what generate-certs.sh writes */
		d->cafile = copy_string(p, "certs/ca.crt");
		d->certfile = copy_string(p, "certs/server.crt");
		d->keyfile = copy_string(p, "certs/server.key");
	}
	const char *file = p->default_line ? p->default_file : c->path;
	struct conf_listener *l = listener_add(p, p->port ? p->port : DEFAULT_PORT, file, p->default_line);
	if (!l)
		return;
	free(l->address);
	l->address = p->bind_address;
	p->bind_address = NULL;
}

static void check_listener(struct parser *p, size_t i)
{
	struct conf_listener *l = &p->c->listeners[i];
	const char *file = p->files[i] ? p->files[i] : "defaults";
	if (!l->certfile && !l->keyfile) {
		l->plaintext = true;
		if (!p->c->allow_plaintext_loopback)
			problem(p, file, l->line, "listener: refused: without certfile, keyfile and cafile it would be plain text, where nobody is "
				"who he says (for tests on this machine: allow_plaintext_loopback true)");
		else if (!l->address || !value_is_loopback(l->address))
			problem(p, file, l->line, "listener: refused: plain text is allowed on loopback alone; expected an address of 127.0.0.0/8 "
				"or ::1, or certfile, keyfile and cafile");
		return;
	}
	if (!l->certfile)
		problem(p, file, l->line, "certfile: missing, but the listener has a keyfile; expected a file path");
	if (!l->keyfile)
		problem(p, file, l->line, "keyfile: missing, but the listener has a certfile; expected a file path");
	if (!l->cafile && !l->capath)
		problem(p, file, l->line, "cafile: missing: nothing says which client certificates are good; expected cafile or capath");
}

/* SO_REUSEPORT would let two listeners of one address share it, each taking half of the connections. */
static void check_twins(struct parser *p, size_t i)
{
	const struct conf_listener *b = &p->c->listeners[i];
	for (size_t j = 0; j < i; j++) {
		const struct conf_listener *a = &p->c->listeners[j];
		bool address = a->address && b->address ? strcmp(a->address, b->address) == 0 : !a->address && !b->address;
		if (a->port == b->port && address && (a->family == b->family || !a->family || !b->family)) {
			problem(p, p->files[i] ? p->files[i] : "defaults", b->line, "listener: another listener has this port and address already");
			return;
		}
	}
}

static void finish(struct parser *p)
{
	struct conf *c = p->c;
	add_default_listener(p);
	if (p->no_memory)
		return;
	for (size_t i = 0; i < c->n_listeners; i++) {
		check_listener(p, i);
		check_twins(p, i);
	}
	if (c->max_inflight_messages == 0)
		c->max_inflight_messages = 65535;
	c->log.file = c->log_file;
}

static void set_defaults(struct parser *p)
{
	p->defaults.tls12 = true;
	*p->c = (struct conf){
		.max_connections = CONNECTIONS_DEFAULT,
		.max_inflight_messages = 100,
		.max_queued_messages = 1000000,
		.max_queued_bytes = UINT64_C(1) << 30,
		.max_queued_memory = UINT64_C(64) << 20,
		.max_packet_size = 16u << 20,
		.max_connect_packet_size = 128u << 10,
		.max_keepalive_s = 65535,
		.max_topic_levels = 200,
		.handshake_timeout_s = 10,
		.queue_full = CONF_QUEUE_END_SESSION,
		.publish_wait_s = 30,
		.will_grace_s = 30,
		.retain_available = true,
		.allow_zero_length_clientid = true,
		.set_tcp_nodelay = true,
		.sys_interval_s = 10,
		.busy_delay_us = 150,
		.store = CONF_STORE_MEMORY,
		.store_max_size = UINT64_C(16) << 30,
		.durability = CONF_STRICT,
		.sync_interval_ms = 1000,
		.log = { .level_mask = LOG_ERROR | LOG_WARNING | LOG_NOTICE | LOG_INFO, .to_stderr = true },
	};
	p->c->auto_id_prefix = copy_string(p, "auto-");
	p->c->store_dir = copy_string(p, "/var/lib/sealmq");
}

/* buf NULL: read path; path NULL: the defaults. */
static struct conf *load(const char *buf, size_t len, const char *path, FILE *errors)
{
	struct parser p = { .errors = errors, .is_main = true, .from_memory = buf != NULL };
	p.c = calloc(1, sizeof *p.c);
	p.seen_global = calloc(conf_n_keys, sizeof *p.seen_global);
	p.seen_listener = calloc(conf_n_keys, sizeof *p.seen_listener);
	p.no_memory = !p.c || !p.seen_global || !p.seen_listener;
	if (!p.no_memory) {
		set_defaults(&p);
		p.c->path = copy_string(&p, path);
		if (buf)
			parse_buffer(&p, buf, len, path);
		else if (path)
			parse_file(&p, path);
		finish(&p);
	}
	if (p.no_memory && errors)
		(void)fprintf(errors, "%s: out of memory\n", path ? path : "configuration");
	bool good = p.n_errors == 0 && !p.no_memory;
	listener_reset(&p.defaults);
	free(p.bind_address);
	free(p.files);
	free(p.seen_global);
	free(p.seen_listener);
	while (p.included) {
		struct included *next = p.included->next;
		free(p.included);
		p.included = next;
	}
	if (good)
		return p.c;
	conf_free(p.c);
	return NULL;
}

struct conf *conf_load(const char *path, FILE *errors) { return load(NULL, 0, path, errors); }

struct conf *conf_parse(const char *buf, size_t len, const char *name, FILE *errors) { return load(buf ? buf : "", len, name, errors); }

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_listeners; i++)
		listener_reset(&c->listeners[i]);
	free(c->listeners);
	free(c->path);
	free(c->auto_id_prefix);
	free(c->store_dir);
	free(c->master_key_file);
	free(c->user);
	free(c->pid_file);
	free(c->log_file);
	free(c->acl_file);
	free(c);
}
