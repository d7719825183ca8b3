/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/run.h"

#include "broker/conn.h"
#include "broker/publish.h"
#include "broker/route.h"
#include "broker/session.h"

void run_begin(struct conn *c, uint8_t flags, const struct mqtt_publish *p)
{
	struct run *r = &c->loop->run;
	uint32_t receivers = r->offered->n_targets;
	r->topic = p->topic;
	r->flags = flags;
	r->n = 0;
	r->max = receivers <= RUN_DELIVERIES_MAX / RUN_MAX ? RUN_MAX : RUN_DELIVERIES_MAX / receivers;
	if (p->topic.p[0] != '$' && r->max > 0) /* those are rewritten, or not for everybody */
		r->match = r->offered;
}

bool run_take(struct conn *c, uint8_t flags, const uint8_t *body, size_t len)
{
	struct run *r = &c->loop->run;
	struct mqtt_publish p;
	if (!r->match || r->n == r->max || flags != r->flags ||
		!mqtt_decode_publish_again((enum mqtt_version)c->version, flags, body, len, r->topic, &p))
		return false;
	if (p.qos == 2 && pidset_has(&c->session->received, p.packet_id))
		return false;
	struct msg *m = r->n > 0 ? msg_new_alike(r->msgs[0], p.payload.p, p.payload.len) : publish_new(c, &p);
	if (!m || (p.qos == 2 && pidset_add(&c->session->received, p.packet_id) != ERR_OK)) {
		msg_unref(m);
		return false; /* out of memory: handled by itself it ends the connection */
	}
	STATS_ADD(c->loop, publish_received, 1);
	STATS_ADD(c->loop, publish_bytes_received, p.payload.len);
	r->ids[r->n] = p.packet_id;
	r->msgs[r->n++] = m;
	return true;
}

bool run_end(struct conn *c)
{
	struct run *r = &c->loop->run;
	struct match *mt = r->match;
	uint32_t n = r->n;
	r->match = NULL;
	r->n = 0;
	if (!mt || n == 0)
		return false;
	route_run(c->loop, r->msgs, n, mt);
	unsigned qos = r->flags >> 1 & 3U;
	if (qos > 0)
		conn_owe_ready(c, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, r->ids, n);
	return true;
}
