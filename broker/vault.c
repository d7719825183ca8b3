/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/vault.h"

#include "base/log.h"
#include "base/random.h"
#include "base/secmem.h"
#include "broker/directory.h"
#include "broker/keyspace.h"
#include "crypto/hash.h"
#include "crypto/masterkey.h"
#include "crypto/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define META_NAME "vault"
#define META_VERSION 1U

/* What the store holds of it: one value, so that a rotation is one transaction. */
struct vault_meta {
	uint8_t version;
	uint8_t id[MASTERKEY_ID_LEN];
	uint8_t check[MASTERKEY_CHECK_LEN];
	uint8_t root[MASTERKEY_WRAPPED_LEN]; /* of the space "" */
};
_Static_assert(sizeof(struct vault_meta) == 1 + MASTERKEY_ID_LEN + MASTERKEY_CHECK_LEN + MASTERKEY_WRAPPED_LEN, "bytes alone");

struct secrets {
	struct masterkey master, next; /* next: what an interrupted rotation left beside it */
	uint8_t root[RECORD_ROOT_LEN];
};

struct vault {
	char *path, *next_path;
	struct secrets *secret; /* secret memory */
	bool have_master, have_next;
	bool read_only; /* nothing is renamed */
	struct record_boot boot;
	struct store_crypto crypto;
};

struct check_keys {
	const struct conf *conf;
	struct vault *vault; /* NULL until store_check unlocks */
};

static const struct masterkey_label root_label = {.space = "", .purpose = MASTERKEY_STORE_ROOT};

static enum err seal(void *arg, const uint8_t *topic, size_t topic_len, const uint8_t *aad, size_t aad_len, const uint8_t *plain,
                     size_t len, uint8_t *out)
{
	struct vault *v = arg;
	return record_seal(&v->boot, v->secret->root, topic, topic_len, aad, aad_len, plain, len, out);
}

static enum err open_record(void *arg, const uint8_t *topic, size_t topic_len, const uint8_t *aad, size_t aad_len,
                            const uint8_t *sealed, size_t len, uint8_t *out)
{
	const struct vault *v = arg;
	return record_open(v->secret->root, topic, topic_len, aad, aad_len, sealed, len, out);
}

/* False: error is filled. A file that is not there leaves *have false; so does an incomplete one of a rotation that was interrupted
 * while writing it: nothing is wrapped under a key before its file is whole and synced. */
static bool load(const char *path, bool of_rotation, struct masterkey *key, bool *have, char *error, size_t error_len)
{
	enum err e = masterkey_load(path, key);
	*have = e == ERR_OK;
	if (e == ERR_OK || e == ERR_NOT_FOUND || (e == ERR_INVALID && of_rotation))
		return true;
	snprintf(error, error_len, "master key file %s: %s", path,
	         e == ERR_REFUSED   ? "group or others may read or write it; expected mode 0600"
	         : e == ERR_INVALID ? "it is not a master key file"
	                            : strerror(errno));
	return false;
}

struct vault *vault_new(const struct conf *conf, char *error, size_t error_len)
{
	struct vault *v = calloc(1, sizeof *v);
	snprintf(error, error_len, "out of memory");
	if (!v)
		return NULL;
	bool named = conf->master_key_file != NULL;
	const char *where = named ? conf->master_key_file : conf->store_dir;
	size_t len = strlen(where) + sizeof "/master.key.new";
	v->path = malloc(len);
	v->next_path = malloc(len);
	v->secret = secmem_alloc(sizeof *v->secret);
	if (!v->path || !v->next_path || !v->secret)
		goto failed;
	snprintf(v->path, len, "%s%s", where, named ? "" : "/master.key");
	snprintf(v->next_path, len, "%s.new", v->path);
	if (!load(v->path, false, &v->secret->master, &v->have_master, error, error_len) ||
		!load(v->next_path, true, &v->secret->next, &v->have_next, error, error_len))
		goto failed;
	record_boot_init(&v->boot);
	v->crypto = (struct store_crypto){.arg = v, .overhead = RECORD_OVERHEAD, .seal = seal, .open = open_record};
	return v;
failed:
	vault_free(v);
	return NULL;
}

void vault_free(struct vault *v)
{
	if (!v)
		return;
	secmem_free(v->secret);
	free(v->path);
	free(v->next_path);
	free(v);
}

