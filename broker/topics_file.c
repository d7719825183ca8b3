/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/topics_file.h"

#include "base/textfile.h"
#include "broker/keyspace.h"
#include "conf/value.h"
#include "crypto/keys.h"
#include "topics/topic.h"

#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX UINT64_C(8640000000)      /* as the commands have it */
#define NUMBER_MAX UINT64_C(9007199254740991) /* the largest that JSON's numbers can be trusted with */
#define CERTIFICATE_MAX 65536U                /* bytes of a PEM file */

/* Each stands once in a space, but for the members. */
enum key { KEY_TOPIC, KEY_MODE, KEY_SIGN, KEY_OWNER, KEY_NEW_MEMBERS, KEY_ROTATE_AGE, KEY_ROTATE_COUNT, KEY_HISTORY, KEY_HISTORY_AGE,
           KEY_HISTORY_BYTES, KEY_MEMBER, KEY_MEMBER_CERTIFICATE, N_KEYS };

struct loader {
	struct topics_file *f;
	struct textfile t;
	struct trust *trust;
	struct declared_space *space; /* the last one; NULL: there is none yet */
	size_t cap;
	unsigned seen[N_KEYS];        /* line in which the space has that key; 0: not yet */
	bool no_memory;
};

static char *copy(struct loader *l, struct text_line value)
{
	char *text = strndup(value.p, value.len);
	l->no_memory |= !text;
	return text;
}

/* ---- values */

static void expect(struct loader *l, const char *key, struct text_line value, const char *what)
{
	char quoted[TEXT_QUOTED_MAX];
	textfile_error(&l->t, "%s: %s; expected %s", key, value.len ? text_quote(quoted, value.p, value.len) : "no value", what);
}

static const char *topic_fault(struct text_line name)
{
	if (name.len == 0 || name.len > SPACE_NAME_MAX || *name.p == '$' || memchr(name.p, '+', name.len) || memchr(name.p, '#', name.len) ||
		topic_levels((const uint8_t *)name.p, name.len) > TOPIC_LEVELS_MAX)
		return "a topic name without '+' and '#', not beginning with '$', of at most 65527 bytes and 200 levels";
	return NULL;
}

static void begin_space(struct loader *l, struct text_line name)
{
	struct topics_file *f = l->f;
	const char *fault = topic_fault(name);
	char quoted[TEXT_QUOTED_MAX];
	memset(l->seen, 0, sizeof l->seen);
	if (fault)
		expect(l, "topic", name, fault);
	const struct declared_space *same = topics_file_find(f, name.p, name.len);
	if (same)
		textfile_error(&l->t, "topic: %s is declared twice; the first is in line %u", text_quote(quoted, name.p, name.len), same->line);
	if (f->n_spaces == l->cap) {
		struct declared_space *more = realloc(f->spaces, (l->cap + 64) * 2 * sizeof *more);
		if (!more) {
			l->no_memory = true;
			return;
		}
		f->spaces = more;
		l->cap = (l->cap + 64) * 2;
	}
	struct declared_space *s = &f->spaces[f->n_spaces];
	*s = (struct declared_space){.line = l->t.line, .spec = {.mode = SPACE_BROKER, .sign = SPACE_SIGN_OPTIONAL, .owner = ""}};
	s->spec.name = copy(l, name);
	s->spec.name_len = name.len;
	if (!l->no_memory) {
		f->n_spaces++;
		l->space = s;
	}
}

/* A word of a table, NUL-terminated; "" is none of them. */
static const char *short_word(char out[static 16], struct text_line word)
{
	size_t len = word.len < 16 ? word.len : 0;
	memcpy(out, word.p, len);
	out[len] = '\0';
	return out;
}

static void set_mode(struct loader *l, struct text_line value)
{
	char word[16];
	if (!keyspace_mode_of(short_word(word, value), &l->space->spec.mode))
		expect(l, "mode", value, "open, broker or owner");
}

static void set_sign(struct loader *l, struct text_line value)
{
	char word[16];
	if (!keyspace_sign_of(short_word(word, value), &l->space->spec.sign))
		expect(l, "sign", value, "off, optional or required");
}

static void set_new_members(struct loader *l, struct text_line value)
{
	l->space->spec.from_join = text_is(value, "from-join");
	if (!l->space->spec.from_join && !text_is(value, "see-past"))
		expect(l, "new_members", value, "see-past or from-join");
}

