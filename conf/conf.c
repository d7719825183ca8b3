/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parser: files to lines, lines to keys, then the checks that need the whole (values: set.c).
 * Everything wrong is reported before it gives up. One thread, at start and reload. */
#include "conf/conf_int.h"
#include "conf/parse.h"
#include "conf/value.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT 8883u

static void problem(struct parser *p, const char *file, unsigned line, const char *text)
{
	struct textfile at = { .name = file, .line = line, .errors = p->errors };
	textfile_error(&at, "%s", text);
	p->n_errors++;
}

/* The texts that a listener owns. */
#define LISTENER_TEXTS 8
static void texts_of(struct conf_listener *l, char **out[static LISTENER_TEXTS])
{
	char **const all[LISTENER_TEXTS] = { &l->address, &l->cafile, &l->capath, &l->certfile, &l->keyfile, &l->crlfile, &l->ciphers,
		&l->ciphers_tls13 };
	memcpy(out, all, sizeof all);
}

bool conf_listener_copy(struct conf_listener *to, const struct conf_listener *from)
{
	char **texts[LISTENER_TEXTS];
	bool complete = true;
	*to = *from;
	texts_of(to, texts);
	for (size_t i = 0; i < LISTENER_TEXTS; i++)
		if (*texts[i] && !(*texts[i] = strdup(*texts[i])))
			complete = false;
	return complete;
}

void conf_listener_reset(struct conf_listener *l)
{
	char **texts[LISTENER_TEXTS];
	texts_of(l, texts);
	for (size_t i = 0; i < LISTENER_TEXTS; i++)
		free(*texts[i]);
	*l = (struct conf_listener){ 0 };
}

/* ---- one line */

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
	bool many = key->type == KEY_LISTENER_LINE || key->type == KEY_INCLUDE_DIR || key->type == KEY_LOG_DEST || key->type == KEY_LOG_TYPE ||
	    key->type == KEY_HISTORY || key->type == KEY_PIN || key->type == KEY_CLIENTID_PATTERN || key->type == KEY_TOPIC_ADMIN;
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
	/* '#' after white space starts a comment, where no topic filter is expected. */
	struct text_line value = key->filter ? line : text_uncommented(line);
	switch (key->class) {
	case KEY_SUPPORTED:
		if (!is_repeated(p, key))
			conf_set_key(p, key, value);
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

static void parse_included(struct parser *p, const char *path)
{
	size_t len = 0;
	char *buf = textfile_read(path, &len, p->errors);
	struct textfile t, *outer = p->t;
	struct text_line line;
	if (!buf) {
		p->n_errors++;
		return;
	}
	textfile_start(&t, buf, len, path, p->errors);
	p->t = &t;
	while (!p->no_memory && textfile_next(&t, &line))
		parse_line(p, line);
	p->n_errors += t.n_errors;
	p->t = outer;
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

static const char *included_path(struct parser *p, const char *dir, const char *name)
{
	size_t size = strlen(dir) + 1 + strlen(name) + 1;
	struct included *n = malloc(sizeof *n + size);
	if (!n) {
		p->no_memory = true;
		return NULL;
	}
	(void)snprintf(n->path, size, "%s/%s", dir, name);
	n->next = p->included;
	p->included = n;
	return n->path;
}

static void include_files(struct parser *p)
{
	struct dirent **entries = NULL;
	char *dir = p->include;
	p->include = NULL;
	conf_append_text(p, &p->c->include_dirs, &p->c->n_include_dirs, (struct text_line){ dir, strlen(dir) });
	int n = scandir(dir, &entries, is_conf_file, by_name);
	if (n < 0)
		textfile_error(p->t, "include_dir: cannot read %s: %s; expected a directory", dir, strerror(errno));
	p->includes_allowed = false;
	for (int i = 0; i < n; i++) {
		const char *path = included_path(p, dir, entries[i]->d_name);
		if (path)
			parse_included(p, path);
		free(entries[i]);
	}
	p->includes_allowed = true;
	free(entries);
	free(dir);
}

static void parse_main(struct parser *p, const char *buf, size_t len, const char *name)
{
	struct textfile t;
	struct text_line line;
	textfile_start(&t, buf, len, name, p->errors);
	p->t = &t;
	while (!p->no_memory && textfile_next(&t, &line)) {
		parse_line(p, line);
		if (p->include)
			include_files(p);
	}
	p->n_errors += t.n_errors;
	p->t = NULL;
}

static void parse_main_file(struct parser *p, const char *path)
{
	size_t len = 0;
	char *buf = textfile_read(path, &len, p->errors);
	if (buf)
		parse_main(p, buf, len, path);
	else
		p->n_errors++;
	free(buf);
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
		d->cafile = conf_copy_string(p, "certs/ca.crt");
		d->certfile = conf_copy_string(p, "certs/server.crt");
		d->keyfile = conf_copy_string(p, "certs/server.key");
	}
	const char *file = p->default_line ? p->default_file : c->path;
	struct conf_listener *l = conf_listener_add(p, p->port ? p->port : DEFAULT_PORT, file, p->default_line);
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
		.max_connections = CONF_CONNECTIONS_DEFAULT,
		.max_inflight_messages = 100,
		.max_queued_messages = 1000000,
		.max_queued_bytes = UINT64_C(1) << 30,
		.max_queued_memory = UINT64_C(64) << 20,
		.max_packet_size = 16u << 20,
		.max_connect_packet_size = 128u << 10,
		.max_keepalive_s = 65535,
		.max_topic_levels = 200,
		.max_wildcard_shapes = 100,
		.handshake_timeout_s = 10,
		.publish_wait_s = 30,
		.will_grace_s = 60,
		.queue_full = CONF_QUEUE_END_SESSION,
		.max_unfinished_handshakes = 20000,
		.known_certificates = 8192,
		.packet_timeout_s = 300,
		.max_partial_packet_memory = UINT64_C(1) << 30,
		.retain_available = true,
		.allow_zero_length_clientid = true,
		.set_tcp_nodelay = true,
		.sys_interval_s = 10,
		.busy_delay_us = 150,
		.store = CONF_STORE_LMDB,
		.store_max_size = UINT64_C(16) << 30,
		.durability = CONF_STRICT,
		.sync_interval_ms = 1000,
		.audit_log_max_size = UINT64_C(100) << 20,
		.audit_checkpoint_lines = 1000,
		.log = { .level_mask = LOG_ERROR | LOG_WARNING | LOG_NOTICE | LOG_INFO, .to_stderr = true },
	};
	p->c->auto_id_prefix = conf_copy_string(p, "auto-");
	p->c->store_dir = conf_copy_string(p, "/var/lib/sealmq");
}

