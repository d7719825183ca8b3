/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Printing messages. Owns nothing. */
#include "client/cli_format.h"

#include "base/textbytes.h"
#include "base/textfile.h"

#include <cjson/cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Letters behind '%'. The last four are ours; those of MQTT 5 print nothing, as with mosquitto_sub under 3.1.1. */
static const char letters[] = "%tplqrmxXjJIUACDEFPRS" "cVnT";
static const char escapes[] = "0aenrtv\\";

const char *format_fault(const char *format)
{
	if (strcmp(format, "jsonl") == 0)
		return NULL;
	for (const char *p = format; *p; p++) {
		if (*p == '%' && (*++p == '\0' || !strchr(letters, *p)))
			return "expected one of %%, %t, %p, %l, %q, %r, %m, %x, %X, %j, %J, %I, %U, %c, %V, %n, %T behind '%'";
		if (*p == '@' && *++p == '\0')
			return "expected a letter of strftime, or another '@', behind '@'";
		if (*p == '\\' && (*++p == '\0' || !strchr(escapes, *p)))
			return "expected one of \\0, \\a, \\e, \\n, \\r, \\t, \\v, \\\\ behind '\\'";
	}
	return NULL;
}

static void print_hex(FILE *to, const struct shown *m, bool upper)
{
	for (size_t i = 0; i < m->len; i++)
		fprintf(to, upper ? "%02X" : "%02x", ((const unsigned char *)m->payload)[i]);
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the letter behind %@ is the user's, to strftime alone */
static void print_time(FILE *to, const struct shown *m, const char *format)
{
	char text[64];
	struct tm tm;
	if (localtime_r(&m->arrived.tv_sec, &tm) && strftime(text, sizeof text, format, &tm) > 0)
		fputs(text, to);
}

#pragma GCC diagnostic error "-Wformat-nonliteral"

/* ---- JSON */

static bool is_text(const void *p, size_t len)
{
	return !memchr(p, 0, len) && text_utf8_valid(p, len);
}

static cJSON *text_item(const void *p, size_t len)
{
	char *copy = strndup(p, len);
	cJSON *item = copy ? cJSON_CreateString(copy) : NULL;
	free(copy);
	return item;
}

static cJSON *base64_item(const void *p, size_t len)
{
	char *text = malloc(base64_len(BASE64_STANDARD, len) + 1);
	if (!text)
		return NULL;
	*base64_put(BASE64_STANDARD, text, p, len) = '\0';
	cJSON *item = cJSON_CreateString(text);
	free(text);
	return item;
}

/* At most 32 bytes. */
static cJSON *hex_item(const uint8_t *p, size_t len)
{
	char text[65];
	*hex_put(text, p, len) = '\0';
	return cJSON_CreateString(text);
}

static void add_payload(cJSON *o, const struct shown *m)
{
	if (is_text(m->payload, m->len))
		cJSON_AddItemToObject(o, "payload", text_item(m->payload, m->len));
	else
		cJSON_AddItemToObject(o, "payload_base64", base64_item(m->payload, m->len));
}

/* Numbers beyond 2^53 do not come: sequence numbers end at 2^32, times are milliseconds. */
static cJSON *line_of(const struct shown *m)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "topic", m->topic);
	add_payload(o, m);
	cJSON_AddNumberToObject(o, "qos", m->qos);
	cJSON_AddBoolToObject(o, "retain", m->retain);
	cJSON_AddStringToObject(o, "verdict", m->verdict);
	if (m->sealed) {
		cJSON_AddStringToObject(o, "sender", m->sealed->sender);
		cJSON_AddNumberToObject(o, "sequence", (double)m->sealed->seq);
		cJSON_AddNumberToObject(o, "time", (double)m->sealed->time_ms);
		cJSON_AddBoolToObject(o, "signed", m->sealed->is_signed);
		cJSON_AddBoolToObject(o, "by_broker", m->sealed->by_broker);
		cJSON_AddItemToObject(o, "certificate", hex_item(m->sealed->fingerprint, sizeof m->sealed->fingerprint));
		cJSON_AddItemToObject(o, "stream", hex_item(m->sealed->stream, sizeof m->sealed->stream));
		cJSON_AddNumberToObject(o, "epoch", m->sealed->epoch);
	}
	int64_t arrived_ms = (int64_t)m->arrived.tv_sec * 1000 + m->arrived.tv_nsec / 1000000;
	cJSON_AddNumberToObject(o, "arrived", (double)arrived_ms);
	return o;
}

