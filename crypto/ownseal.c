/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/ownseal.h"

#include "base/random.h"
#include "base/secmem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"

#include <string.h>

static const char magic[] = "sealmq-own v1\n";
enum { MAGIC_LEN = sizeof magic - 1, SALT_LEN = 32, HEAD_LEN = MAGIC_LEN + OWNSEAL_ID_LEN + SALT_LEN };
_Static_assert(HEAD_LEN + AEAD_TAG_LEN == OWNSEAL_OVERHEAD, "head and tag");

static const uint8_t nonce[AEAD_NONCE_LEN]; /* zero: a key is of one salt, and seals once */

enum err ownseal_key_of(struct keypair *k, struct ownseal_key *out)
{
	static const struct hash_part label = HASH_LABEL("sealmq v1 own id");
	uint8_t id[HASH_LEN];
	enum err e = keypair_own_secret(k, out->secret);
	if (e != ERR_OK)
		return e;
	hkdf_expand(out->secret, &label, 1, id);
	memcpy(out->id, id, sizeof out->id);
	return ERR_OK;
}

static void derive(const struct ownseal_key *k, const uint8_t *salt, const void *purpose, size_t purpose_len, uint8_t key[static AEAD_KEY_LEN])
{
	const struct hash_part parts[] = { HASH_LABEL("sealmq v1 own key"), { salt, SALT_LEN }, { purpose, purpose_len } };
	hkdf_expand(k->secret, parts, sizeof parts / sizeof parts[0], key);
}

enum err ownseal_seal(const struct ownseal_key *k, const void *purpose, size_t purpose_len, const void *plain, size_t len, uint8_t *out)
{
	uint8_t key[AEAD_KEY_LEN], *salt = out + MAGIC_LEN + OWNSEAL_ID_LEN;
	if (purpose_len > OWNSEAL_PURPOSE_MAX)
		return ERR_INVALID;
	memcpy(out, magic, MAGIC_LEN);
	memcpy(out + MAGIC_LEN, k->id, OWNSEAL_ID_LEN);
	random_bytes(salt, SALT_LEN);
	derive(k, salt, purpose, purpose_len, key);
	enum err e = aead_seal(key, nonce, out, HEAD_LEN, plain, len, out + HEAD_LEN, out + HEAD_LEN + len);
	secmem_wipe(key, sizeof key);
	return e;
}

enum err ownseal_open(const struct ownseal_key *k, const void *purpose, size_t purpose_len, const void *sealed, size_t len, uint8_t *out)
{
	uint8_t key[AEAD_KEY_LEN];
	const uint8_t *p = sealed;
	if (len < OWNSEAL_OVERHEAD || memcmp(p, magic, MAGIC_LEN) != 0 || purpose_len > OWNSEAL_PURPOSE_MAX)
		return ERR_INVALID;
	if (memcmp(p + MAGIC_LEN, k->id, OWNSEAL_ID_LEN) != 0)
		return ERR_REFUSED;
	derive(k, p + MAGIC_LEN + OWNSEAL_ID_LEN, purpose, purpose_len, key);
	enum err e = aead_open(key, nonce, p, HEAD_LEN, p + HEAD_LEN, len - OWNSEAL_OVERHEAD, p + len - AEAD_TAG_LEN, out);
	secmem_wipe(key, sizeof key);
	return e;
}
