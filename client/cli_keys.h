/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a command finds out whether a topic is sealed for it, and gets keys and certificates: subscriptions to $KEYS/… and $CERTS/…
 * beside the command's own. Where nothing can be sealed (no certificate, --plain) it says so for each topic. One thread. */
#ifndef CLIENT_CLI_KEYS_H
#define CLIENT_CLI_KEYS_H

#include "client/cli_link.h"
#include "client/sealmq.h"

struct keys;

/* NULL: the reason has been printed. */
struct keys *keys_new(const struct options *o) MUST_CHECK;
void keys_free(struct keys *k);
struct sealmq *keys_member(struct keys *k); /* NULL: nothing can be sealed or opened */
/* The same, to seal with: in a stream that goes on over runs (client/cli_stream) and connections. */
struct sealmq *keys_sealer(struct keys *k);

/* The connection is up: what is known is asked for again. */
void keys_connected(struct keys *k, struct link *l);

enum keys_state {
	KEYS_ASKED,   /* no answer yet */
	KEYS_WAITING, /* granted; the envelope or certificate has not come (an owner's may take its time) */
	KEYS_READY,
	KEYS_DENIED,  /* 0x80: plain for this client; or a certificate that the broker does not give */
	KEYS_BAD,     /* what came was refused: keys_why */
};
/* Asks for "$KEYS/plant/line1" or "$CERTS/sha256/…", once per connection, and says how it stands. */
enum keys_state keys_ask(struct keys *k, struct link *l, const char *topic);
/* Tells the user, once and after a while, what is being waited for; what: the topic as the user knows it. */
void keys_note_waiting(struct keys *k, const char *topic, const char *what);
bool keys_any_refused(const struct keys *k); /* whether an envelope has been */
const char *keys_why(struct keys *k, const char *topic);
uint64_t keys_asked_ms(struct keys *k, const char *topic); /* since when, by the steady clock */

/* Whether a key space covers the topic, as far as is known: from an envelope, or from an earlier run. Then plain text is not what was agreed on. */
bool keys_was_sealed(struct keys *k, const char *topic);
#define KEYS_WAS_SEALED "it was sealed for this client, who gets no key now: no member any more (or it is sealed no more: then sealmq key forget)"

/* Whether the packet was one of these subscriptions'. */
bool keys_on_subscribed(struct keys *k, int mid, int granted);
bool keys_on_message(struct keys *k, struct link *l, const struct mosquitto_message *m);

#endif
