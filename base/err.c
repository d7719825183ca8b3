/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/err.h"

const char *err_text(enum err e)
{
	switch (e) {
	case ERR_OK: return "no error";
	case ERR_NOMEM: return "out of memory";
	case ERR_FULL: return "full";
	case ERR_INVALID: return "invalid data";
	case ERR_NOT_FOUND: return "not found";
	case ERR_EXISTS: return "exists already";
	case ERR_AGAIN: return "try again later";
	case ERR_CLOSED: return "closed";
	case ERR_IO: return "input/output error";
	case ERR_CORRUPT: return "corrupt data";
	case ERR_REFUSED: return "refused";
	}
	return "unknown error";
}
