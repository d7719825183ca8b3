/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/access.h"

#include "base/siphash.h"
#include "broker/loop.h"
#include "broker/spaces.h"

#include <stdlib.h>
#include <string.h>

#define DECISIONS 8192U /* a power of two; 24 bytes each, per loop, once there is an acl_file */

/* What was decided about a session and a topic. The handle names one session for ever; the topic is known by its hash under the
 * process's secret key, which nobody can aim at and which meets another topic's by chance once in 2^64. */
struct decision {
	uint64_t topic;
	sub_handle handle;
	uint32_t rules;      /* the loop's; 0: free */
	uint8_t access;      /* enum acl_access */
	bool allowed;
};

struct access_cache {
	struct decision decisions[DECISIONS];
};

void access_cache_free(struct access_cache *c)
{
	free(c);
}

static bool starts_with(struct mqtt_bytes b, const char *prefix)
{
	size_t n = strlen(prefix);
	return b.len >= n && memcmp(b.p, prefix, n) == 0;
}

static bool is(struct mqtt_bytes b, const char *text)
{
	return b.len == strlen(text) && memcmp(b.p, text, b.len) == 0;
}

static struct acl_subject subject_of(const struct session *s)
{
	return (struct acl_subject){(const uint8_t *)s->identity->cn, s->identity->cn_len, (const uint8_t *)s->client_id,
	                            s->client_id_len};
}

static bool decide(const struct session *s, enum acl_access access, struct mqtt_bytes topic)
{
	struct acl_subject subject = subject_of(s);
	const struct space *space = s->loop->spaces && access != ACL_SUBSCRIBE ? space_map_find(s->loop->spaces, topic.p, topic.len) : NULL;
	if (space) { /* its members, whatever the acl_file says */
		const struct space_member *m = space_member(space, s->identity->cn, s->identity->cn_len);
		return m && m->access & (access == ACL_WRITE ? SPACE_WRITE : SPACE_READ);
	}
	return acl_allows(s->loop->policy->acl, &subject, access, topic.p, topic.len, NULL);
}

/* The same through the cache; without an acl_file a decision is cheaper than the look. */
static bool decide_cached(struct session *s, enum acl_access access, struct mqtt_bytes topic)
{
	struct loop *l = s->loop;
	if (!l->policy->acl && !l->spaces)
		return topic.p[0] != '$' || decide(s, access, topic); /* what needs no certificate's name to decide */
	if (!l->access && !(l->access = calloc(1, sizeof *l->access)))
		return decide(s, access, topic);
	uint64_t hash = siphash13(&siphash_process_key, topic.p, topic.len);
	uint64_t place = (hash ^ s->subs.handle * UINT64_C(0x9E3779B97F4A7C15)) + access;
	struct decision *d = &l->access->decisions[(place ^ place >> 32) & (DECISIONS - 1)];
	if (d->topic != hash || d->handle != s->subs.handle || d->rules != l->rules || d->access != access)
		*d = (struct decision){hash, s->subs.handle, l->rules, (uint8_t)access, decide(s, access, topic)};
	return d->allowed;
}

static bool is_the_brokers(struct mqtt_bytes topic)
{
	return topic.p[0] == '$' && starts_with(topic, "$SYS/") && !is(topic, ACCESS_HEALTH_TOPIC);
}

bool access_publish(struct session *s, struct mqtt_bytes topic)
{
	if (topic.p[0] == '$' && (spaces_is_own(topic) || is_the_brokers(topic)))
		return false; /* what of the spaces' own clients may publish to has been taken already */
	return decide_cached(s, ACL_WRITE, topic);
}

bool access_will(const struct loop *l, const struct identity *who, const char *client_id, size_t client_id_len, struct mqtt_bytes topic)
{
	struct acl_subject subject = {(const uint8_t *)who->cn, who->cn_len, (const uint8_t *)client_id, client_id_len};
	if (topic.p[0] == '$' && spaces_is_own(topic))
		return false;
	return !is_the_brokers(topic) && acl_allows(l->policy->acl, &subject, ACL_WRITE, topic.p, topic.len, NULL);
}

bool access_subscribe(struct session *s, struct mqtt_bytes filter)
{
	enum space_verdict v = spaces_judge_filter(s, filter);
	return v == SPACE_ELSEWHERE ? decide(s, ACL_SUBSCRIBE, filter) : v == SPACE_ALLOWED;
}

void access_subscribed(struct session *s, struct mqtt_bytes filter)
{
	const struct acl *acl = s->loop->policy->acl;
	struct acl_subject subject = subject_of(s);
	if (s->loop->spaces) {
		s->keys |= spaces_has_prefix(filter, SPACES_KEYS);
		s->judge |= spaces_concern(s->loop->spaces, filter);
	}
	if (acl && !s->judge && !spaces_is_own(filter) && !acl_reads_all(acl, &subject, filter.p, filter.len))
		s->judge = true;
}

bool access_read(struct session *s, const struct msg *m)
{
	if ((!s->judge && s->judged == s->loop->rules) || m->flags & MSG_DIRECT)
		return true;
	return decide_cached(s, ACL_READ, (struct mqtt_bytes){msg_topic(m), m->topic_len});
}