/* buf NULL: read path; path NULL: the defaults. */
static struct conf *load(const char *buf, size_t len, const char *path, FILE *errors)
{
	struct parser p = { .errors = errors, .includes_allowed = buf == NULL };
	p.c = calloc(1, sizeof *p.c);
	p.seen_global = calloc(conf_n_keys, sizeof *p.seen_global);
	p.seen_listener = calloc(conf_n_keys, sizeof *p.seen_listener);
	p.no_memory = !p.c || !p.seen_global || !p.seen_listener;
	if (!p.no_memory) {
		set_defaults(&p);
		p.c->path = conf_copy_string(&p, path);
		if (buf)
			parse_main(&p, buf, len, path);
		else if (path)
			parse_main_file(&p, path);
		finish(&p);
	}
	if (p.no_memory && errors)
		(void)fprintf(errors, "%s: out of memory\n", path ? path : "configuration");
	bool good = p.n_errors == 0 && !p.no_memory;
	conf_listener_reset(&p.defaults);
	free(p.bind_address);
	free(p.include);
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
		conf_listener_reset(&c->listeners[i]);
	free(c->listeners);
	free(c->path);
	free(c->auto_id_prefix);
	free(c->store_dir);
	free(c->master_key_file);
	free(c->user);
	free(c->pid_file);
	free(c->log_file);
	free(c->acl_file);
	free(c->topics_file);
	for (size_t i = 0; i < c->n_pins; i++)
		free(c->pins[i].cn);
	free(c->pins);
	conf_free_texts(c->clientid_patterns, c->n_clientid_patterns);
	conf_free_texts(c->include_dirs, c->n_include_dirs);
	free(c->audit_log);
	conf_free_texts(c->topic_admins, c->n_topic_admins);
	history_policy_unref(c->history);
	free(c);
}
