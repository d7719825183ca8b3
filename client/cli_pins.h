/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which file the pins are in, and what of it concerns this broker and member. --no-state: there is none. One thread. */
#ifndef CLIENT_CLI_PINS_H
#define CLIENT_CLI_PINS_H

#include "client/cli_options.h"
#include "client/pins.h"
#include "client/sealmq.h"

/* --state, else $XDG_STATE_HOME/sealmq/pins, else ~/.local/state/sealmq/pins; on the heap. NULL: none is to be used, or there is no home. */
char *cli_pins_path(const struct options *o);
/* "host:port", as pins name a broker; on the heap. NULL: no memory. */
char *cli_pins_broker(const struct options *o);

/* What is known of this broker's spaces to the member of that CN; pins_free it. False: the reason has been printed. */
bool cli_pins_load(const struct options *o, const char *member, struct pins *out) MUST_CHECK;
/* Puts what was seen on disk; broker and member of the items are set here. False: printed. */
bool cli_pins_save(const struct options *o, const char *member, struct pins *seen) MUST_CHECK;

/* The same for a libsealmq handle: pins what is known; keeps what it knows. False: printed. */
bool cli_pins_give(const struct options *o, struct sealmq *h) MUST_CHECK;
bool cli_pins_keep(const struct options *o, struct sealmq *h) MUST_CHECK;

#endif
