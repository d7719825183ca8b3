/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq key pins, sealmq key forget: what earlier runs have seen of key spaces. Connects to nobody. */
#include "client/cli_pins.h"
#include "client/cmd.h"
#include "client/cmd_key_pins.h"

#include "base/textbytes.h"

#include <stdio.h>
#include <stdlib.h>

static int print_pins(const struct options *o, const char *path)
{
	static const char *const modes[] = { "", "broker", "owner" }, *const signs[] = { "off", "optional", "required" };
	char error[PINS_ERROR_MAX];
	struct pins all;
	if (pins_read(&all, path, error) != ERR_OK) {
		complain(o, "%s", error);
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < all.n; i++) {
		const struct pin *p = &all.items[i];
		char issuer[2 * sizeof p->issuer + 1];
		*hex_put(issuer, p->issuer, sizeof p->issuer) = '\0';
		printf("%s  member %s  space '%s'  mode %s  signatures %s  epoch %u  issuer %s\n", p->broker, p->member, p->space, modes[p->mode], signs[p->sign],
		       p->epoch, issuer);
	}
	pins_free(&all);
	return EXIT_DONE;
}

static int forget(const struct options *o, const char *path, const char *space)
{
	char error[PINS_ERROR_MAX] = "out of memory", *broker = cli_pins_broker(o);
	size_t n = 0;
	enum err e = broker ? pins_remove(path, broker, space, &n, error) : ERR_NOMEM;
	if (e != ERR_OK)
		complain(o, "%s", error);
	else if (n == 0)
		complain(o, "%s: nothing is known of the space '%s' of %s", path, space, broker);
	free(broker);
	return e == ERR_OK && n > 0 ? EXIT_DONE : EXIT_FAILED;
}

int cmd_key_pins(const struct options *o, const char *space)
{
	char *path = cli_pins_path(o);
	if (!path) {
		fputs("sealmq key: no state file is used: expected HOME or --state, and not --no-state\n", stderr);
		return EXIT_USAGE;
	}
	int status = space ? forget(o, path, space) : print_pins(o, path);
	free(path);
	return status;
}
