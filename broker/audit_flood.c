/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A table of fixed size, one place for each hash: an origin that needs the place of another tells that one's count and takes it. */
#include "broker/audit_flood.h"

#include "base/pool.h"
#include "broker/audit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define PLACES 128U
#define WINDOW_MS 10000U
#define TOLD_MAX 8U
#define TEXT_MAX 128U

struct flood {
	uint64_t hash;              /* of kind, text and origin; 0: free */
	uint64_t until_ms;          /* monotonic; end of the window */
	uint32_t told, counted;
	enum audit_kind kind;
	struct identity *identity;  /* one reference, or NULL */
	uint8_t family, peer[16];
	uint16_t peer_port;
	char text[TEXT_MAX];
};

struct floods {
	struct wheel_timer timer;
	bool armed;
	struct flood places[PLACES];
};

static uint64_t hash_of(enum audit_kind kind, const struct audit_who *who, const char *text)
{
	uint64_t parts[3] = {(uint64_t)kind, siphash_text(text, strlen(text)), 0};
	if (who->identity)
		parts[2] = siphash_text(who->identity->cn, who->identity->cn_len);
	else if (who->peer)
		parts[2] = siphash_text(who->peer, who->family == AF_INET ? 4 : 8); /* IPv6: its /64 */
	uint64_t h = siphash_text(parts, sizeof parts);
	return h ? h : 1;
}

/* Tells what was counted, and frees the place. */
static void settle(struct flood *f)
{
	struct audit_who who = {.identity = f->identity, .peer = f->family ? f->peer : NULL, .family = f->family, .peer_port = f->peer_port};
	char text[TEXT_MAX + 64];
	if (f->counted > 0) {
		audit_event(f->kind, &who, f->text, AUDIT_PAIRS(AUDIT_NUMBER("repeated", f->counted)));
		snprintf(text, sizeof text, "%s %u times more in 10 s", f->text, f->counted);
		audit_say(LOG_NOTICE, &who, text);
	}
	identity_unref(f->identity);
	*f = (struct flood){0};
}

static void on_timer(struct wheel_timer *t, void *owner)
{
	struct loop *l = owner;
	struct floods *all = (struct floods *)((char *)t - offsetof(struct floods, timer));
	all->armed = false;
	for (struct flood *f = all->places; f < all->places + PLACES; f++) {
		if (f->counted > 0 && l->now_ms >= f->until_ms)
			settle(f);
		else if (f->counted > 0 && (!all->armed || f->until_ms < all->timer.due_ms)) {
			loop_arm(l, &all->timer, f->until_ms);
			all->armed = true;
		}
	}
}

static void take_place(struct flood *f, uint64_t hash, uint64_t now_ms, enum audit_kind kind, const struct audit_who *who, const char *text)
{
	settle(f);
	*f = (struct flood){.hash = hash, .until_ms = now_ms + WINDOW_MS, .kind = kind};
	if (who->identity)
		f->identity = identity_ref((struct identity *)(uintptr_t)who->identity); /* counting references is no change of it */
	if (who->peer) {
		f->family = who->family;
		f->peer_port = who->peer_port;
		memcpy(f->peer, who->peer, who->family == AF_INET ? 4 : 16);
	}
	strncpy(f->text, text, TEXT_MAX - 1);
}

bool audit_flood(struct loop *l, enum audit_kind kind, const struct audit_who *who, const char *text, const struct audit_pair *pairs,
                 size_t n_pairs)
{
	if (!l->floods && (l->floods = pool_alloc(sizeof *l->floods)))
		*l->floods = (struct floods){.timer.fire = on_timer};
	if (l->floods) {
		uint64_t hash = hash_of(kind, who, text);
		struct flood *f = &l->floods->places[hash % PLACES];
		if (f->hash != hash || l->now_ms >= f->until_ms)
			take_place(f, hash, l->now_ms, kind, who, text);
		if (f->told >= TOLD_MAX) {
			f->counted++;
			if (!l->floods->armed)
				loop_arm(l, &l->floods->timer, f->until_ms);
			l->floods->armed = true;
			return false;
		}
		f->told++;
	}
	audit_event(kind, who, text, pairs, n_pairs);
	return true;
}

void audit_floods_free(struct loop *l)
{
	if (!l->floods)
		return;
	for (struct flood *f = l->floods->places; f < l->floods->places + PLACES; f++)
		settle(f);
	wheel_cancel(l->wheel, &l->floods->timer);
	pool_free(l->floods);
	l->floods = NULL;
}
