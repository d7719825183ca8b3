/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/validity.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASK_AGAIN_S 3600U

enum kind { OWN, AUTHORITY, LIST, KINDS };

/* Of one kind of file of one listener. */
struct told {
	int64_t end_s; /* what it was about */
	enum validity level;
	int64_t at_s;
};

struct validity_watch {
	size_t n;
	struct told told[][KINDS];
};

enum validity validity_of(int64_t end_s, int64_t now_s)
{
	if (end_s < now_s)
		return VALIDITY_OVER;
	int64_t left_s = end_s - now_s;
	return left_s <= 7 * VALIDITY_DAY_S ? VALIDITY_WEEK : left_s <= 30 * VALIDITY_DAY_S ? VALIDITY_MONTH : VALIDITY_FAR;
}

int64_t validity_days(int64_t end_s, int64_t now_s)
{
	int64_t left_s = end_s - now_s;
	return left_s / VALIDITY_DAY_S - (left_s % VALIDITY_DAY_S < 0);
}

const char *validity_text(int64_t time_s, char out[static VALIDITY_TEXT])
{
	struct tm tm;
	time_t t = (time_t)time_s;
	if (!gmtime_r(&t, &tm) || !strftime(out, VALIDITY_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
		memcpy(out, "?", 2);
	return out;
}

struct validity_watch *validity_watch_new(size_t n_listeners)
{
	struct validity_watch *w = calloc(1, sizeof *w + n_listeners * sizeof w->told[0]);
	if (w)
		w->n = n_listeners;
	return w;
}

void validity_watch_free(struct validity_watch *w)
{
	free(w);
}

static const struct tls_date *date_of(const struct policy *p, size_t listener, enum kind kind)
{
	const struct tls_dates *d = tls_ctx_dates(p->tls[listener]);
	return kind == OWN ? &d->own : kind == AUTHORITY ? &d->authority : &d->list;
}

/* Listeners often share their files: one line for all of them. */
static bool told_before(const struct policy *p, size_t listener, enum kind kind)
{
	const struct tls_date *d = date_of(p, listener, kind);
	for (size_t i = 0; i < listener; i++) {
		const struct tls_date *other = p->tls[i] ? date_of(p, i, kind) : NULL;
		if (other && other->end_s == d->end_s && strcmp(other->name, d->name) == 0 &&
			(kind != LIST || p->conf->listeners[i].crl_expired_ok == p->conf->listeners[listener].crl_expired_ok))
			return true;
	}
	return false;
}

static const char *consequence(const struct conf_listener *l, enum kind kind)
{
	switch (kind) {
	case OWN:
		return "clients refuse the broker";
	case AUTHORITY:
		return "its clients are refused";
	case LIST:
		return l->crl_expired_ok ? "what it says still holds, what was revoked since is not known (crl_expired warn)"
		                         : "every client of that CA is refused until there is a new one (crl_expired fail)";
	case KINDS:
		break;
	}
	return "";
}

static void tell(const struct policy *p, size_t listener, enum kind kind, int64_t now_s)
{
	static const char *const names[KINDS] = {"the broker's certificate", "the certificate of the CA", "the revocation list of"};
	const struct conf_listener *l = &p->conf->listeners[listener];
	const struct tls_date *d = date_of(p, listener, kind);
	char end[VALIDITY_TEXT];
	validity_text(d->end_s, end);
	if (d->end_s < now_s)
		log_error("listener %u: %s '%s' ended on %s: %s", l->port, names[kind], d->name, end, consequence(l, kind));
	else
		log_warning("listener %u: %s '%s' ends in %" PRId64 " days, on %s; after that %s", l->port, names[kind], d->name,
		            validity_days(d->end_s, now_s), end, consequence(l, kind));
}

/* Lists are made for weeks: what has a month left is not worth a word. */
static bool is_due(const struct told *t, enum validity level, enum kind kind, int64_t now_s)
{
	if (level == VALIDITY_FAR || (kind == LIST && level == VALIDITY_MONTH))
		return false;
	return level > t->level || (level >= VALIDITY_WEEK && now_s >= t->at_s + VALIDITY_DAY_S);
}

/* The next moment at which the level changes. */
static int64_t next_change_s(int64_t end_s, enum validity level)
{
	switch (level) {
	case VALIDITY_FAR:
		return end_s - 30 * VALIDITY_DAY_S;
	case VALIDITY_MONTH:
		return end_s - 7 * VALIDITY_DAY_S;
	case VALIDITY_WEEK:
		return end_s + 1;
	case VALIDITY_OVER:
		break;
	}
	return INT64_MAX;
}

unsigned validity_tell(struct validity_watch *w, const struct policy *p, int64_t now_s)
{
	int64_t wait_s = ASK_AGAIN_S;
	for (size_t i = 0; i < w->n && i < p->n_listeners; i++)
		for (enum kind k = OWN; p->tls[i] && k < KINDS; k++) {
			struct told *t = &w->told[i][k];
			int64_t end_s = date_of(p, i, k)->end_s, change_s;
			enum validity level = validity_of(end_s, now_s);
			if (end_s != t->end_s) /* another one */
				*t = (struct told){.end_s = end_s};
			if (is_due(t, level, k, now_s)) {
				if (!told_before(p, i, k))
					tell(p, i, k, now_s);
				t->at_s = now_s;
			}
			t->level = level;
			change_s = next_change_s(end_s, level);
			if (change_s - now_s < wait_s)
				wait_s = change_s - now_s;
		}
	return wait_s > 1 ? (unsigned)wait_s : 1;
}
