/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is between a connection and its socket's bytes: TLS, or plain text on loopback. A WebSocket layer slots in as another table.
 * Statuses and buffers are those of crypto/tls.h, which both follow. */
#ifndef BROKER_TRANSPORT_H
#define BROKER_TRANSPORT_H

#include "crypto/tls.h"

struct transport;

struct transport_ops {
	enum tls_status (*handshake)(struct transport *t, struct tls_io *io);
	enum tls_status (*read)(struct transport *t, struct tls_io *io, uint8_t *buf, size_t cap, size_t *len);
	enum tls_status (*write)(struct transport *t, struct tls_io *io, const uint8_t *buf, size_t len);
	void (*close)(struct transport *t, struct tls_io *io);
};

struct transport {
	const struct transport_ops *ops;
	struct tls_conn *tls; /* NULL: plain */
};

/* When the first bytes are there: what TLS needs costs as much as all else of a connection, and many strangers never say anything.
 * ctx NULL: plain. ERR_NOMEM: *t stays as it was. */
enum err transport_open(struct transport *t, struct tls_ctx *ctx) MUST_CHECK;
void transport_free(struct transport *t);

#endif
