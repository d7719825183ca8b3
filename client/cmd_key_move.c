/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/cmd_key_move.h"

#include "base/durable.h"
#include "base/secmem.h"
#include "base/textfile.h"
#include "client/cmd.h"
#include "client/keyfile.h"
#include "client/owner.h"
#include "client/owner_state.h"
#include "client/owner_sync.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_LEN_MIN 12u /* bytes: what is tried offline must not be short */

/* ---- the password */

/* The first line of --password-file ('-': of standard input), in secret memory. NULL: printed. */
static char *read_password(const struct options *o, size_t *len)
{
	size_t n = 0;
	bool is_stdin = o->password_file && strcmp(o->password_file, "-") == 0;
	char *text = o->password_file ? textfile_read(is_stdin ? "/dev/stdin" : o->password_file, &n, stderr) : NULL, *out = NULL;
	if (!o->password_file)
		fputs("sealmq key: expected --password-file FILE ('-': standard input), or, to export, --to CERTIFICATE\n", stderr);
	for (*len = 0; text && *len < n && text[*len] != '\n' && text[*len] != '\r';)
		++*len;
	if (text && *len < PASSWORD_LEN_MIN)
		complain(o, "%s: expected a password of at least %u characters in the first line", is_stdin ? "standard input" : o->password_file, PASSWORD_LEN_MIN);
	else if (text && !(out = secmem_alloc(*len + 1)))
		complain(o, "out of memory");
	if (out)
		memcpy(out, text, *len);
	if (text)
		secmem_wipe(text, n);
	free(text);
	return out;
}

/* ---- export */

/* States one after the other, each behind its length (4 bytes, big endian). */
struct bundle {
	struct owner *w;
	uint8_t *bytes; /* secret memory */
	size_t len, n;
	int status;
};

static bool add_state(struct bundle *b, const struct owner_space *s)
{
	uint8_t *content = NULL;
	size_t len = 0;
	enum err e = owner_state_format(s, owner_fingerprint(b->w), &content, &len);
	uint8_t *more = e == ERR_OK ? secmem_alloc(b->len + 4 + len) : NULL;
	if (more) {
		if (b->len)
			memcpy(more, b->bytes, b->len);
		for (unsigned i = 0; i < 4; i++)
			more[b->len + i] = (uint8_t)(len >> (24 - 8 * i));
		memcpy(more + b->len + 4, content, len);
		secmem_free(b->bytes);
		b->bytes = more;
		b->len += 4 + len;
		b->n++;
	} else {
		complain(owner_options(b->w), "%s: out of memory", s->topic);
		b->status = EXIT_FAILED;
	}
	secmem_free(content);
	return more != NULL;
}

static bool add_file(void *arg, const char *name)
{
	struct bundle *b = arg;
	struct owner_space *s;
	char error[VAULT_ERROR_MAX];
	if (owner_state_load_file(owner_vault(b->w), name, &s, error) != ERR_OK) {
		complain(owner_options(b->w), "%s", error);
		b->status = EXIT_FAILED;
		return false;
	}
	bool good = add_state(b, s);
	owner_space_free(s);
	return good;
}

static void gather(struct bundle *b, const char *topic)
{
	struct owner_space *s;
	char error[VAULT_ERROR_MAX];
	enum err e = topic ? owner_state_load(owner_vault(b->w), topic, &s, error) : vault_each(owner_vault(b->w), add_file, b, error);
	if (e == ERR_NOT_FOUND) {
		complain(owner_options(b->w), "%s: this identity owns no such topic on this machine", topic);
		b->status = EXIT_FAILED;
	} else if (e != ERR_OK) {
		complain(owner_options(b->w), "%s", error);
		b->status = EXIT_FAILED;
	} else if (topic) {
		(void)add_state(b, s);
		owner_space_free(s);
	}
	if (b->status == EXIT_DONE && b->n == 0) {
		complain(owner_options(b->w), "this identity owns nothing on this machine");
		b->status = EXIT_FAILED;
	}
}

static int write_sealed(const struct options *o, struct bundle *b, const struct keyfile_lock *lock)
{
	uint8_t *file;
	size_t len;
	enum err e = keyfile_make(lock, owner_identity(b->w), b->bytes, b->len, &file, &len);
	if (e == ERR_INVALID) {
		complain(o, "%s: cannot receive keys: expected a certificate with an RSA key of 2048 to 4096 bits", o->recipient ? o->recipient : "the password");
		return EXIT_FAILED;
	}
	if (e == ERR_OK) {
		e = durable_replace(o->output, file, len);
		free(file);
	}
	if (e != ERR_OK)
		complain(o, "%s: %s", o->output, e == ERR_IO ? strerror(errno) : err_text(e));
	else
		printf("%s: the keys of %zu topic%s\n", o->output, b->n, b->n == 1 ? "" : "s");
	return e == ERR_OK ? EXIT_DONE : EXIT_FAILED;
}

