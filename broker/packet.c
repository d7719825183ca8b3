/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/packet.h"

#include "broker/publish.h"
#include "broker/quota.h"
#include "broker/session.h"
#include "mqtt/encode.h"

/* PUBCOMP is the answer whether we know the identifiers or not: the first one may have been lost [MQTT-4.3.3-2]. */
static void packet_pubrels(struct conn *c, const uint16_t *ids, size_t n)
{
	size_t sent = 0;
	uint32_t seq;
	for (size_t i = 0; i < n; i++) {
		bool stored = pidset_remove(&c->session->received, ids[i]) && c->session->persistent;
		if (!stored)
			continue;
		conn_owe_ready(c, MQTT_PUBCOMP, ids + sent, i - sent);
		conn_owe(c, MQTT_PUBCOMP, ids[i], false, &seq);
		conn_ack_after_store(c, STORE_QOS2_DONE, ids[i], seq);
		sent = i + 1;
	}
	conn_owe_ready(c, MQTT_PUBCOMP, ids + sent, n - sent);
}

/* n acknowledgements of one type that came together. */
static void packet_acks(struct conn *c, enum mqtt_type type, const uint16_t *ids, size_t n)
{
	size_t known = n;
	if (type == MQTT_PUBACK)
		known = session_pubacks(c->session, ids, n);
	else if (type == MQTT_PUBREC)
		known = session_pubrecs(c->session, ids, n);
	else if (type == MQTT_PUBCOMP)
		known = session_pubcomps(c->session, ids, n);
	else
		packet_pubrels(c, ids, n);
	if (known < n && !c->failed)
		conn_protocol_error(c, MQTT_PACKET_ID_NOT_FOUND, mqtt_type_name(type));
}

/* One of a form that mqtt_decode_acks leaves alone. */
static void packet_ack(struct conn *c, enum mqtt_type type, const uint8_t *body, size_t len)
{
	struct mqtt_ack a;
	enum mqtt_reason r = mqtt_decode_ack((enum mqtt_version)c->version, body, len, &a);
	if (r == MQTT_OK)
		packet_acks(c, type, &a.packet_id, 1);
	else
		conn_protocol_error(c, r, mqtt_type_name(type));
}

static void packet_pingreq(struct conn *c)
{
	uint8_t *p = conn_ctl(c, MQTT_PINGRESP_SIZE);
	if (p)
		conn_ctl_add(c, mqtt_encode_pingresp(p));
}

/* One packet, complete. Types that a server never gets are protocol errors. */
static void dispatch(struct conn *c, const struct mqtt_frame *f, const uint8_t *body)
{
	switch ((enum mqtt_type)f->type) {
	case MQTT_CONNECT:
		packet_connect(c, body, f->remaining_len);
		return;
	case MQTT_PUBLISH:
		packet_publish(c, f->flags, body, f->remaining_len);
		return;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		packet_ack(c, (enum mqtt_type)f->type, body, f->remaining_len);
		return;
	case MQTT_SUBSCRIBE:
		packet_subscribe(c, body, f->remaining_len);
		return;
	case MQTT_UNSUBSCRIBE:
		packet_unsubscribe(c, body, f->remaining_len);
		return;
	case MQTT_PINGREQ:
		packet_pingreq(c);
		return;
	case MQTT_DISCONNECT:
		conn_end(c, LOG_INFO, false, "disconnected");
		return;
	case MQTT_CONNACK:
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
	case MQTT_PINGRESP:
	case MQTT_AUTH:
		break;
	}
	conn_protocol_error(c, MQTT_PROTOCOL_ERROR, mqtt_type_name((enum mqtt_type)f->type));
}

/* Is this packet allowed now, and not too large? CONNECT comes first, and once [MQTT-3.1.0-1, MQTT-3.1.0-2]. */
static enum mqtt_reason admit(const struct conn *c, const struct mqtt_frame *f)
{
	const struct conf *conf = c->loop->conf;
	bool before = c->state == CONN_CONNECT;
	if (before != (f->type == MQTT_CONNECT))
		return MQTT_PROTOCOL_ERROR;
	if (mqtt_frame_size(f) > (before ? conf->max_connect_packet_size : conf->max_packet_size))
		return MQTT_PACKET_TOO_LARGE;
	return MQTT_OK;
}

