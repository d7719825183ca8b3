/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/reload.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/textbytes.h"
#include "broker/audit.h"
#include "broker/audit_log.h"
#include "broker/listener.h"
#include "broker/loop.h"
#include "broker/recheck.h"
#include "broker/registrar.h"
#include "broker/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_MS 2000U
#define REVOKED_TOLD 256U /* of one file; the rest is a count */

void reload_report(const char *text)
{
	while (text && *text) {
		const char *end = strchrnul(text, '\n');
		bool warning = memmem(text, (size_t)(end - text), ": warning: ", 11) != NULL;
		log_write(warning ? LOG_WARNING : LOG_ERROR, "%.*s", (int)(end - text), text);
		text = *end ? end + 1 : end;
	}
}

/* ---- in a loop */

struct policy_mail {
	struct mail mail;
	struct policy *policy; /* one reference */
};

/* Between packets: nothing on the stack refers to the old one. */
static void on_policy(struct mail *m, void *owner)
{
	struct loop *l = owner;
	struct policy *old = l->policy;
	l->policy = ((struct policy_mail *)m)->policy;
	l->conf = l->policy->conf;
	pool_free(m);
	if (l->recheck.of_policy) /* by the old rules: begun again by the new ones */
		atomic_fetch_sub(&old->busy, 1);
	policy_unref(old);
	tls_known_free(l->known); /* what other contexts have verified says nothing to the new ones */
	l->known = tls_known_new(l->conf->known_certificates);
	listener_follow(l);
	l->rules++;
	l->recheck.of_policy = true;
	if (l->index == 0)
		sys_follow(l);
	recheck_start(l);
}

/* ---- main thread */

static bool fits(struct broker *b, const struct policy *p, FILE *errors)
{
	pthread_mutex_lock(&b->spaces_lock);
	struct space_map *map = space_map_ref(b->spaces);
	pthread_mutex_unlock(&b->spaces_lock);
	bool good = declare_fits(p, map, errors);
	space_map_unref(map);
	return good;
}

/* NULL: errors says why. */
static struct policy *load_policy(struct broker *b, struct conf *(*load)(void *arg, FILE *errors), void *arg, FILE *errors)
{
	struct conf *next = load(arg, errors);
	if (!next)
		return NULL;
	if (conf_keep(next, b->policy->conf, errors) != ERR_OK) {
		(void)fputs("out of memory\n", errors);
		conf_free(next);
		return NULL;
	}
	struct policy *p = policy_new(next, b->n_loops, b->policy->generation + 1, errors);
	if (p && !fits(b, p, errors)) {
		policy_unref(p);
		return NULL;
	}
	return p;
}

static void free_mails(struct mail *list)
{
	while (list) {
		struct mail *m = list;
		list = m->next;
		pool_free(m);
	}
}

/* One for each loop, so that nothing can fail once the first has left. */
static struct mail *make_mails(const struct broker *b, struct policy *p)
{
	struct mail *list = NULL;
	for (unsigned i = 0; i < b->n_loops; i++) {
		struct policy_mail *m = pool_alloc(sizeof *m);
		if (!m) {
			free_mails(list);
			return NULL;
		}
		*m = (struct policy_mail){.mail = {.next = list, .run = on_policy}, .policy = p};
		list = &m->mail;
	}
	return list;
}

static void send_mails(struct broker *b, struct policy *p, struct mail *list)
{
	for (unsigned i = 0; list; i++) {
		struct mail *m = list;
		list = m->next;
		policy_ref(p);
		mailbox_push(&b->loops[i]->mailbox, m);
	}
}

/* Of listeners that share a file the first one tells. */
static bool is_told(const struct conf *c, size_t listener)
{
	for (size_t i = 0; i < listener; i++)
		if (c->listeners[i].crlfile && strcmp(c->listeners[i].crlfile, c->listeners[listener].crlfile) == 0)
			return true;
	return false;
}