const struct store_crypto *vault_crypto(struct vault *v)
{
	return &v->crypto;
}

static enum err make_meta(const struct vault *v, const struct masterkey *k, struct vault_meta *m)
{
	*m = (struct vault_meta){.version = META_VERSION};
	memcpy(m->id, k->id, sizeof m->id);
	memcpy(m->check, k->check, sizeof m->check);
	return masterkey_wrap(k, &root_label, v->secret->root, m->root);
}

static enum err write_meta(const struct vault *v, const struct masterkey *k, struct store *s)
{
	struct vault_meta m;
	enum err e = make_meta(v, k, &m);
	return e == ERR_OK ? store_meta_put(s, META_NAME, &m, sizeof m) : e;
}

/* A store that was never used: its root, and the key file if there is none. The file is safe before anything is wrapped under it. */
static enum err first_use(struct vault *v, struct store *s, char *error, size_t error_len)
{
	enum err e = ERR_OK;
	if (!v->have_master) {
		e = masterkey_create(v->path, &v->secret->master);
		if (e != ERR_OK) {
			snprintf(error, error_len, "master key file %s: cannot be made: %s", v->path, strerror(errno));
			return e;
		}
		v->have_master = true;
		log_notice("master key made: %s; keep a copy in a safe place, without it the store cannot be read", v->path);
	}
	random_bytes(v->secret->root, sizeof v->secret->root);
	e = write_meta(v, &v->secret->master, s);
	if (e != ERR_OK)
		snprintf(error, error_len, "the store's root key cannot be written: %s", err_text(e));
	return e;
}

/* After an interrupted rotation either file may be the one that fits. */
static const struct masterkey *fitting(struct vault *v, const struct vault_meta *m)
{
	if (v->have_master && masterkey_is(&v->secret->master, m->id, m->check))
		return &v->secret->master;
	if (v->have_next && masterkey_is(&v->secret->next, m->id, m->check)) {
		if (!v->read_only && masterkey_replace(v->next_path, v->path) != ERR_OK)
			log_warning("master key file %s fits the store, but cannot be renamed to %s: %s", v->next_path, v->path, strerror(errno));
		v->secret->master = v->secret->next;
		v->have_master = true;
		v->have_next = false;
		return &v->secret->master;
	}
	return NULL;
}

static enum err unwrap(void *arg, const void *value, size_t len, char *error, size_t error_len)
{
	struct vault *v = arg;
	struct vault_meta m;
	if (len != sizeof m || *(const uint8_t *)value != META_VERSION) {
		snprintf(error, error_len, "the store's key record is not one that this version reads; nothing was changed");
		return ERR_CORRUPT;
	}
	memcpy(&m, value, sizeof m);
	const struct masterkey *k = fitting(v, &m);
	if (!k) {
		snprintf(error, error_len, "master key file %s %s; put the right one there (key id %02x%02x%02x%02x…). Nothing was changed", v->path,
		         v->have_master ? "belongs to another store" : "is missing, and the store needs it", m.id[0], m.id[1], m.id[2], m.id[3]);
		return ERR_REFUSED;
	}
	enum err e = masterkey_unwrap(k, &root_label, m.root, v->secret->root);
	if (e != ERR_OK)
		snprintf(error, error_len, "the store's root key does not open under the master key: the store is damaged; restore a backup");
	return e;
}

enum err vault_unlock(struct vault *v, struct store *s, char *error, size_t error_len)
{
	struct vault_meta m;
	size_t len = sizeof m;
	enum err e = store_meta_get(s, META_NAME, &m, &len);
	if (e == ERR_NOT_FOUND)
		return first_use(v, s, error, error_len);
	if (e == ERR_OK)
		return unwrap(v, &m, len, error, error_len);
	snprintf(error, error_len, "the store's key record cannot be read: %s", err_text(e));
	return e;
}

enum err vault_wrap(const struct vault *v, const struct masterkey_label *label, const uint8_t root[static KEYTREE_KEY_LEN],
                    uint8_t out[static MASTERKEY_WRAPPED_LEN])
{
	return masterkey_wrap(&v->secret->master, label, root, out);
}

enum err vault_unwrap(const struct vault *v, const struct masterkey_label *label, const uint8_t wrapped[static MASTERKEY_WRAPPED_LEN],
                      uint8_t root[static KEYTREE_KEY_LEN])
{
	return masterkey_unwrap(&v->secret->master, label, wrapped, root);
}

