/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/cli_pins.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *cli_pins_path(const struct options *o)
{
	const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *path = NULL;
	if (o->no_state)
		return NULL;
	if (o->state)
		return strdup(o->state);
	if (base && *base == '/')
		return asprintf(&path, "%s/sealmq/pins", base) < 0 ? NULL : path;
	return home && asprintf(&path, "%s/.local/state/sealmq/pins", home) >= 0 ? path : NULL;
}

char *cli_pins_broker(const struct options *o)
{
	char *broker = NULL;
	return asprintf(&broker, "%s:%d", o->host, options_port(o)) < 0 ? NULL : broker;
}

bool cli_pins_load(const struct options *o, const char *member, struct pins *out)
{
	char error[PINS_ERROR_MAX], *path = cli_pins_path(o), *broker = cli_pins_broker(o);
	*out = (struct pins){ .n = 0 };
	enum err e = !broker ? ERR_NOMEM : path ? pins_read(out, path, error) : ERR_OK;
	if (e != ERR_OK)
		complain(o, "%s", broker ? error : "out of memory");
	for (size_t i = out->n; i-- > 0 && broker;) /* the others' are not our concern */
		if (strcmp(out->items[i].broker, broker) != 0 || strcmp(out->items[i].member, member) != 0)
			pins_drop(out, i);
	free(path);
	free(broker);
	return e == ERR_OK;
}

static char *own(const char *text)
{
	return text ? strdup(text) : NULL;
}

bool cli_pins_save(const struct options *o, const char *member, struct pins *seen)
{
	char error[PINS_ERROR_MAX] = "out of memory", *path = cli_pins_path(o), *broker = cli_pins_broker(o);
	bool whole = broker != NULL;
	for (size_t i = 0; i < seen->n; i++) {
		seen->items[i].broker = own(broker);
		seen->items[i].member = own(member);
		whole = whole && seen->items[i].broker && seen->items[i].member;
	}
	enum err e = whole ? ERR_OK : ERR_NOMEM;
	if (whole && !path && !o->no_state) {
		snprintf(error, sizeof error, "HOME is not set: where is to be remembered who issues keys? --state FILE (or --no-state: nowhere)");
		e = ERR_NOT_FOUND;
	} else if (whole && path) {
		e = pins_add(path, seen, error);
	}
	if (e != ERR_OK)
		complain(o, "%s", error);
	free(path);
	free(broker);
	return e == ERR_OK;
}

bool cli_pins_give(const struct options *o, struct sealmq *h)
{
	struct pins known;
	if (!cli_pins_load(o, sealmq_cn(h), &known))
		return false;
	bool good = true;
	for (size_t i = 0; i < known.n && good; i++) {
		const struct pin *p = &known.items[i];
		enum sealmq_err e = sealmq_pin(h, p->space, p->issuer, (enum sealmq_mode)p->mode, (enum sealmq_policy)p->sign, p->epoch);
		if (e == SEALMQ_OK)
			e = sealmq_pin_list(h, p->space, p->list);
		good = e == SEALMQ_OK;
		if (!good)
			complain(o, "the pins, space '%s': %s", p->space, e == SEALMQ_NOMEM ? sealmq_err_text(e) : sealmq_reason(h));
	}
	pins_free(&known);
	return good;
}

bool cli_pins_keep(const struct options *o, struct sealmq *h)
{
	struct pins seen = { .n = 0 };
	struct sealmq_space s;
	enum sealmq_err e = SEALMQ_OK;
	for (size_t i = 0; e == SEALMQ_OK && (e = sealmq_space_at(h, i, &s)) == SEALMQ_OK; i++) {
		struct pin one = { .space = s.name, .mode = (int)s.mode, .sign = (int)s.sign, .epoch = s.epoch, .list = s.members };
		memcpy(one.issuer, s.issuer, sizeof one.issuer);
		if (!pins_append(&seen, &one)) {
			free(s.name);
			e = SEALMQ_NOMEM;
		}
	}
	bool good = e != SEALMQ_NOMEM && cli_pins_save(o, sealmq_cn(h), &seen);
	if (e == SEALMQ_NOMEM)
		complain(o, "out of memory");
	pins_free(&seen);
	return good;
}