/* Each certificate that the new lists name and the old ones did not. */
static void tell_revoked(const struct policy *old, const struct policy *next)
{
	static const char text[] = "the revocation list names it", rest[] = "the revocation list names more, told by their number alone";
	const struct audit_who nobody = {0};
	for (size_t i = 0; i < next->n_listeners; i++) {
		struct tls_revoked told[REVOKED_TOLD];
		char hex[2 * sizeof told[0].serial];
		if (!next->tls[i] || !next->conf->listeners[i].crlfile || is_told(next->conf, i))
			continue;
		size_t n = tls_ctx_newly_revoked(old->tls[i], next->tls[i], told, REVOKED_TOLD);
		for (size_t k = 0; k < n && k < REVOKED_TOLD; k++) {
			hex_put(hex, told[k].serial, told[k].serial_len);
			audit_event(AUDIT_CERTIFICATE_REVOKED, &nobody, text,
			            AUDIT_PAIRS(AUDIT_PAIR("issuer", told[k].issuer, strlen(told[k].issuer)), AUDIT_PAIR("revoked", hex, 2 * (size_t)told[k].serial_len)));
		}
		if (n > REVOKED_TOLD)
			audit_event(AUDIT_CERTIFICATE_REVOKED, &nobody, rest, AUDIT_PAIRS(AUDIT_NUMBER("more", n - REVOKED_TOLD)));
	}
}

static void wait_for_loops(struct policy *p)
{
	const struct timespec tick = {.tv_nsec = 1000000};
	for (uint64_t end = clock_mono_ms() + WAIT_MS; atomic_load(&p->busy) > 0 && clock_mono_ms() < end;)
		nanosleep(&tick, NULL);
}

/* False: nothing has changed, and errors says why. */
static bool take_over(struct broker *b, struct conf *(*load)(void *arg, FILE *errors), void *arg, FILE *errors)
{
	struct policy *next = load_policy(b, load, arg, errors);
	struct mail *mails = next ? make_mails(b, next) : NULL;
	struct audit_change *audit = NULL;
	char error[512];
	if (!mails) {
		if (next)
			(void)fputs("out of memory\n", errors);
		policy_unref(next);
		return false;
	}
	bool good = audit_log_prepare(next->conf, &audit, error, sizeof error) == ERR_OK;
	if (!good)
		(void)fprintf(errors, "%s\n", error);
	if (good && log_reconfigure(&next->conf->log) != ERR_OK) { /* the last thing that can fail */
		(void)fprintf(errors, "log_dest: cannot open the log: %s\n", strerror(errno));
		good = false;
	}
	if (!good) {
		audit_log_forget(audit);
		free_mails(mails);
		policy_unref(next);
		return false;
	}
	audit_log_change(audit);
	tell_revoked(b->policy, next);
	policy_retire(&b->retired, b->policy);
	b->policy = next;
	send_mails(b, next, mails);
	registrar_follow(b, next);
	return true;
}

void reload(struct broker *b, const char *cause, struct conf *(*load)(void *arg, FILE *errors), void *arg)
{
	char *text = NULL;
	size_t len;
	FILE *errors = open_memstream(&text, &len);
	if (!errors) {
		log_error("%s: out of memory: nothing has changed", cause);
		return;
	}
	bool good = take_over(b, load, arg, errors);
	(void)fclose(errors);
	reload_report(text);
	free(text);
	if (!good) {
		log_error("%s: the files above are not good: nothing has changed", cause);
		audit_event(AUDIT_RELOAD_REFUSED, &(struct audit_who){0}, cause, AUDIT_NO_PAIRS);
		return;
	}
	wait_for_loops(b->policy);
	const char *path = b->policy->conf->path ? b->policy->conf->path : "the defaults";
	audit_event(AUDIT_RELOADED, &(struct audit_who){0}, cause, AUDIT_PAIRS(AUDIT_PAIR("file", path, strlen(path))));
}