/* The certificate to export to, in DER on the heap. NULL: printed. */
static uint8_t *read_recipient(const struct options *o, size_t *len)
{
	size_t n = 0;
	struct cert c;
	char *pem = textfile_read(o->recipient, &n, stderr);
	uint8_t *der = pem ? malloc(n + 1) : NULL;
	if (der && keys_cert_from_pem(&c, der, pem, n) == ERR_OK) {
		*len = der_len(c.whole);
		free(pem);
		return der;
	}
	if (pem)
		complain(o, "%s: %s", o->recipient, der ? "expected one certificate in PEM" : "out of memory");
	free(der);
	free(pem);
	return NULL;
}

int cmd_key_export(const struct options *o, const char *topic)
{
	struct keyfile_lock lock = { .password = NULL };
	if (!o->output) {
		fputs("sealmq key: expected -o FILE: where the keys go\n", stderr);
		return EXIT_USAGE;
	}
	uint8_t *der = o->recipient ? read_recipient(o, &lock.recipient_len) : NULL;
	char *password = o->recipient ? NULL : read_password(o, &lock.password_len);
	lock.recipient = der;
	lock.password = password;
	struct bundle b = { .status = der || password ? EXIT_DONE : EXIT_USAGE };
	b.w = b.status == EXIT_DONE ? owner_open(o) : NULL;
	if (b.w)
		gather(&b, topic);
	else if (b.status == EXIT_DONE)
		b.status = EXIT_FAILED;
	if (b.status == EXIT_DONE)
		b.status = write_sealed(o, &b, &lock);
	secmem_free(b.bytes);
	owner_close(b.w);
	secmem_free(password);
	free(der);
	return b.status;
}

/* ---- import */

/* What is known here already must not contradict it, and does not get older by it. */
static int take_state(struct owner *w, const uint8_t *content, size_t len)
{
	struct owner_space *theirs, *ours = NULL;
	const struct options *o = owner_options(w);
	const char *why = "out of memory";
	char error[VAULT_ERROR_MAX], *json = NULL;
	size_t json_len = 0;
	int status = EXIT_FAILED;
	if (owner_state_parse(&theirs, content, len, &why) != ERR_OK) {
		complain(o, "the file of exported keys: %s", why);
		return EXIT_FAILED;
	}
	enum err e = owner_state_load(owner_vault(w), theirs->topic, &ours, error);
	if (e != ERR_OK && e != ERR_NOT_FOUND) {
		complain(o, "%s", error);
	} else {
		bool newer = !ours || theirs->list_number > ours->list_number;
		struct owner_space *to = newer ? theirs : ours, *from = newer ? ours : theirs;
		e = from ? owner_keys(from, owner_fingerprint(w), owner_fingerprint(w), &json, &json_len) : ERR_OK;
		if (e == ERR_OK && from)
			e = owner_take_keys(to, json, json_len, &why);
		if (e == ERR_OK)
			status = owner_save(w, to);
		else
			complain(o, "%s: %s; nothing was taken", theirs->topic, why);
		if (status == EXIT_DONE)
			printf("%s: epoch %u, %s\n", to->topic, owner_current(to)->number, !ours ? "new here" : newer ? "newer than here" : "known here already");
	}
	secmem_free(json);
	owner_space_free(theirs);
	owner_space_free(ours);
	return status;
}

static int take_all(struct owner *w, const uint8_t *p, size_t len)
{
	int status = EXIT_DONE;
	while (len >= 4 && status == EXIT_DONE) {
		size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
		p += 4, len -= 4;
		if (n > len)
			break;
		status = take_state(w, p, n);
		p += n, len -= n;
	}
	if (status == EXIT_DONE && len > 0) {
		complain(owner_options(w), "the file of exported keys is cut off");
		return EXIT_FAILED;
	}
	return status;
}

int cmd_key_import(const struct options *o, const char *file)
{
	size_t len = 0, password_len = 0, content_len = 0;
	const char *why = "";
	char *bytes = textfile_read(file, &len, stderr);
	int kind = bytes ? keyfile_wants_password(bytes, len) : -1, status = EXIT_FAILED;
	if (bytes && kind < 0)
		complain(o, "%s: it is no file of exported keys, or of a version that is not known", file);
	char *password = kind == 1 ? read_password(o, &password_len) : NULL;
	struct owner *w = kind == 0 || password ? owner_open(o) : NULL;
	uint8_t *content = NULL;
	if (w) {
		enum err e = keyfile_open(bytes, len, password, password_len, owner_identity(w), owner_trust(w), &content, &content_len, &why);
		if (e == ERR_OK) {
			status = take_all(w, content, content_len);
			secmem_free(content);
		} else {
			complain(o, "%s: %s", file, why);
			status = e == ERR_NOMEM ? EXIT_FAILED : EXIT_REFUSED;
		}
	}
	owner_close(w);
	secmem_free(password);
	free(bytes);
	return status;
}
