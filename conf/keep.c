/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a reload cannot change is kept as it runs. One thread. */
#include "conf/conf_int.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct keeping {
	struct conf *next;
	const struct conf *running;
	FILE *warnings;
	bool no_memory;
};

static void needs_restart(const struct keeping *k, unsigned line, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void needs_restart(const struct keeping *k, unsigned line, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	struct textfile at = { .name = k->next->path ? k->next->path : "defaults", .line = line, .errors = k->warnings };
	textfile_warning(&at, "%s needs a restart; it stays as it is", text);
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

static char *copy(struct keeping *k, const char *s)
{
	char *c = s ? strdup(s) : NULL;
	k->no_memory |= s && !c;
	return c;
}

static void keep_text(struct keeping *k, const char *key, char **next, const char *running)
{
	if (same_text(*next, running))
		return;
	needs_restart(k, 0, "%s: another value", key);
	free(*next);
	*next = copy(k, running);
}

/* Numbers, by their bytes. */
static void keep_bytes(const struct keeping *k, const char *key, void *next, const void *running, size_t size)
{
	if (memcmp(next, running, size) == 0)
		return;
	needs_restart(k, 0, "%s: another value", key);
	memcpy(next, running, size);
}

/* The listener of next that has a running one's address. */
static struct conf_listener *twin(const struct conf *next, const struct conf_listener *running)
{
	for (size_t i = 0; i < next->n_listeners; i++) {
		struct conf_listener *l = &next->listeners[i];
		if (l->port == running->port && l->family == running->family && same_text(l->address, running->address))
			return l;
	}
	return NULL;
}

/* The running listeners in their order, with the new settings of those that are still there. */
static void keep_listeners(struct keeping *k)
{
	struct conf *next = k->next;
	size_t n = k->running->n_listeners;
	struct conf_listener *list = calloc(n, sizeof *list);
	if (!list) {
		k->no_memory = true;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct conf_listener *r = &k->running->listeners[i];
		struct conf_listener *l = twin(next, r);
		if (l && l->plaintext == r->plaintext) {
			list[i] = *l;
			*l = (struct conf_listener){ 0 }; /* port 0: taken */
			continue;
		}
		if (l)
			needs_restart(k, l->line, "listener %u: to go from plain text to TLS or back", r->port);
		else
			needs_restart(k, 0, "listener %u%s%s: to close it", r->port, r->address ? " " : "", r->address ? r->address : "");
		if (l)
			l->port = 0;
		k->no_memory |= !conf_listener_copy(&list[i], r);
	}
	for (size_t i = 0; i < next->n_listeners; i++) {
		struct conf_listener *l = &next->listeners[i];
		if (l->port)
			needs_restart(k, l->line, "listener %u%s%s: to open it", l->port, l->address ? " " : "", l->address ? l->address : "");
		conf_listener_reset(l);
	}
	free(next->listeners);
	next->listeners = list;
	next->n_listeners = n;
}

enum err conf_keep(struct conf *next, const struct conf *running, FILE *warnings)
{
	struct keeping k = { next, running, warnings, false };
	keep_listeners(&k);
#define KEEP(key, member) keep_bytes(&k, key, &next->member, &running->member, sizeof next->member)
	KEEP("threads", threads);
	KEEP("store", store);
	KEEP("store_memory_delay_ms", store_memory_delay_ms);
	KEEP("store_max_size", store_max_size);
	KEEP("durability", durability);
	KEEP("sync_interval_ms", sync_interval_ms);
	KEEP("max_queued_messages", max_queued_messages);
	KEEP("max_queued_bytes", max_queued_bytes);
	KEEP("queue_full", queue_full);
	KEEP("will_grace", will_grace_s);
#undef KEEP
	if (!history_policy_equal(next->history, running->history))
		needs_restart(&k, 0, "history: another rule");
	history_policy_unref(next->history);
	next->history = history_policy_ref(running->history);
	keep_text(&k, "store_dir", &next->store_dir, running->store_dir);
	keep_text(&k, "master_key_file", &next->master_key_file, running->master_key_file);
	keep_text(&k, "audit_log", &next->audit_log, running->audit_log);
	keep_text(&k, "user", &next->user, running->user);
	keep_text(&k, "pid_file", &next->pid_file, running->pid_file);
	return k.no_memory ? ERR_NOMEM : ERR_OK;
}
