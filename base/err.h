/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Errors of everything but the codec (which speaks MQTT reason codes). */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum err {
	ERR_OK = 0,
	ERR_NOMEM,     /* an allocation failed; nothing was changed */
	ERR_FULL,      /* a quota or fixed capacity is used up */
	ERR_INVALID,   /* the caller's data break a rule */
	ERR_NOT_FOUND,
	ERR_EXISTS,
	ERR_AGAIN,     /* not now; try later */
	ERR_CLOSED,    /* the other side is gone, or we are shutting down */
	ERR_IO,        /* the operating system said no; errno tells */
	ERR_CORRUPT,   /* stored data fail verification */
	ERR_REFUSED,   /* policy forbids it */
};

/* A short lower-case text for logs; never NULL. Any thread. */
const char *err_text(enum err e);

#endif
