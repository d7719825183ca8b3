/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/audit_body.h"

#include "base/textbytes.h"
#include "base/textfile.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX 512U
#define CUT ",\"cut\":true"

struct body {
	char *start, *p;
	const char *end; /* room for CUT is behind it */
	bool cut;
};

static bool put(struct body *b, const char *p, size_t len)
{
	if ((size_t)(b->end - b->p) < len)
		return false;
	memcpy(b->p, p, len);
	b->p += len;
	return true;
}

static bool put_text(struct body *b, const char *s)
{
	return put(b, s, strlen(s));
}

/* Bytes of text to show: at most VALUE_MAX, whole UTF-8 characters. */
static size_t shown(const uint8_t *p, size_t len)
{
	if (len <= VALUE_MAX)
		return len;
	size_t n = VALUE_MAX;
	while (n > VALUE_MAX - 3 && (p[n] & 0xC0) == 0x80)
		n--;
	return n;
}

/* JSON's escapes for '"', '\' and the control characters C0, DEL and C1; what is not UTF-8 becomes U+FFFD as a whole. */
static bool put_string(struct body *b, const void *text, size_t len)
{
	const uint8_t *p = text;
	size_t n = shown(p, len);
	b->cut |= n < len;
	if (!text_utf8_valid(p, n))
		return put_text(b, "\"\\ufffd\"");
	bool good = put_text(b, "\"");
	for (size_t i = 0; i < n && good; i++) {
		char escaped[8];
		bool c1 = p[i] == 0xC2 && i + 1 < n && p[i + 1] < 0xA0;
		if (p[i] < 0x20 || p[i] == 0x7F || c1) {
			snprintf(escaped, sizeof escaped, "\\u%04x", c1 ? p[i + 1] : p[i]);
			good = put(b, escaped, 6);
			i += c1;
		} else if (p[i] == '"' || p[i] == '\\') {
			good = put(b, (const char[]){'\\', (char)p[i]}, 2);
		} else {
			good = put(b, (const char *)&p[i], 1);
		}
	}
	return good && put_text(b, "\"");
}

static bool put_name(struct body *b, const char *name)
{
	return (b->p == b->start || put_text(b, ",")) && put_text(b, "\"") && put_text(b, name) && put_text(b, "\":");
}

/* A member that does not fit leaves nothing of it. */
static void member(struct body *b, const char *name, const void *text, size_t len)
{
	char *before = b->p;
	if (put_name(b, name) && put_string(b, text, len))
		return;
	b->p = before;
	b->cut = true;
}

static void member_number(struct body *b, const char *name, uint64_t number)
{
	char digits[24], *before = b->p;
	snprintf(digits, sizeof digits, "%" PRIu64, number);
	if (put_name(b, name) && put_text(b, digits))
		return;
	b->p = before;
	b->cut = true;
}

static void member_hex(struct body *b, const char *name, const uint8_t *p, size_t len)
{
	char hex[2 * 32];
	hex_put(hex, p, len);
	member(b, name, hex, 2 * len);
}

static void members_who(struct body *b, const struct audit_who *who)
{
	char address[INET6_ADDRSTRLEN], from[INET6_ADDRSTRLEN + 16];
	const struct identity *id = who->identity;
	if (id)
		member(b, "cn", id->cn, id->cn_len);
	if (who->client_id)
		member(b, "client", who->client_id, who->client_id_len);
	if (who->peer && inet_ntop(who->family, who->peer, address, sizeof address)) {
		bool v6 = who->family == AF_INET6;
		int n = snprintf(from, sizeof from, "%s%s%s:%u", v6 ? "[" : "", address, v6 ? "]" : "", who->peer_port);
		member(b, "from", from, (size_t)n);
	}
	if (id && id->serial_len > 0) {
		member_hex(b, "cert", id->fingerprint, sizeof id->fingerprint);
		member_hex(b, "serial", id->serial, id->serial_len);
	}
}

size_t audit_body(char out[static AUDIT_EVENT_MAX], const char *kind, const struct audit_who *who, const char *text,
                  const struct audit_pair *pairs, size_t n_pairs)
{
	struct body b = {.start = out, .p = out, .end = out + AUDIT_EVENT_MAX - (sizeof CUT - 1)};
	member(&b, "kind", kind, strlen(kind));
	members_who(&b, who);
	if (*text)
		member(&b, "text", text, strlen(text));
	for (size_t i = 0; i < n_pairs; i++)
		if (pairs[i].text)
			member(&b, pairs[i].name, pairs[i].text, pairs[i].len);
		else
			member_number(&b, pairs[i].name, pairs[i].number);
	if (b.cut) {
		memcpy(b.p, CUT, sizeof CUT - 1);
		b.p += sizeof CUT - 1;
	}
	return (size_t)(b.p - out);
}
