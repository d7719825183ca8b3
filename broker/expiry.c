/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/expiry.h"

#include "base/log.h"
#include "broker/audit.h"
#include "broker/recheck.h"
#include "broker/validity.h"

#include <inttypes.h>

#define LOOK_AGAIN_MS 60000U

static int64_t now_s(const struct loop *l)
{
	return (int64_t)(l->wall_ms / 1000);
}

static void on_time(struct wheel_timer *t, void *owner)
{
	struct loop *l = owner;
	if (!l->conns)
		return;
	loop_arm(l, t, l->now_ms + LOOK_AGAIN_MS);
	recheck_conns(l);
}

/* The next look is not later than the end of this certificate, if that matters. */
static void look_at(struct loop *l, int64_t end_s)
{
	uint64_t in_ms = LOOK_AGAIN_MS;
	if (!l->conf->keep_expired && end_s >= now_s(l) && end_s - now_s(l) < LOOK_AGAIN_MS / 1000)
		in_ms = (uint64_t)(end_s + 1) * 1000 - l->wall_ms;
	uint64_t due_ms = l->now_ms + in_ms;
	if (wheel_armed(&l->expiry) && l->expiry.due_ms <= due_ms)
		return;
	l->expiry.fire = on_time;
	loop_arm(l, &l->expiry, due_ms);
}

static void count(struct loop *l, uint8_t level, uint64_t delta)
{
	switch ((enum validity)level) {
	case VALIDITY_FAR:
		return;
	case VALIDITY_MONTH:
		STATS_ADD(l, certificates_month, delta);
		return;
	case VALIDITY_WEEK:
		STATS_ADD(l, certificates_week, delta);
		return;
	case VALIDITY_OVER:
		STATS_ADD(l, certificates_over, delta);
		return;
	}
}

static void tell(const struct conn *c)
{
	int64_t end_s = c->identity->not_after_s;
	char end[VALIDITY_TEXT];
	if (c->certificate_level == VALIDITY_MONTH || c->certificate_level == VALIDITY_WEEK)
		log_write(c->certificate_level == VALIDITY_WEEK ? LOG_WARNING : LOG_NOTICE, "%s: its certificate ends in %" PRId64 " days, on %s",
		          conn_name(c), validity_days(end_s, now_s(c->loop)), validity_text(end_s, end));
}

static void tell_over(const struct conn *c, const char *what)
{
	const struct audit_who who = audit_conn(c);
	audit_event(AUDIT_CERTIFICATE_EXPIRED, &who, what, AUDIT_NO_PAIRS);
}

void expiry_check(struct conn *c)
{
	struct loop *l = c->loop;
	if (!c->transport.tls)
		return;
	uint8_t before = c->certificate_level;
	c->certificate_level = (uint8_t)validity_of(c->identity->not_after_s, now_s(l));
	if (before != c->certificate_level) {
		count(l, before, (uint64_t)-1);
		count(l, c->certificate_level, 1);
	}
	if (c->certificate_level > before)
		tell(c);
	if (c->certificate_level == VALIDITY_OVER && !l->conf->keep_expired) {
		tell_over(c, "the connection ends (certificate_expired disconnect)");
		conn_end(c, LOG_INFO, true, "certificate expired");
		return;
	}
	if (c->certificate_level == VALIDITY_OVER && before != VALIDITY_OVER)
		tell_over(c, "the connection goes on (certificate_expired keep)");
	look_at(l, c->identity->not_after_s);
}

void expiry_track(struct conn *c)
{
	c->certificate_level = VALIDITY_FAR;
	expiry_check(c);
}

void expiry_forget(struct conn *c)
{
	count(c->loop, c->certificate_level, (uint64_t)-1);
	c->certificate_level = VALIDITY_FAR;
}
