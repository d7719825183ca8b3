/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Brings a key space of this owner's to the broker: looks at what is there, and does what is missing, whatever was interrupted when. Nothing that the broker says
 * adds a member or changes a certificate. One thread. */
#ifndef CLIENT_OWNER_SYNC_H
#define CLIENT_OWNER_SYNC_H

#include "client/owner.h"

struct trust;

/* An exit status; when it is EXIT_DONE the broker has, in force, what s says. s is saved as it changes (certificates that have become known). */
int owner_sync(struct owner *w, struct owner_space *s);
/* Before s is changed: whether the broker knows an epoch or key that this machine does not. EXIT_REFUSED: it does; printed. */
int owner_is_current(struct owner *w, const struct owner_space *s);
/* Makes the next list of members and saves s: before anything of it leaves. */
int owner_commit(struct owner *w, struct owner_space *s);
int owner_save(struct owner *w, struct owner_space *s);

/* The certificate of that CN from $CERTS/<name>, if the authorities vouch for it and it can receive an envelope: *der for free(). *der NULL with EXIT_DONE: the broker
 * has none. EXIT_REFUSED: it is not to be believed; printed. */
int owner_fetch(struct owner *w, const char *name, const char *cn, uint8_t **der, size_t *len);
/* Why the certificate cannot be that member's; NULL: it can. */
const char *owner_cert_fault(struct owner *w, const char *cn, const void *der, size_t len);

/* getTopic's data, for cJSON_Delete; NULL with EXIT_DONE: there is no such key space (for this client). */
int owner_ask_about(struct owner *w, const char *topic, cJSON **about);

const struct options *owner_options(const struct owner *w);
struct trust *owner_trust(struct owner *w);
const char *owner_cn(const struct owner *w);

#endif
