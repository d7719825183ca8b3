/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a user's commands have seen of key spaces: trust on first use, kept over runs. One file, a line for each broker, member and space:
 *
 *   {"pins":"sealmq v1","sha256":"<of all the bytes behind this line>"}
 *   {"broker":"host:8883","member":"ann","space":"plant/line1","issuer":"<64 hex>","mode":"broker","sign":"optional","epoch":3}
 *
 * and in mode owner the number of the owner's list of members: "list":7.
 *
 * No secrets, but what it says is trusted: private to its user, replaced as a whole, and refused when it is not what was written. Several
 * processes may use it; one thread per struct. */
#ifndef CLIENT_PINS_H
#define CLIENT_PINS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pin {
	char *broker, *member, *space;
	uint8_t issuer[32]; /* SHA-256 of the certificate */
	int mode, sign;     /* enum sealmq_mode, enum sealmq_policy */
	uint32_t epoch;
	uint64_t list;      /* the number of the owner's list of members; 0: none was seen */
};

struct pins {
	struct pin *items;
	size_t n;
};

#define PINS_ERROR_MAX 512u /* bytes */

/* Reads the file into *p; one that does not exist is empty. ERR_CORRUPT, ERR_REFUSED (others may write it), ERR_IO, ERR_NOMEM: *p is empty, error
 * says what is wrong with which file and what to do. */
enum err pins_read(struct pins *p, const char *path, char error[static PINS_ERROR_MAX]) MUST_CHECK;
void pins_free(struct pins *p);
/* Takes over a pin's texts. False: no memory, nothing taken. */
bool pins_append(struct pins *p, const struct pin *take) MUST_CHECK;
void pins_drop(struct pins *p, size_t i);

/* Adds what was seen to what the file holds now; it is on disk when this returns. Folders are made as needed. What another process has seen of a
 * later epoch stays; ERR_REFUSED: that one has seen another issuer. The rest as above. seen->items[…] is borrowed. */
enum err pins_add(const char *path, const struct pins *seen, char error[static PINS_ERROR_MAX]) MUST_CHECK;
/* Removes what the file holds of a broker's space, of whichever member; *n: how many lines. */
enum err pins_remove(const char *path, const char *broker, const char *space, size_t *n, char error[static PINS_ERROR_MAX]) MUST_CHECK;

#endif