static bool is_name(struct text_line cn)
{
	return !cert_name_fault((struct der){(const uint8_t *)cn.p, (const uint8_t *)cn.p + cn.len});
}

static void set_owner(struct loader *l, struct text_line value)
{
	if (!is_name(value)) {
		expect(l, "owner", value, "a common name of 1 to 256 bytes");
		return;
	}
	char *owner = copy(l, value);
	if (owner) {
		l->space->spec.owner = owner;
		l->space->spec.owner_len = value.len;
	}
}

/* ---- members */

static void add_member(struct loader *l, const struct space_member *m, char *take_cn, uint8_t *take_der, size_t der_len)
{
	struct declared_space *s = l->space;
	if (s->n_members == s->cap) {
		struct declared_member *more = realloc(s->members, (s->cap + 8) * 2 * sizeof *more);
		if (!more) {
			l->no_memory = true;
			free(take_cn);
			free(take_der);
			return;
		}
		s->members = more;
		s->cap = (s->cap + 8) * 2;
	}
	struct declared_member *d = &s->members[s->n_members++];
	*d = (struct declared_member){.member = *m, .line = l->t.line, .der = take_der, .der_len = der_len};
	d->member.cn = take_cn;
}

/* The access, which is the first word; value is what follows. */
static bool access_of(struct loader *l, const char *key, struct text_line *value, const char *expected, struct space_member *m)
{
	const struct text_line whole = *value, word = text_word(value);
	char text[16];
	*m = (struct space_member){0};
	if (keyspace_access_of(short_word(text, word), &m->access) && value->len > 0)
		return true;
	expect(l, key, whole, expected);
	return false;
}

static void set_member(struct loader *l, struct text_line value)
{
	static const char expected[] = "read, write or readwrite, then a common name of 1 to 256 bytes";
	struct space_member m;
	if (!access_of(l, "member", &value, expected, &m))
		return;
	if (!is_name(value)) {
		expect(l, "member", value, expected);
		return;
	}
	m.cn_len = (uint16_t)value.len;
	char *cn = copy(l, value);
	if (cn)
		add_member(l, &m, cn, NULL, 0);
}

/* What is wrong with a member's certificate; NULL: nothing. An EC key is judged when the mode is known. */
static const char *read_certificate(const char *pem, size_t len, uint8_t *der, size_t *der_len, struct cert *cert, struct der *cn)
{
	const char *why = NULL;
	if (len > CERTIFICATE_MAX || keys_pem_to_der(pem, len, der, der_len) != ERR_OK || cert_parse(cert, der, *der_len) != ERR_OK)
		return "expected one certificate in PEM";
	return cert_common_name(cert, cn, &why) == ERR_OK ? NULL : why;
}

static void take_certificate(struct loader *l, const char *path, const char *pem, size_t len, struct space_member *m)
{
	size_t der_len = 0;
	struct cert cert;
	struct der cn;
	uint8_t *der = malloc(len + 1);
	if (!der) {
		l->no_memory = true;
		return;
	}
	const char *why = read_certificate(pem, len, der, &der_len, &cert, &cn);
	if (why) {
		textfile_error(&l->t, "member_certificate: %s: %s", path, why);
		free(der);
		return;
	}
	enum tls_cause cause = l->trust ? trust_check(l->trust, &cert) : TLS_CAUSE_NONE;
	if (cause != TLS_CAUSE_NONE)
		textfile_warning(&l->t, "member_certificate: %s: %s: its client cannot connect", path, tls_cause_text(cause));
	cert_fingerprint(&cert, m->fingerprint);
	m->pinned = true;
	m->cn_len = (uint16_t)(cn.end - cn.p);
	char *name = copy(l, (struct text_line){(const char *)cn.p, m->cn_len});
	if (name)
		add_member(l, m, name, der, der_len);
	else
		free(der);
}

static void set_member_certificate(struct loader *l, struct text_line value)
{
	struct space_member m;
	size_t len = 0;
	if (!access_of(l, "member_certificate", &value, "read, write or readwrite, then the path of a certificate in PEM", &m))
		return;
	char *path = copy(l, value), *pem = path ? textfile_read(path, &len, l->t.errors) : NULL;
	if (pem)
		take_certificate(l, path, pem, len, &m);
	else if (path)
		textfile_error(&l->t, "member_certificate: cannot be read");
	free(pem);
	free(path);
}

