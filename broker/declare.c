/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Key spaces that the topics_file declares (docs/control.md): what a space needs to become what its lines say is one change, like a command's. */
#include "base/clock.h"
#include "base/log.h"
#include "broker/audit.h"
#include "broker/registrar_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- may it? ---- */

/* What of a space that is there cannot become what is declared: members have pinned it. NULL: nothing. */
static const char *misfit(const struct space_spec *is, const struct space_spec *want)
{
	if (is->mode != want->mode)
		return "mode";
	if (is->sign != want->sign)
		return "sign";
	bool same_owner = is->owner_len == want->owner_len && memcmp(is->owner, want->owner, is->owner_len) == 0;
	return is->mode == SPACE_OWNER && !same_owner ? "owner" : NULL;
}

bool declare_fits(const struct policy *p, const struct space_map *map, FILE *errors)
{
	bool good = true;
	for (size_t i = 0; p->topics && i < p->topics->n_spaces; i++) {
		const struct declared_space *w = &p->topics->spaces[i];
		const struct space *is = space_map_get(map, w->spec.name, w->spec.name_len);
		const char *what = is ? misfit(&is->spec, &w->spec) : NULL;
		if (what)
			(void)fprintf(errors, "%s:%u: topic: %s exists with another %s (mode %s, sign %s, owner '%s'), which its members have pinned; "
			              "expected the same, or deleteTopic first\n", p->topics->path, w->line, w->spec.name, what,
			              keyspace_mode_text(is->spec.mode), keyspace_sign_text(is->spec.sign), is->spec.owner);
		if (w->spec.mode == SPACE_BROKER && !p->signer)
			(void)fprintf(errors, "%s:%u: mode: broker needs a TLS listener whose certificate has an RSA key of 2048 to 4096 bits, or P-256\n",
			              p->topics->path, w->line);
		good = good && !what && (w->spec.mode != SPACE_BROKER || p->signer);
	}
	return good;
}

bool declared(const struct registrar *r, const char *name, size_t len)
{
	return topics_file_find(r->policy->topics, name, len) != NULL;
}

/* ---- what has to change ---- */

struct difference {
	const struct declared_space *want;
	struct space *is;     /* NULL: there is none yet */
	size_t added, removed, changed;
	bool history, rotation;
};

static bool same_member(const struct space_member *a, const struct space_member *b)
{
	return a->access == b->access && a->pinned == b->pinned && (!a->pinned || memcmp(a->fingerprint, b->fingerprint, sizeof a->fingerprint) == 0);
}

static bool same_history(const struct space_history *a, const struct space_history *b)
{
	return a->given == b->given && a->off == b->off && a->count == b->count && a->age_s == b->age_s && a->bytes == b->bytes;
}

static struct difference compare(const struct declared_space *w, struct space *is)
{
	struct difference d = {.want = w, .is = is};
	size_t stay = 0;
	for (size_t i = 0; i < w->n_members; i++) {
		const struct space_member *m = &w->members[i].member, *old = is ? space_member(is, m->cn, m->cn_len) : NULL;
		stay += old != NULL;
		d.changed += old && !same_member(m, old);
	}
	d.added = w->n_members - stay;
	if (!is)
		return d;
	d.removed = is->spec.n_members - stay;
	d.history = !same_history(&w->spec.history, &is->spec.history);
	d.rotation = w->spec.rotate_age_s != is->spec.rotate_age_s || w->spec.rotate_count != is->spec.rotate_count ||
	             w->spec.from_join != is->spec.from_join || strcmp(w->spec.owner, is->spec.owner) != 0;
	return d;
}

/* ---- the change ---- */

/* From the file's list; who stays keeps the first epoch. */
static enum err put_members(struct draft *d, const struct difference *diff)
{
	const struct declared_space *w = diff->want;
	struct space_member *list = malloc((w->n_members + 1) * sizeof *list);
	uint32_t next = diff->is ? space_epoch_number(diff->is) + 1 : 1;
	if (!list)
		return ERR_NOMEM;
	for (size_t i = 0; i < w->n_members; i++) {
		const struct space_member *old = diff->is ? space_member(diff->is, w->members[i].member.cn, w->members[i].member.cn_len) : NULL;
		list[i] = w->members[i].member;
		list[i].since = old ? old->since : w->spec.from_join ? next : 1;
	}
	enum err e = draft_set_members(d, list, w->n_members);
	free(list);
	return e;
}

static void put_settings(struct space_spec *to, const struct space_spec *from)
{
	to->owner = from->owner;
	to->owner_len = from->owner_len;
	to->from_join = from->from_join;
	to->rotate_age_s = from->rotate_age_s;
	to->rotate_count = from->rotate_count;
	to->history = from->history;
}

