/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Values into members: what the table in keys.c describes, and the keys that need code of their own. */
#include "base/identity.h"
#include "conf/conf_int.h"
#include "conf/value.h"
#include "topics/topic.h"

#include <stdlib.h>
#include <string.h>

#define LISTENERS_MAX 1000u

char *conf_copy_text(struct parser *p, const char *s, size_t len)
{
	char *copy = malloc(len + 1);
	if (!copy) {
		p->no_memory = true;
		return NULL;
	}
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *conf_copy_string(struct parser *p, const char *s) { return s ? conf_copy_text(p, s, strlen(s)) : NULL; }

struct conf_listener *conf_listener_add(struct parser *p, uint16_t port, const char *file, unsigned line)
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
	p->no_memory |= !conf_listener_copy(l, &p->defaults);
	l->port = port;
	l->line = line;
	return l;
}

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
		(void)snprintf(out, size, "a number and s, h, d, w, m (month) or y (14d), or 0 for never");
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
	case KEY_HISTORY:
	case KEY_PIN:
	case KEY_CLIENTID_PATTERN:
	case KEY_TOPIC_ADMIN:
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
	char *old = NULL, *text = conf_copy_text(p, value.p, value.len);
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
	case KEY_HISTORY:
	case KEY_PIN:
	case KEY_CLIENTID_PATTERN:
	case KEY_TOPIC_ADMIN:
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

static bool set_listener(struct parser *p, struct text_line value)
{
	uint64_t port = 0;
	struct text_line word = text_word(&value);
	if (!value_number(word.p, word.len, 1, 65535, &port) || (value.len && !value_is_address(value.p, value.len)) || p->c->n_listeners == LISTENERS_MAX)
		return false;
	struct conf_listener *l = conf_listener_add(p, (uint16_t)port, p->t->name, p->t->line);
	if (l && value.len) {
		free(l->address);
		l->address = conf_copy_text(p, value.p, value.len);
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
	if (!value_is_address(value.p, value.len))
		return false;
	default_listener_asked(p);
	free(p->bind_address);
	p->bind_address = conf_copy_text(p, value.p, value.len);
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
		c->max_connections = none ? CONF_CONNECTIONS_DEFAULT : (uint32_t)n;
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
	if (path.len == 0 || path.len > CONF_PATH_MAX)
		return false;
	if (p->c->log_file) {
		textfile_error(p->t, "log_dest: there is a log file already; expected one");
		return true;
	}
	p->c->log_file = conf_copy_text(p, path.p, path.len);
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

static bool set_include_dir(struct parser *p, struct text_line value)
{
	if (value.len > CONF_PATH_MAX)
		return false;
	if (p->includes_allowed)
		p->include = conf_copy_text(p, value.p, value.len);
	else
		textfile_error(p->t, "include_dir: only the main configuration file may include others");
	return true;
}

/* '+' and '#' are whole levels, '#' the last; '$share' and '$HISTORY' have no past of their own. */
static bool is_history_filter(const char *f, size_t len)
{
	const uint8_t *b = (const uint8_t *)f;
	struct topic_share share;
	if (len == 0 || len > 65535 || !topic_share_parse(b, len, &share) || share.group || history_is_spec(b, len))
		return false;
	for (size_t i = 0; i < len; i++) {
		bool wild = f[i] == '+' || f[i] == '#';
		if (wild && ((i > 0 && f[i - 1] != '/') || (i + 1 < len && (f[i] == '#' || f[i + 1] != '/'))))
			return false;
	}
	return true;
}

/* "<amount> <filter>": one limit of the filter's rule. */
static bool set_history(struct parser *p, const struct conf_key *key, struct text_line value)
{
	struct text_line filter = value, word = text_word(&filter);
	size_t count = offsetof(struct history_limits, count), age = offsetof(struct history_limits, age_s);
	uint64_t n;
	bool ok = key->offset == count ? value_number(word.p, word.len, key->min, key->max, &n)
	    : key->offset == age       ? value_seconds(word.p, word.len, key->min, key->max, &n)
	                               : value_size(word.p, word.len, key->min, key->max, &n);
	if (!ok || !is_history_filter(filter.p, filter.len))
		return false;
	if (topic_levels((const uint8_t *)filter.p, filter.len) > TOPIC_LEVELS_MAX)
		return false;
	if (!p->c->history)
		p->c->history = history_policy_new();
	struct history_limits *l = p->c->history ? history_policy_rule(p->c->history, (const uint8_t *)filter.p, filter.len) : NULL;
	if (!l) {
		p->no_memory = true;
		return true;
	}
	put(l, key, &n, sizeof n);
	if (key->offset == count)
		l->off = n == 0;
	return true;
}

static bool set_topic_admin(struct parser *p, struct text_line value)
{
	struct conf *c = p->c;
	if (value.len > IDENTITY_CN_MAX)
		return false;
	char **more = realloc(c->topic_admins, (c->n_topic_admins + 1) * sizeof *more);
	char *cn = more ? conf_copy_text(p, value.p, value.len) : NULL;
	if (more)
		c->topic_admins = more;
	if (cn)
		c->topic_admins[c->n_topic_admins++] = cn;
	p->no_memory |= !cn;
	return true;
}

/* False: the value is not valid. */
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
		return set_include_dir(p, value);
	case KEY_LOG_DEST:
		return set_log_dest(p, value);
	case KEY_LOG_TYPE:
		return set_log_type(p, value);
	case KEY_HISTORY:
		return set_history(p, key, value);
	case KEY_PIN:
		return conf_set_pin(p, value);
	case KEY_CLIENTID_PATTERN:
		return conf_set_clientid_pattern(p, value, key->max);
	case KEY_TOPIC_ADMIN:
		return set_topic_admin(p, value);
	}
	return false;
}

void conf_set_key(struct parser *p, const struct conf_key *key, struct text_line value)
{
	if (value.len == 0 || !set_key(p, key, value))
		bad_value(p, key, value);
}