/* ---- numbers */

typedef bool read_fn(const char *p, size_t len, uint64_t min, uint64_t max, uint64_t *out);

struct number {
	read_fn *read;
	uint64_t min, max;
	const char *expected;
};
static const struct number seconds = {value_seconds, 1, SECONDS_MAX, "seconds, as a number with perhaps s, m, h, d, w or y behind it"};
static const struct number bytes = {value_size, 1, NUMBER_MAX, "a size as a number with perhaps K, M, G or T behind it"};
static const struct number messages = {value_number, 1, NUMBER_MAX, "a number of messages from 1"};
static const struct number kept = {value_number, 0, NUMBER_MAX, "a number of messages (0: keep none)"};

static void set_number(struct loader *l, const char *key, struct text_line value, const struct number *kind, uint64_t *to)
{
	if (!kind->read(value.p, value.len, kind->min, kind->max, to))
		expect(l, key, value, kind->expected);
}

static void set_history(struct loader *l, const char *key, struct text_line value, const struct number *kind, uint64_t *to)
{
	set_number(l, key, value, kind, to);
	l->space->spec.history.given = true;
}

/* ---- lines */

static const char *const names[N_KEYS] = {"topic", "mode", "sign", "owner", "new_members", "rotate_age", "rotate_count", "history", "history_age",
                                          "history_bytes", "member", "member_certificate"};

static void set_key(struct loader *l, enum key key, struct text_line value)
{
	switch (key) {
	case KEY_TOPIC:
		begin_space(l, value);
		return;
	case KEY_MODE:
		set_mode(l, value);
		return;
	case KEY_SIGN:
		set_sign(l, value);
		return;
	case KEY_OWNER:
		set_owner(l, value);
		return;
	case KEY_NEW_MEMBERS:
		set_new_members(l, value);
		return;
	case KEY_MEMBER:
		set_member(l, value);
		return;
	case KEY_MEMBER_CERTIFICATE:
		set_member_certificate(l, value);
		return;
	case KEY_ROTATE_AGE:
		set_number(l, names[key], value, &seconds, &l->space->spec.rotate_age_s);
		return;
	case KEY_ROTATE_COUNT:
		set_number(l, names[key], value, &messages, &l->space->spec.rotate_count);
		return;
	case KEY_HISTORY:
		set_history(l, names[key], value, &kept, &l->space->spec.history.count);
		return;
	case KEY_HISTORY_AGE:
		set_history(l, names[key], value, &seconds, &l->space->spec.history.age_s);
		return;
	case KEY_HISTORY_BYTES:
		set_history(l, names[key], value, &bytes, &l->space->spec.history.bytes);
		return;
	case N_KEYS:
		return;
	}
}

static int compare_members(const void *a, const void *b)
{
	const struct space_member *x = &((const struct declared_member *)a)->member, *y = &((const struct declared_member *)b)->member;
	int c = memcmp(x->cn, y->cn, x->cn_len < y->cn_len ? x->cn_len : y->cn_len);
	return c ? c : (int)x->cn_len - (int)y->cn_len;
}

static void check_members(struct loader *l)
{
	struct declared_space *s = l->space;
	struct textfile at = l->t;
	char quoted[TEXT_QUOTED_MAX];
	if (s->n_members > 0)
		qsort(s->members, s->n_members, sizeof *s->members, compare_members);
	for (size_t i = 0; i < s->n_members; i++) {
		const struct declared_member *m = &s->members[i];
		at.line = m->line;
		if (i > 0 && compare_members(m - 1, m) == 0)
			textfile_error(&at, "member: %s is a member already", text_quote(quoted, m->member.cn, m->member.cn_len));
		struct cert cert;
		struct pubkey *key = NULL;
		if (m->der && s->spec.mode != SPACE_OPEN && cert_parse(&cert, m->der, m->der_len) == ERR_OK &&
			(pubkey_new(&key, &cert) != ERR_OK || pubkey_kind(key) != KEY_RSA))
			textfile_error(&at, "member_certificate: CN %s: expected an RSA key of 2048 to 4096 bits; an EC key cannot receive an envelope",
			               text_quote(quoted, m->member.cn, m->member.cn_len));
		pubkey_free(key);
	}
	l->t.n_errors = at.n_errors;
}

