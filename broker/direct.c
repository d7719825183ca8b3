/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rules of direct messages. Registrar's thread. */
#include "broker/direct.h"

#include "crypto/cert.h"

#include <string.h>

static const char prefix[] = "direct/";

const char *direct_recipient(const char *topic, const char *sender)
{
	size_t len = strlen(sender);
	if (strncmp(topic, prefix, sizeof prefix - 1) != 0)
		return NULL;
	topic += sizeof prefix - 1;
	if (strncmp(topic, sender, len) != 0 || topic[len] != '/')
		return NULL;
	const char *recipient = topic + len + 1;
	const struct der name = {(const uint8_t *)recipient, (const uint8_t *)recipient + strlen(recipient)};
	return cert_name_fault(name) || strcmp(recipient, sender) == 0 ? NULL : recipient;
}

size_t direct_count(const struct space_map *map, const char *sender)
{
	size_t n = 0;
	for (size_t i = 0; i < space_map_count(map); i++) {
		const struct space_spec *s = &space_map_at(map, i)->spec;
		n += strcmp(s->owner, sender) == 0 && direct_recipient(s->name, sender) != NULL;
	}
	return n;
}

const char *direct_fault(const struct space_spec *s)
{
	const char *recipient = direct_recipient(s->name, s->owner);
	if (!recipient)
		return "not the name of direct messages: direct/<your CN>/<the recipient's>";
	if (s->mode != SPACE_OWNER || s->sign != SPACE_SIGN_REQUIRED)
		return "direct messages are of mode owner, with sign required";
	for (size_t i = 0; i < s->n_members; i++)
		if (strcmp(s->members[i].cn, s->owner) != 0 && strcmp(s->members[i].cn, recipient) != 0)
			return "direct messages are between sender and recipient alone";
	return NULL;
}

struct space_history direct_history(void)
{
	return (struct space_history){.given = true, .count = DIRECT_HISTORY_COUNT, .age_s = DIRECT_HISTORY_AGE_S, .bytes = DIRECT_HISTORY_BYTES};
}
