/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The master key: derivation of its id, check value and wrapping key; its text form; its file. Start-up and reload only. */
#include "crypto/masterkey.h"

#include "base/durable.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/secmem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[] = "sealmq-master-key v1\n"; /* then 64 hex digits and a line feed */
enum { MAGIC_LEN = sizeof magic - 1, LABEL_FIXED = 1 + 4 + KEYTREE_KID_LEN + 2 };
_Static_assert(MAGIC_LEN + 65 == MASTERKEY_TEXT_LEN, "the file's length");

static void derive(const struct masterkey *k, const struct hash_part *label, size_t len, uint8_t *out)
{
	uint8_t full[HASH_LEN];
	hkdf_expand(k->key, label, 1, full);
	memcpy(out, full, len);
	secmem_wipe(full, sizeof full);
}

static void derive_public(struct masterkey *k)
{
	derive(k, &(struct hash_part)HASH_LABEL("sealmq v1 master id"), sizeof k->id, k->id);
	derive(k, &(struct hash_part)HASH_LABEL("sealmq v1 master check"), sizeof k->check, k->check);
}

void masterkey_new(struct masterkey *out)
{
	random_bytes(out->key, sizeof out->key);
	derive_public(out);
}

void masterkey_format(const struct masterkey *k, char out[static MASTERKEY_TEXT_LEN])
{
	static const char hex[] = "0123456789abcdef";
	memcpy(out, magic, MAGIC_LEN);
	for (size_t i = 0; i < sizeof k->key; i++) {
		out[MAGIC_LEN + 2 * i] = hex[k->key[i] >> 4];
		out[MAGIC_LEN + 2 * i + 1] = hex[k->key[i] & 15];
	}
	out[MASTERKEY_TEXT_LEN - 1] = '\n';
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum err masterkey_parse(struct masterkey *out, const void *text, size_t len)
{
	const char *p = text;
	if (len != MASTERKEY_TEXT_LEN || memcmp(p, magic, MAGIC_LEN) != 0 || p[len - 1] != '\n')
		return ERR_INVALID;
	p += MAGIC_LEN;
	for (size_t i = 0; i < sizeof out->key; i++) {
		int high = digit(p[2 * i]), low = digit(p[2 * i + 1]);
		if (high < 0 || low < 0)
			return ERR_INVALID;
		out->key[i] = (uint8_t)(high << 4 | low);
	}
	derive_public(out);
	return ERR_OK;
}

bool masterkey_is(const struct masterkey *k, const uint8_t id[static MASTERKEY_ID_LEN], const uint8_t check[static MASTERKEY_CHECK_LEN])
{
	bool same_id = hash_same(k->id, id, sizeof k->id), same_check = hash_same(k->check, check, sizeof k->check);
	return same_id && same_check;
}

/* Associated data: purpose 1, epoch 4, kid 8, length of the space's name 2, the name. The caller frees. */
static uint8_t *label_bytes(const struct masterkey_label *l, size_t *len)
{
	*len = LABEL_FIXED + l->space_len;
	uint8_t *p = pool_alloc(*len);
	if (!p)
		return NULL;
	p[0] = (uint8_t)l->purpose;
	for (int i = 0; i < 4; i++)
		p[1 + i] = (uint8_t)(l->epoch >> (24 - 8 * i));
	memcpy(p + 5, l->kid, KEYTREE_KID_LEN);
	p[LABEL_FIXED - 2] = (uint8_t)(l->space_len >> 8);
	p[LABEL_FIXED - 1] = (uint8_t)l->space_len;
	if (l->space_len)
		memcpy(p + LABEL_FIXED, l->space, l->space_len);
	return p;
}

enum err masterkey_wrap(const struct masterkey *k, const struct masterkey_label *label, const uint8_t root[static KEYTREE_KEY_LEN],
                        uint8_t out[static MASTERKEY_WRAPPED_LEN])
{
	uint8_t key[AEAD_KEY_LEN];
	size_t len;
	if (label->space_len > UINT16_MAX)
		return ERR_INVALID;
	uint8_t *aad = label_bytes(label, &len);
	if (!aad)
		return ERR_NOMEM;
	/* A random nonce: the key wraps a few roots per epoch, far from 2^32. */
	random_bytes(out, AEAD_NONCE_LEN);
	derive(k, &(struct hash_part)HASH_LABEL("sealmq v1 master wrap"), sizeof key, key);
	enum err e = aead_seal(key, out, aad, len, root, KEYTREE_KEY_LEN, out + AEAD_NONCE_LEN, out + AEAD_NONCE_LEN + KEYTREE_KEY_LEN);
	secmem_wipe(key, sizeof key);
	pool_free(aad);
	return e;
}

enum err masterkey_unwrap(const struct masterkey *k, const struct masterkey_label *label, const uint8_t wrapped[static MASTERKEY_WRAPPED_LEN],
                          uint8_t root[static KEYTREE_KEY_LEN])
{
	uint8_t key[AEAD_KEY_LEN];
	size_t len;
	if (label->space_len > UINT16_MAX)
		return ERR_CORRUPT;
	uint8_t *aad = label_bytes(label, &len);
	if (!aad)
		return ERR_NOMEM;
	derive(k, &(struct hash_part)HASH_LABEL("sealmq v1 master wrap"), sizeof key, key);
	enum err e = aead_open(key, wrapped, aad, len, wrapped + AEAD_NONCE_LEN, KEYTREE_KEY_LEN, wrapped + AEAD_NONCE_LEN + KEYTREE_KEY_LEN, root);
	secmem_wipe(key, sizeof key);
	pool_free(aad);
	return e;
}

/* ---- the file */

static bool write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

enum err masterkey_create(const char *path, struct masterkey *out)
{
	char text[MASTERKEY_TEXT_LEN];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return errno == EEXIST ? ERR_EXISTS : ERR_IO;
	masterkey_new(out);
	masterkey_format(out, text);
	/* fchmod: the mode given to open is subject to the umask, which could only take more away; say exactly what is meant. */
	bool ok = fchmod(fd, 0600) == 0 && write_all(fd, text, sizeof text) && fsync(fd) == 0;
	int saved = errno;
	secmem_wipe(text, sizeof text);
	ok = close(fd) == 0 && ok;
	if (ok && durable_sync_folder_of(path) == ERR_OK)
		return ERR_OK;
	if (ok)
		saved = errno;
	secmem_wipe(out, sizeof *out); /* nothing has been wrapped by it yet, so it may go */
	(void)unlink(path);
	errno = saved;
	return ERR_IO;
}

enum err masterkey_load(const char *path, struct masterkey *out)
{
	char text[MASTERKEY_TEXT_LEN + 1]; /* one more: a longer file is none */
	struct stat st;
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	enum err e = fstat(fd, &st) != 0 ? ERR_IO : !S_ISREG(st.st_mode) ? ERR_INVALID : (st.st_mode & 077) ? ERR_REFUSED : ERR_OK;
	while (e == ERR_OK && len < sizeof text) {
		ssize_t n = read(fd, text + len, sizeof text - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			e = ERR_IO;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	int saved = errno;
	close(fd);
	if (e == ERR_OK)
		e = masterkey_parse(out, text, len);
	secmem_wipe(text, sizeof text);
	errno = saved;
	return e;
}

enum err masterkey_replace(const char *from, const char *path)
{
	return durable_rename(from, path);
}
