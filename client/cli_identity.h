/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The key pair of --cert and --key. */
#ifndef CLIENT_CLI_IDENTITY_H
#define CLIENT_CLI_IDENTITY_H

#include "client/cli_options.h"
#include "crypto/keys.h"

/* NULL: the reason has been printed. For keypair_free. */
struct keypair *identity_load(const struct options *o) MUST_CHECK;

#endif