/* Under the key of the empty topic, which no message has. */
uint8_t *vault_seal_value(struct vault *v, const char *name, const void *value, size_t len, size_t *out_len)
{
	uint8_t *out = malloc(len + RECORD_OVERHEAD);
	*out_len = len + RECORD_OVERHEAD;
	if (out && record_seal(&v->boot, v->secret->root, "", 0, name, strlen(name), value, len, out) == ERR_OK)
		return out;
	free(out);
	return NULL;
}

enum err vault_open_value(const struct vault *v, const char *name, const void *sealed, size_t len, uint8_t **out, size_t *out_len)
{
	*out = NULL;
	if (len < RECORD_OVERHEAD)
		return ERR_CORRUPT;
	uint8_t *plain = malloc(len);
	*out_len = len - RECORD_OVERHEAD;
	enum err e = plain ? record_open(v->secret->root, "", 0, name, strlen(name), sealed, len, plain) : ERR_NOMEM;
	if (e == ERR_OK)
		*out = plain;
	else
		free(plain);
	return e;
}

/* The key spaces of a store, while their roots are wrapped anew. */
struct rewrapping {
	struct vault *v;
	struct space **spaces;
	size_t n;
};

static enum err collect_space(void *arg, const char *name, const void *value, size_t len)
{
	struct rewrapping *r = arg;
	struct space **more = realloc(r->spaces, (r->n + 1) * sizeof(struct space *));
	uint8_t *text = NULL;
	size_t text_len = 0;
	if (!more)
		return ERR_NOMEM;
	r->spaces = more;
	enum err e = vault_open_value(r->v, name, value, len, &text, &text_len);
	if (e == ERR_OK)
		e = keyspace_decode(text, text_len, r->v, &r->spaces[r->n]);
	r->n += e == ERR_OK;
	free(text);
	return e;
}

static void swap_keys(struct vault *v)
{
	struct masterkey former = v->secret->master;
	v->secret->master = v->secret->next;
	v->secret->next = former;
	secmem_wipe(&former, sizeof former);
}

/* All of the store's under the master key that v has now, by one transaction. */
static enum err write_all(struct rewrapping *r, struct store *s)
{
	struct vault_meta m;
	struct store_named *values = calloc(r->n + 1, sizeof *values);
	char(*names)[KEYSPACE_STORE_NAME] = calloc(r->n + 1, sizeof *names);
	enum err e = values && names ? make_meta(r->v, &r->v->secret->master, &m) : ERR_NOMEM;
	for (size_t i = 0; e == ERR_OK && i < r->n; i++) {
		char *text = keyspace_encode(r->spaces[i], r->v);
		size_t len = 0;
		keyspace_store_name(r->spaces[i], names[i]);
		uint8_t *sealed = text ? vault_seal_value(r->v, names[i], text, strlen(text), &len) : NULL;
		free(text);
		values[i] = (struct store_named){.name = names[i], .value = sealed, .len = len};
		e = sealed ? ERR_OK : ERR_NOMEM;
	}
	if (e == ERR_OK) {
		values[r->n] = (struct store_named){.name = META_NAME, .value = &m, .len = sizeof m};
		e = store_meta_put_all(s, values, r->n + 1);
	}
	for (size_t i = 0; values && i < r->n; i++)
		free((void *)(uintptr_t)values[i].value);
	free(values);
	free(names);
	return e;
}

static enum err rewrap(struct vault *v, struct store *s)
{
	struct rewrapping r = {.v = v};
	enum err e = store_meta_each(s, KEYSPACE_STORE_PREFIX, collect_space, &r);
	if (e == ERR_OK) {
		swap_keys(v);
		e = write_all(&r, s);
		if (e != ERR_OK)
			swap_keys(v);
	}
	while (r.n > 0)
		space_unref(r.spaces[--r.n]);
	free(r.spaces);
	return e;
}

