/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/transport.h"

#include <string.h>

static enum tls_status over_tls_handshake(struct transport *t, struct tls_io *io)
{
	return tls_accept(t->tls, io);
}

static enum tls_status over_tls_read(struct transport *t, struct tls_io *io, uint8_t *buf, size_t cap, size_t *len)
{
	return tls_read(t->tls, io, buf, cap, len);
}

static enum tls_status over_tls_write(struct transport *t, struct tls_io *io, const uint8_t *buf, size_t len)
{
	return tls_write(t->tls, io, buf, len);
}

static void over_tls_close(struct transport *t, struct tls_io *io)
{
	tls_close(t->tls, io);
}

static enum tls_status plain_handshake(struct transport *t, struct tls_io *io)
{
	(void)t;
	(void)io;
	return TLS_DONE;
}

static enum tls_status plain_read(struct transport *t, struct tls_io *io, uint8_t *buf, size_t cap, size_t *len)
{
	(void)t;
	size_t n = io->in_len < cap ? io->in_len : cap;
	memcpy(buf, io->in, n);
	io->in += n;
	io->in_len -= n;
	*len = n;
	return io->in_len > 0 ? TLS_DONE : TLS_WANT_READ;
}

static enum tls_status plain_write(struct transport *t, struct tls_io *io, const uint8_t *buf, size_t len)
{
	(void)t;
	memcpy(io->out + io->out_len, buf, len);
	io->out_len += len;
	return TLS_DONE;
}

static void plain_close(struct transport *t, struct tls_io *io)
{
	(void)t;
	(void)io;
}

static const struct transport_ops over_tls = {over_tls_handshake, over_tls_read, over_tls_write, over_tls_close};
static const struct transport_ops plain = {plain_handshake, plain_read, plain_write, plain_close};

enum err transport_open(struct transport *t, struct tls_ctx *ctx)
{
	struct tls_conn *tls = ctx ? tls_conn_new(ctx) : NULL;
	if (ctx && !tls)
		return ERR_NOMEM;
	*t = (struct transport){.ops = ctx ? &over_tls : &plain, .tls = tls};
	return ERR_OK;
}

void transport_free(struct transport *t)
{
	tls_conn_free(t->tls);
	t->tls = NULL;
}
