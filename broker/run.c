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
	struct msg *m = publish_new(c, &p);
	if (!m || (p.qos == 2 && pidset_add(&c->session->received, p.packet_id) != ERR_OK)) {
		msg_unref(m);
		return false; /* out of memory: handled by itself it ends the connection */
	}
	STATS_ADD(c->loop, publish_received, 1);
	STATS_ADD(c->loop, publish_bytes_received, p.payload.len);
	r->msgs[r->n++] = m;
	if (p.qos > 0)
		conn_owe(c, p.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p.packet_id, true, NULL);
	return true;
}

bool run_end(struct loop *l)
{
	struct run *r = &l->run;
	struct match *mt = r->match;
	uint32_t n = r->n;
	r->match = NULL;
	r->n = 0;
	if (!mt || n == 0)
		return false;
	route_run(l, r->msgs, n, mt);
	return true;
}