/* c->next is NULL when out of memory. */
static void make_change(const struct difference *diff, struct change *c)
{
	struct draft d;
	const struct space_spec *want = &diff->want->spec;
	uint64_t now_s = clock_wall_ms() / 1000, until_ms = diff->is && !diff->removed ? clock_mono_ms() + KEYSPACE_GRACE_MS : 0;
	*c = (struct change){.old = diff->is, .members = !diff->is || diff->added || diff->removed || diff->changed, .cut = diff->removed > 0};
	if (draft_begin(&d, diff->is) != ERR_OK)
		return;
	if (!diff->is) {
		d.spec.name = want->name;
		d.spec.name_len = want->name_len;
		d.spec.mode = want->mode;
		d.spec.sign = want->sign;
		d.spec.created_s = now_s;
	}
	put_settings(&d.spec, want);
	if (put_members(&d, diff) != ERR_OK) {
		draft_drop(&d);
		return;
	}
	if (want->mode == SPACE_OWNER && diff->removed)
		d.spec.no_grace = true;
	c->turned = want->mode == SPACE_BROKER && (!diff->is || diff->removed || (diff->added && want->from_join));
	if (c->turned && draft_turn(&d, now_s, until_ms) != ERR_OK) {
		draft_drop(&d);
		return;
	}
	c->next = draft_finish(&d);
}

/* ---- doing it ---- */

static void audit(enum audit_kind kind, const struct declared_space *w, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void audit(enum audit_kind kind, const struct declared_space *w, const char *fmt, ...)
{
	char text[400];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	audit_event(kind, &(const struct audit_who){0}, text, AUDIT_PAIRS(AUDIT_PAIR("topic", w->spec.name, w->spec.name_len)));
}

static void tell(const struct difference *d, const struct space *old)
{
	const struct declared_space *w = d->want;
	if (!old) {
		audit(AUDIT_TOPIC_CREATED, w, "topics_file: mode %s, sign %s, %zu members", keyspace_mode_text(w->spec.mode), keyspace_sign_text(w->spec.sign),
		      w->n_members);
		return;
	}
	if (d->added || d->changed)
		audit(AUDIT_MEMBERS_ADDED, w, "topics_file: %zu more, %zu changed, now %zu", d->added, d->changed, w->n_members);
	for (size_t i = 0; d->removed && i < old->spec.n_members; i++) {
		const struct space_member *m = &old->spec.members[i];
		bool stays = false;
		for (size_t lo = 0, hi = w->n_members; !stays && lo < hi;) { /* the file's members are sorted like a space's */
			size_t mid = lo + (hi - lo) / 2;
			int c = strcmp(w->members[mid].member.cn, m->cn);
			stays = c == 0;
			if (c < 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (!stays)
			audit(AUDIT_MEMBER_REMOVED, w, "topics_file: '%.256s'", m->cn);
	}
	if (d->history)
		audit(AUDIT_HISTORY_SET, w, "topics_file");
}

static enum err keep_certificates(struct registrar *r, const struct declared_space *w)
{
	enum err e = ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < w->n_members; i++)
		if (w->members[i].der)
			e = registrar_keep_certificate(r, w->members[i].der, w->members[i].der_len);
	return e;
}

static enum err declare(struct registrar *r, const struct declared_space *w)
{
	struct space *is = space_map_get(r->map, w->spec.name, w->spec.name_len);
	struct difference d = compare(w, is);
	struct change c;
	if (is && misfit(&is->spec, &w->spec)) /* a command was faster than the reload */
		return ERR_REFUSED;
	enum err e = keep_certificates(r, w);
	if (e != ERR_OK || (is && !d.added && !d.removed && !d.changed && !d.history && !d.rotation))
		return e;
	make_change(&d, &c);
	struct space *old = is ? space_ref(is) : NULL;
	e = c.next ? registrar_apply(r, &c) : ERR_NOMEM;
	if (e == ERR_OK)
		tell(&d, old);
	space_unref(old);
	space_unref(c.next);
	return e;
}

void declare_all(struct registrar *r)
{
	const struct topics_file *f = r->policy->topics;
	bool again = r->pending;
	r->pending = false;
	for (size_t i = 0; f && i < f->n_spaces; i++) {
		enum err e = declare(r, &f->spaces[i]);
		if (e == ERR_OK)
			continue;
		r->pending = r->pending || e != ERR_REFUSED;
		if (!again || e == ERR_REFUSED)
			log_error("%s:%u: topic '%s' is not as declared there: %s%s", f->path, f->spaces[i].line, f->spaces[i].spec.name, err_text(e),
			          e == ERR_REFUSED ? ": it exists with another mode, sign or owner" : "; tried again every second");
	}
	if (again && !r->pending)
		log_notice("%s: all key spaces are as declared there now", f ? f->path : "topics_file");
}

void declare_left(const struct topics_file *former, const struct topics_file *now)
{
	for (size_t i = 0; former && i < former->n_spaces; i++) {
		const struct space_spec *s = &former->spaces[i].spec;
		if (!topics_file_find(now, s->name, s->name_len))
			log_warning("the topics_file no longer declares the key space '%s': it stays as it is, for commands to change (deleteTopic destroys its keys)",
			            s->name);
	}
}