static void end_run(struct conn *c)
{
	if (run_end(c) && c->state == CONN_UP)
		publish_hold_back(c);
}

size_t packet_topics_behind(void *loop, struct topic_bytes *out, size_t max)
{
	struct mqtt_bytes rest = ((const struct loop *)loop)->behind;
	struct mqtt_frame f;
	size_t n = 0;
	for (size_t looked = 0; looked < 2 * max && n < max; looked++) {
		if (mqtt_decode_frame(MQTT_V311, rest.p, rest.len, &f) != MQTT_OK || rest.len < mqtt_frame_size(&f))
			break;
		const uint8_t *body = rest.p + f.header_len;
		size_t len = f.remaining_len < 2 ? SIZE_MAX : (size_t)body[0] << 8 | body[1];
		if (f.type == MQTT_PUBLISH && len <= f.remaining_len - 2U)
			out[n++] = (struct topic_bytes){body + 2, len};
		rest.p += mqtt_frame_size(&f);
		rest.len -= mqtt_frame_size(&f);
	}
	return n;
}

#define ACKS_MAX 128U /* handled together */

/* The acknowledgements at the start of buf. Returns their bytes; 0: there are none, or they need a closer look. */
static size_t take_acks(struct conn *c, const uint8_t *buf, size_t len)
{
	uint16_t ids[ACKS_MAX];
	enum mqtt_type type = (enum mqtt_type)(buf[0] >> 4);
	if (type < MQTT_PUBACK || type > MQTT_PUBCOMP || c->state != CONN_UP)
		return 0;
	size_t n = mqtt_decode_acks((enum mqtt_version)c->version, buf, len, ids, c->meter ? 1 : ACKS_MAX); /* which may stop after each packet */
	if (n == 0)
		return 0;
	end_run(c);
	c->last_in_ms = c->loop->now_ms;
	STATS_ADD(c->loop, packets_received, n);
	packet_acks(c, type, ids, n);
	if (c->meter)
		quota_packet(c, false, MQTT_ACK_SIZE);
	return n * MQTT_ACK_SIZE;
}

size_t packet_consume(struct conn *c, const uint8_t *buf, size_t len)
{
	struct loop *l = c->loop;
	size_t used = 0;
	while (used < len && !c->hold && !c->failed && c->state != CONN_CLOSING) {
		size_t acks = take_acks(c, buf + used, len - used);
		if (acks > 0) {
			used += acks;
			continue;
		}
		struct mqtt_frame f;
		enum mqtt_reason r = mqtt_decode_frame((enum mqtt_version)c->version, buf + used, len - used, &f);
		if (r == MQTT_NEED_MORE)
			break;
		if (r == MQTT_OK)
			r = admit(c, &f);
		if (r != MQTT_OK) {
			end_run(c);
			conn_protocol_error(c, r, r == MQTT_MALFORMED ? "fixed header" : mqtt_type_name((enum mqtt_type)f.type));
			break;
		}
		if (len - used < mqtt_frame_size(&f))
			break;
		c->last_in_ms = c->loop->now_ms;
		STATS_ADD(c->loop, packets_received, 1);
		const uint8_t *body = buf + used + f.header_len;
		if (f.type != MQTT_PUBLISH || !run_take(c, f.flags, body, f.remaining_len)) {
			end_run(c);
			l->behind = (struct mqtt_bytes){body + f.remaining_len, len - used - mqtt_frame_size(&f)};
			dispatch(c, &f, body);
			l->behind.len = 0;
		}
		if (c->meter)
			quota_packet(c, f.type == MQTT_PUBLISH, mqtt_frame_size(&f));
		if (c->move_to) /* CONNECT is decoded again on the loop that it belongs to */
			break;
		used += mqtt_frame_size(&f);
	}
	end_run(c);
	return used;
}