/* mosquitto_sub's %j and %J. */
static cJSON *mosquitto_object(const struct shown *m, bool payload_is_json)
{
	char stamp[64] = "", zone[16] = "", all[112];
	struct tm tm;
	if (localtime_r(&m->arrived.tv_sec, &tm)) {
		(void)!strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
		(void)!strftime(zone, sizeof zone, "%z", &tm);
	}
	snprintf(all, sizeof all, "%s.%06ld%s", stamp, m->arrived.tv_nsec / 1000, zone);
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "tst", all);
	cJSON_AddStringToObject(o, "topic", m->topic);
	cJSON_AddNumberToObject(o, "qos", m->qos);
	cJSON_AddNumberToObject(o, "retain", m->retain);
	cJSON_AddNumberToObject(o, "payloadlen", (double)m->len);
	if (m->qos > 0)
		cJSON_AddNumberToObject(o, "mid", m->mid);
	cJSON *inner = payload_is_json ? cJSON_ParseWithLength(m->payload, m->len) : NULL;
	if (inner)
		cJSON_AddItemToObject(o, "payload", inner);
	else if (payload_is_json)
		cJSON_AddNullToObject(o, "payload");
	else
		add_payload(o, m);
	return o;
}

static bool print_json(FILE *to, cJSON *o, bool pretty)
{
	char *text = pretty ? cJSON_Print(o) : cJSON_PrintUnformatted(o);
	cJSON_Delete(o);
	if (!text)
		return false;
	fputs(text, to);
	cJSON_free(text);
	return true;
}

/* ---- -F */

static bool print_letter(FILE *to, const struct options *o, const struct shown *m, char letter)
{
	switch (letter) {
	case '%': putc('%', to); return true;
	case 't': fputs(m->topic, to); return true;
	case 'p': fwrite(m->payload, 1, m->len, to); return true;
	case 'l': fprintf(to, "%zu", m->len); return true;
	case 'q': fprintf(to, "%d", m->qos); return true;
	case 'r': putc(m->retain ? '1' : '0', to); return true;
	case 'm': fprintf(to, "%d", m->mid); return true;
	case 'x':
	case 'X': print_hex(to, m, letter == 'X'); return true;
	case 'j':
	case 'J': return print_json(to, mosquitto_object(m, letter == 'J'), o->pretty);
	case 'I': print_time(to, m, "%FT%T%z"); return true;
	case 'U': fprintf(to, "%lld.%09ld", (long long)m->arrived.tv_sec, m->arrived.tv_nsec); return true;
	case 'c': fputs(m->sealed ? m->sealed->sender : "", to); return true;
	case 'V': fputs(m->verdict, to); return true;
	case 'n': fprintf(to, "%llu", m->sealed ? (unsigned long long)m->sealed->seq : 0ULL); return true;
	case 'T': fprintf(to, "%llu", m->sealed ? (unsigned long long)m->sealed->time_ms : 0ULL); return true;
	}
	return true; /* MQTT 5's */
}

static char escaped(char c)
{
	static const char values[] = "\0\a\033\n\r\t\v\\";
	return values[strchr(escapes, c) - escapes];
}

static bool print_format(FILE *to, const struct options *o, const struct shown *m)
{
	for (const char *p = o->format; *p; p++) {
		if (*p == '\\')
			putc(escaped(*++p), to);
		else if (*p == '@' && *++p != '@')
			print_time(to, m, (const char[]){ '%', *p, '\0' });
		else if (*p != '%')
			putc(*p, to);
		else if (!print_letter(to, o, m, *++p))
			return false;
	}
	return true;
}

bool format_print(FILE *to, const struct options *o, const struct shown *m)
{
	bool good = true, jsonl = o->format && strcmp(o->format, "jsonl") == 0;
	if (jsonl)
		good = print_json(to, line_of(m), false);
	else if (o->format)
		good = print_format(to, o, m);
	else if (o->verbose)
		fprintf(to, "%s %s", m->topic, m->len ? "" : "(null)");
	if (!o->format)
		fwrite(m->payload, 1, m->len, to);
	if (jsonl || !o->no_newline)
		putc('\n', to);
	return good;
}
