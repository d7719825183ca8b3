/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/keyfile.h"

#include "base/be.h"
#include "base/random.h"
#include "base/secmem.h"
#include "crypto/aead.h"
#include "crypto/envelope.h"
#include "crypto/password.h"

#include <stdlib.h>
#include <string.h>

static const char magic[] = "sealmq-keys v1\n";
enum { MAGIC_LEN = sizeof magic - 1, HEAD_LEN = MAGIC_LEN + 1 + 4, BY_PASSWORD = 1, BY_CERTIFICATE = 2, PASSWORD_LOCK_LEN = 4 + PASSWORD_SALT_LEN };

static const uint8_t nonce[AEAD_NONCE_LEN]; /* zero: a key seals one file */

static uint32_t get32(const uint8_t *p) { return (uint32_t)get_be(p, 4); }

/* ---- making */

/* How the key is found again: *lock of *len bytes for free(). */
static enum err lock_by_password(const struct keyfile_lock *l, uint8_t **lock, size_t *len, uint8_t key[static 32])
{
	*len = PASSWORD_LOCK_LEN;
	*lock = malloc(*len);
	if (!*lock)
		return ERR_NOMEM;
	put_be(*lock, PASSWORD_ITERATIONS, 4);
	random_bytes(*lock + 4, PASSWORD_SALT_LEN);
	return password_key(l->password, l->password_len, *lock + 4, PASSWORD_ITERATIONS, key);
}

static enum err lock_for(const struct keyfile_lock *l, struct keypair *own, uint8_t **lock, size_t *len, uint8_t key[static 32])
{
	struct cert to;
	struct pubkey *to_key = NULL;
	enum err e = cert_parse(&to, l->recipient, l->recipient_len);
	*lock = NULL;
	if (e == ERR_OK)
		e = pubkey_new(&to_key, &to);
	if (e == ERR_OK) {
		random_bytes(key, 32);
		*lock = malloc(envelope_size(keypair_cert(own), &to, 32));
		e = *lock ? envelope_seal(own, &to, to_key, key, 32, *lock, len) : ERR_NOMEM;
	}
	pubkey_free(to_key);
	return e;
}

enum err keyfile_make(const struct keyfile_lock *lock, struct keypair *own, const void *content, size_t content_len, uint8_t **out, size_t *len)
{
	uint8_t key[AEAD_KEY_LEN], *how = NULL, *p = NULL;
	size_t how_len = 0;
	if (content_len > KEYFILE_MAX)
		return ERR_INVALID;
	enum err e = lock->password ? lock_by_password(lock, &how, &how_len, key) : lock_for(lock, own, &how, &how_len, key);
	if (e == ERR_OK && !(p = malloc(HEAD_LEN + how_len + content_len + AEAD_TAG_LEN)))
		e = ERR_NOMEM;
	if (e == ERR_OK) {
		size_t head = HEAD_LEN + how_len;
		memcpy(p, magic, MAGIC_LEN);
		p[MAGIC_LEN] = lock->password ? BY_PASSWORD : BY_CERTIFICATE;
		put_be(p + MAGIC_LEN + 1, how_len, 4);
		memcpy(p + HEAD_LEN, how, how_len);
		e = aead_seal(key, nonce, p, head, content, content_len, p + head, p + head + content_len);
		*out = p;
		*len = head + content_len + AEAD_TAG_LEN;
	}
	secmem_wipe(key, sizeof key);
	free(how);
	if (e != ERR_OK)
		free(p);
	return e;
}

/* ---- opening */

int keyfile_wants_password(const void *file, size_t len)
{
	const uint8_t *p = file;
	if (len < HEAD_LEN + AEAD_TAG_LEN || memcmp(p, magic, MAGIC_LEN) != 0 || get32(p + MAGIC_LEN + 1) > len - HEAD_LEN - AEAD_TAG_LEN)
		return -1;
	return p[MAGIC_LEN] == BY_PASSWORD && get32(p + MAGIC_LEN + 1) == PASSWORD_LOCK_LEN ? 1 : p[MAGIC_LEN] == BY_CERTIFICATE ? 0 : -1;
}

/* Only the owner itself sends keys to another certificate of the owner's. */
static enum err check_signer(const struct envelope *e, struct keypair *own, struct trust *trust, const char **why)
{
	struct cert signer;
	struct pubkey *key;
	struct der cn, ours;
	*why = "its signer's certificate cannot be read";
	if (der_empty(e->certificate) || cert_parse(&signer, e->certificate.p, der_len(e->certificate)) != ERR_OK || cert_common_name(&signer, &cn, why) != ERR_OK ||
	    cert_common_name(keypair_cert(own), &ours, why) != ERR_OK)
		return ERR_REFUSED;
	enum tls_cause cause = trust_check(trust, &signer);
	if (cause != TLS_CAUSE_NONE) {
		*why = tls_cause_text(cause);
		return cause == TLS_CAUSE_NOMEM ? ERR_NOMEM : ERR_REFUSED;
	}
	if (!der_equal(cn, ours.p, der_len(ours))) {
		*why = "it was exported by somebody else";
		return ERR_REFUSED;
	}
	enum err rc = pubkey_new(&key, &signer);
	if (rc != ERR_OK)
		return rc == ERR_NOMEM ? rc : ERR_REFUSED;
	rc = envelope_verify(e, &signer, key, why);
	pubkey_free(key);
	return rc;
}

static enum err unlock(const uint8_t *how, size_t len, struct keypair *own, struct trust *trust, uint8_t key[static 32], const char **why)
{
	struct envelope e;
	size_t key_len = 0;
	if (envelope_parse(&e, how, len, why) != ERR_OK)
		return ERR_INVALID;
	enum err rc = check_signer(&e, own, trust, why);
	if (rc != ERR_OK)
		return rc;
	uint8_t *content = secmem_alloc(der_len(e.sealed) + 1);
	rc = content ? envelope_open(&e, own, content, &key_len, why) : ERR_NOMEM;
	if (rc == ERR_OK && key_len != 32) {
		*why = "it holds no key";
		rc = ERR_INVALID;
	}
	if (rc == ERR_OK)
		memcpy(key, content, 32);
	secmem_free(content);
	return rc;
}

enum err keyfile_open(const void *file, size_t len, const char *password, size_t password_len, struct keypair *own, struct trust *trust, uint8_t **content,
                      size_t *content_len, const char **why)
{
	uint8_t key[AEAD_KEY_LEN];
	const uint8_t *p = file;
	int kind = keyfile_wants_password(file, len);
	*why = "it is no file of exported keys, or of a version that is not known";
	if (kind < 0)
		return ERR_INVALID;
	size_t how_len = get32(p + MAGIC_LEN + 1), head = HEAD_LEN + how_len;
	enum err e = kind == 1 ? password_key(password, password_len, p + HEAD_LEN + 4, get32(p + HEAD_LEN), key) : unlock(p + HEAD_LEN, how_len, own, trust, key, why);
	if (e == ERR_NOMEM)
		*why = err_text(e);
	if (e != ERR_OK)
		return e;
	*content_len = len - head - AEAD_TAG_LEN;
	*content = secmem_alloc(*content_len + 1);
	e = *content ? aead_open(key, nonce, p, head, p + head, *content_len, p + len - AEAD_TAG_LEN, *content) : ERR_NOMEM;
	secmem_wipe(key, sizeof key);
	if (e == ERR_OK)
		return ERR_OK;
	*why = e == ERR_NOMEM ? err_text(e) : kind == 1 ? "the password is another one, or the file was changed" : "it was changed";
	secmem_free(*content);
	return e;
}