static enum err rotate(struct vault *v, struct store *s, char *error, size_t error_len)
{
	unlink(v->next_path); /* of an interrupted rotation whose key the store never took: vault_unlock has looked */
	enum err e = masterkey_create(v->next_path, &v->secret->next);
	if (e != ERR_OK) {
		snprintf(error, error_len, "%s: cannot be made: %s", v->next_path, strerror(errno));
		return e;
	}
	e = rewrap(v, s);
	if (e != ERR_OK) {
		snprintf(error, error_len, "the store did not take the new key: %s; the old one stays", err_text(e));
		return e;
	}
	e = masterkey_replace(v->next_path, v->path);
	if (e != ERR_OK)
		snprintf(error, error_len, "%s holds the new key, but cannot be renamed to %s: %s", v->next_path, v->path, strerror(errno));
	return e;
}

/* The store alone, without a broker. NULL: error is filled. */
static struct store *open_alone(const struct conf *conf, struct vault *v, char *error, size_t error_len)
{
	struct store_options o = {.dir = conf->store_dir, .max_size = conf->store_max_size, .crypto = &v->crypto};
	struct store *s = store_open(&o, error, error_len);
	if (s && vault_unlock(v, s, error, error_len) != ERR_OK) {
		store_close(s);
		return NULL;
	}
	return s;
}

enum err vault_rotate(const struct conf *conf, char *error, size_t error_len)
{
	struct vault *v = vault_new(conf, error, error_len);
	struct store *s = v ? open_alone(conf, v, error, error_len) : NULL;
	enum err e = s ? rotate(v, s, error, error_len) : ERR_INVALID;
	if (s)
		store_close(s);
	vault_free(v);
	return e;
}

/* In store_check's own process: secret memory is not there after a fork, so the key is loaded in it. */
static enum err unlock_for_check(void *arg, const void *value, size_t len, char *error, size_t error_len)
{
	struct check_keys *k = arg;
	k->vault = vault_new(k->conf, error, error_len);
	if (!k->vault)
		return ERR_INVALID;
	k->vault->read_only = true;
	return unwrap(k->vault, value, len, error, error_len);
}

static enum err open_for_check(void *arg, const uint8_t *topic, size_t topic_len, const uint8_t *aad, size_t aad_len,
                               const uint8_t *sealed, size_t len, uint8_t *out)
{
	const struct check_keys *k = arg;
	return open_record(k->vault, topic, topic_len, aad, aad_len, sealed, len, out);
}

static enum err check_space(const struct check_keys *k, const char *name, const uint8_t *text, size_t len, char *error, size_t error_len)
{
	struct space *s;
	char own[KEYSPACE_STORE_NAME] = "";
	enum err e = keyspace_decode(text, len, k->vault, &s);
	if (e == ERR_OK)
		keyspace_store_name(s, own);
	if (e == ERR_CORRUPT)
		snprintf(error, error_len, "it is no key space, or its keys do not open under the master key");
	if (e == ERR_OK && strcmp(own, name) != 0) {
		snprintf(error, error_len, "it is the key space of another name");
		e = ERR_CORRUPT;
	}
	space_unref(s);
	return e;
}

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static enum err check_value(void *arg, const char *name, const void *value, size_t len, char *error, size_t error_len)
{
	const struct check_keys *k = arg;
	uint8_t *plain = NULL, fingerprint[32];
	size_t plain_len = 0;
	char hex[65];
	if (strcmp(name, META_NAME) == 0) /* unlocked the others */
		return ERR_OK;
	enum err e = vault_open_value(k->vault, name, value, len, &plain, &plain_len);
	if (e == ERR_CORRUPT)
		snprintf(error, error_len, "it is damaged, or was stored under another name");
	if (e == ERR_OK && has_prefix(name, KEYSPACE_STORE_PREFIX))
		e = check_space(k, name, plain, plain_len, error, error_len);
	if (e == ERR_OK && has_prefix(name, DIRECTORY_STORE_PREFIX)) {
		hash_sha256(plain, plain_len, fingerprint);
		hex_write(hex, fingerprint, sizeof fingerprint);
		if (strcmp(hex, name + sizeof DIRECTORY_STORE_PREFIX - 1) != 0) {
			snprintf(error, error_len, "it is another certificate");
			e = ERR_CORRUPT;
		}
	}
	free(plain);
	return e;
}

enum err vault_check_store(const struct conf *conf, FILE *out)
{
	struct check_keys k = {.conf = conf};
	struct store_crypto crypto = {.arg = &k, .overhead = RECORD_OVERHEAD, .open = open_for_check, .unlock_meta = META_NAME,
	                              .unlock = unlock_for_check, .check_value = check_value};
	return store_check(conf->store_dir, &crypto, out);
}
