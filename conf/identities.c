/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Values that say what belongs to an identity: its keys (pin), its client ids (clientid_pattern). One thread, at start and reload. */
#include "conf/conf_int.h"

#include "base/identity.h"

#include <stdlib.h>
#include <string.h>

void conf_append_text(struct parser *p, char ***list, size_t *n, struct text_line text)
{
	char **more = realloc(*list, (*n + 1) * sizeof *more);
	char *copy = more ? conf_copy_text(p, text.p, text.len) : NULL;
	p->no_memory |= !more;
	if (more)
		*list = more;
	if (copy)
		more[(*n)++] = copy;
}

void conf_free_texts(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hash(const char *p, size_t len, uint8_t out[static 32])
{
	if (len != 64)
		return false;
	for (size_t i = 0; i < 32; i++) {
		int high = hex_digit(p[2 * i]), low = hex_digit(p[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* "<cn> <hash>": a CN may hold spaces, so the hash is the last word. */
bool conf_set_pin(struct parser *p, struct text_line value)
{
	struct conf *c = p->c;
	struct conf_pin pin;
	size_t end = value.len;
	while (end > 0 && value.p[end - 1] != ' ' && value.p[end - 1] != '\t')
		end--;
	if (!read_hash(value.p + end, value.len - end, pin.key))
		return false;
	while (end > 0 && (value.p[end - 1] == ' ' || value.p[end - 1] == '\t'))
		end--;
	if (end == 0 || end > IDENTITY_CN_MAX)
		return false;
	struct conf_pin *more = realloc(c->pins, (c->n_pins + 1) * sizeof *more);
	if (more)
		c->pins = more;
	pin.cn = more ? conf_copy_text(p, value.p, end) : NULL;
	p->no_memory |= !more;
	if (pin.cn)
		more[c->n_pins++] = pin;
	return true;
}

bool conf_set_clientid_pattern(struct parser *p, struct text_line value, size_t max)
{
	if (value.len > max)
		return false;
	for (size_t i = 0; i < value.len; i++)
		if (value.p[i] == '%' && (i + 1 == value.len || value.p[i + 1] != 'u'))
			return false;
	conf_append_text(p, &p->c->clientid_patterns, &p->c->n_clientid_patterns, value);
	return true;
}
