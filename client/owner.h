/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The owner's side of key spaces of mode owner: keys are made here, and only envelopes leave this machine. What is wanted is first written down (client/owner_state,
 * synced), then brought to the broker (client/owner_sync), then noted as done; whatever is interrupted in between is completed by the next call for that
 * space. All of this waits for the disk and the broker. One thread; one process at a time per identity.
 *
 * To make a space on the fly (as `sealmq send` does):
 *
 *	struct owner *w = owner_open(o);
 *	const struct owner_wish members[] = { { .cn = "ann", .access = MEMBER_READ | MEMBER_WRITE }, … };
 *	const struct owner_spec spec = { .topic = t, .sign = SIGN_REQUIRED, .members = members, .n_members = 2, .may_exist = true };
 *	int status = w ? owner_space_create(w, &spec) : EXIT_FAILED;
 *	owner_close(w);
 *
 * A member whose certificate the broker does not know yet is written down, too, and gets its key at the next call after it has connected. The caller is a member
 * only when it is listed. */
#ifndef CLIENT_OWNER_H
#define CLIENT_OWNER_H

#include "client/cli_control.h"
#include "client/owner_space.h"

struct owner;

/* Loads --cert, --key and --cafile, and opens the vault; connects at the first need. o outlives it. NULL: printed. */
struct owner *owner_open(const struct options *o) MUST_CHECK;
void owner_close(struct owner *w); /* NULL is fine */
struct keypair *owner_identity(struct owner *w);
struct vault *owner_vault(struct owner *w);
const uint8_t *owner_fingerprint(const struct owner *w);
/* NULL: no connection, printed. */
struct control *owner_control(struct owner *w);

/* A member as it is asked for. der: its certificate, from a file; NULL: the one that the broker knows for cn, if the authorities vouch for it. */
struct owner_wish {
	const char *cn;
	unsigned access;
	const void *der;
	size_t der_len;
};

struct owner_spec {
	const char *topic;
	enum seal_sign sign;
	bool from_join;
	const char *settings;   /* further members of createTopic as a JSON object ({"history": {"count": 100}}), or NULL */
	const struct owner_wish *members;
	size_t n_members;
	bool may_exist;         /* one that is there already is completed, and is no error */
};

/* Each returns an exit status (client/cmd.h), and has printed why when it is not EXIT_DONE. EXIT_FAILED with nothing changed, or with what is still to be done written
 * down; EXIT_REFUSED: the broker contradicts what is known here, and nothing was handed out. */
int owner_space_create(struct owner *w, const struct owner_spec *spec);
int owner_space_add(struct owner *w, const char *topic, const struct owner_wish *members, size_t n);
int owner_space_remove(struct owner *w, const char *topic, const char *cn);
int owner_space_rotate(struct owner *w, const char *topic);
int owner_space_delete(struct owner *w, const char *topic);
/* Hands out what is pending: keys for members whose certificate is known now. cn (may be NULL): admits that member with the certificate that the broker shows,
 * whether or not it was added here, and also in place of another one. */
int owner_space_admit(struct owner *w, const char *topic, const char *cn);
/* Prints what the broker's list of members (getTopic's data) and this owner's do not agree on. *agree. */
int owner_space_compare(struct owner *w, const char *topic, const cJSON *about, bool *agree);

/* Whether this identity owns the topic's space here. False for anything else, also for what cannot be read (printed: *status is not EXIT_DONE). */
bool owner_has(struct owner *w, const char *topic, int *status);
/* The current epoch; 0: not this owner's. */
uint32_t owner_epoch_of(struct owner *w, const char *topic);

#endif
