/* SPDX-License-Identifier: GPL-3.0-or-later */
/* --will-topic. On a topic that is sealed for this client the will is sealed before the CONNECT that leaves it with the broker: its key is asked for on
 * a connection without a will, which then ends. A will under a former key would be dropped, so a new key means to connect again, too. One thread. */
#ifndef CLIENT_CLI_WILL_H
#define CLIENT_CLI_WILL_H

#include "client/cli_keys.h"

struct will;

/* NULL: the reason has been printed. Without --will-topic it is one that is set. */
struct will *will_new(const struct options *o, struct keys *k, struct link *l) MUST_CHECK;
void will_free(struct will *w);

enum will_state {
	WILL_ASKED,  /* not yet: nothing is to be done on this connection */
	WILL_SET,    /* the connection has it */
	WILL_FAILED, /* it cannot be sealed; the reason has been printed */
};
/* Goes on: to be called before anything else is done on a connection, and when keys have come. */
enum will_state will_go_on(struct will *w);
/* The connection was lost: the broker may have published the will, and the next connection's has to be another message, or it would be a duplicate. */
void will_lost(struct will *w);
/* Some key has come: maybe a newer one than the will's. */
void will_new_keys(struct will *w);

#endif