/* What only the whole of a space shows. */
static void end_space(struct loader *l)
{
	if (!l->space)
		return;
	struct space_spec *s = &l->space->spec;
	struct textfile at = l->t;
	const char *mode = keyspace_mode_text(s->mode);
	at.line = l->space->line;
	if (s->mode != SPACE_BROKER && (s->rotate_age_s > 0 || s->rotate_count > 0))
		textfile_error(&at, "%s: not for the mode %s", s->rotate_age_s > 0 ? "rotate_age" : "rotate_count", mode);
	if (s->mode == SPACE_OPEN && s->from_join)
		textfile_error(&at, "new_members: from-join is not for the mode open");
	if (s->mode == SPACE_OWNER && s->owner_len == 0)
		textfile_error(&at, "mode: owner needs a line 'owner CN': who makes the keys");
	s->history.off = s->history.given && s->history.count == 0 && s->history.age_s == 0 && s->history.bytes == 0;
	l->t.n_errors = at.n_errors;
	check_members(l);
}

static void parse_line(struct loader *l, struct text_line line)
{
	char quoted[TEXT_QUOTED_MAX];
	struct text_line name = text_word(&line);
	unsigned key = 0;
	while (key < N_KEYS && !text_is(name, names[key]))
		key++;
	if (key == N_KEYS) {
		textfile_error(&l->t, "%s: unknown key; expected topic, mode, sign, owner, new_members, rotate_age, rotate_count, history, history_age, "
		               "history_bytes, member or member_certificate", text_quote(quoted, name.p, name.len));
		return;
	}
	if (key == KEY_TOPIC)
		end_space(l);
	else if (!l->space) {
		textfile_error(&l->t, "%s: expected a 'topic NAME' line before it", names[key]);
		return;
	}
	bool many = key == KEY_TOPIC || key == KEY_MEMBER || key == KEY_MEMBER_CERTIFICATE;
	if (!many && l->seen[key]) {
		textfile_error(&l->t, "%s: given twice; the first is in line %u", names[key], l->seen[key]);
		return;
	}
	l->seen[key] = l->t.line;
	set_key(l, (enum key)key, text_uncommented(line));
}

/* ---- the whole */

struct topics_file *topics_file_parse(const char *buf, size_t len, const char *name, struct trust *trust, FILE *errors)
{
	struct loader l = {.trust = trust, .f = calloc(1, sizeof *l.f)};
	struct text_line line;
	textfile_start(&l.t, buf, len, name, errors);
	l.no_memory = !l.f || !(l.f->path = strdup(name));
	while (!l.no_memory && textfile_next(&l.t, &line))
		parse_line(&l, line);
	if (!l.no_memory)
		end_space(&l);
	if (l.no_memory)
		(void)fprintf(errors, "%s: out of memory\n", name);
	if (!l.no_memory && l.t.n_errors == 0)
		return l.f;
	topics_file_free(l.f);
	return NULL;
}

struct topics_file *topics_file_load(const char *path, struct trust *trust, FILE *errors)
{
	size_t len = 0;
	char *buf = textfile_read(path, &len, errors);
	struct topics_file *f = buf ? topics_file_parse(buf, len, path, trust, errors) : NULL;
	free(buf);
	return f;
}

static void reset_space(struct declared_space *s)
{
	for (size_t i = 0; i < s->n_members; i++) {
		free((void *)(uintptr_t)s->members[i].member.cn);
		free(s->members[i].der);
	}
	free(s->members);
	free((void *)(uintptr_t)s->spec.name);
	if (s->spec.owner_len > 0)
		free((void *)(uintptr_t)s->spec.owner);
}

void topics_file_free(struct topics_file *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n_spaces; i++)
		reset_space(&f->spaces[i]);
	free(f->spaces);
	free(f->path);
	free(f);
}

const struct declared_space *topics_file_find(const struct topics_file *f, const char *name, size_t len)
{
	for (size_t i = 0; f && i < f->n_spaces; i++)
		if (f->spaces[i].spec.name_len == len && memcmp(f->spaces[i].spec.name, name, len) == 0)
			return &f->spaces[i];
	return NULL;
}
