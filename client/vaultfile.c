/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/vaultfile.h"

#include "base/durable.h"
#include "base/secmem.h"
#include "base/textbytes.h"
#include "base/textfile.h"
#include "crypto/ownseal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME ".lock"
#define NAME_LEN_MAX 255u

struct vault {                /* secret memory */
	struct ownseal_key key;
	int lock;
	char *kind, *folder;
};

PRINTF_LIKE(3, 4) static enum err fault(char error[static VAULT_ERROR_MAX], enum err e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(error, VAULT_ERROR_MAX, fmt, ap);
	va_end(ap);
	return e;
}

static enum err os_fault(char error[static VAULT_ERROR_MAX], const char *path, enum err e)
{
	return fault(error, e, "%s: %s", path, e == ERR_IO ? strerror(errno) : err_text(e));
}

/* ---- the folder */

/* On the heap; NULL: there is no place. */
static char *kind_folder(const char *kind)
{
	const char *base = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	char *path = NULL;
	bool given = base && *base == '/';
	if (!given && !(home && *home == '/'))
		return NULL;
	return asprintf(&path, "%s%s/sealmq/%s", given ? base : home, given ? "" : "/.local/share", kind) < 0 ? NULL : path;
}

static char *folder_of(const char *kind, const uint8_t id[static OWNSEAL_ID_LEN])
{
	char hex[2 * OWNSEAL_ID_LEN + 1], *path = NULL, *above = kind_folder(kind);
	*hex_put(hex, id, OWNSEAL_ID_LEN) = '\0';
	if (above && asprintf(&path, "%s/%s", above, hex) < 0)
		path = NULL;
	free(above);
	return path;
}

bool vault_any(const char *kind)
{
	char *path = kind_folder(kind);
	bool is = path && access(path, F_OK) == 0;
	free(path);
	return is;
}

static enum err lock_folder(struct vault *v, char error[static VAULT_ERROR_MAX])
{
	struct stat about;
	char *path = NULL;
	enum err e = durable_make_folder(v->folder);
	if (e != ERR_OK)
		return os_fault(error, v->folder, e);
	if (stat(v->folder, &about) != 0 || about.st_mode & (S_IWGRP | S_IWOTH))
		return fault(error, ERR_REFUSED, "%s: others may write there; expected mode 0700", v->folder);
	if (asprintf(&path, "%s/" LOCK_NAME, v->folder) < 0)
		return fault(error, ERR_NOMEM, "out of memory");
	v->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (v->lock >= 0 && (e = flock(v->lock, LOCK_EX) == 0 ? ERR_OK : ERR_IO) == ERR_IO && errno == EINTR)
		;
	if (v->lock < 0)
		e = ERR_IO;
	if (e != ERR_OK)
		os_fault(error, path, e);
	free(path);
	return e;
}

struct vault *vault_open(const char *kind, struct keypair *k, char error[static VAULT_ERROR_MAX])
{
	struct vault *v = secmem_alloc(sizeof *v);
	if (v)
		v->lock = -1;
	if (!v || ownseal_key_of(k, &v->key) != ERR_OK || !(v->kind = strdup(kind))) {
		fault(error, ERR_NOMEM, "out of memory");
		vault_close(v);
		return NULL;
	}
	v->folder = folder_of(kind, v->key.id);
	if (!v->folder)
		fault(error, ERR_INVALID, "no place for what is kept: neither XDG_DATA_HOME nor HOME is set");
	if (v->folder && lock_folder(v, error) == ERR_OK)
		return v;
	vault_close(v);
	return NULL;
}

void vault_close(struct vault *v)
{
	if (!v)
		return;
	if (v->lock >= 0)
		close(v->lock);
	free(v->kind);
	free(v->folder);
	secmem_free(v);
}

const char *vault_folder(const struct vault *v)
{
	return v->folder;
}

/* ---- files */

static char *path_of(const struct vault *v, const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(name);
	char *path = NULL;
	if (len == 0 || len > NAME_LEN_MAX || name[0] == '.' || strspn(name, allowed) != len)
		return NULL;
	return asprintf(&path, "%s/%s", v->folder, name) < 0 ? NULL : path;
}

/* "owner/<name>" */
static size_t purpose_of(const struct vault *v, const char *name, char out[static 2 * NAME_LEN_MAX])
{
	return (size_t)snprintf(out, 2 * NAME_LEN_MAX, "%s/%s", v->kind, name);
}

static const char *why(enum err e)
{
	return e == ERR_INVALID ? "is not a file that sealmq has sealed, or of a version that it does not know"
	       : e == ERR_REFUSED ? "is sealed by another identity: --cert and --key are not those that have written it"
	       : e == ERR_CORRUPT ? "is damaged, or was put in another file's place"
	                          : err_text(e);
}

static enum err open_sealed(const struct vault *v, const char *name, const char *path, const uint8_t *sealed, size_t len, uint8_t **content, size_t *content_len,
                            char error[static VAULT_ERROR_MAX])
{
	char purpose[2 * NAME_LEN_MAX];
	size_t purpose_len = purpose_of(v, name, purpose);
	uint8_t *plain = secmem_alloc(len + 1);
	enum err e = plain ? ownseal_open(&v->key, purpose, purpose_len, sealed, len, plain) : ERR_NOMEM;
	if (e == ERR_OK) {
		*content = plain;
		*content_len = len - OWNSEAL_OVERHEAD;
		return ERR_OK;
	}
	secmem_free(plain);
	return fault(error, e, "%s: %s", path, why(e));
}

enum err vault_read(const struct vault *v, const char *name, uint8_t **content, size_t *len, char error[static VAULT_ERROR_MAX])
{
	size_t sealed_len = 0;
	char *path = path_of(v, name), *sealed = NULL;
	enum err e = ERR_OK;
	if (!path)
		return fault(error, ERR_INVALID, "%s: not a name of a file here", name);
	if (access(path, F_OK) != 0)
		e = os_fault(error, path, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO);
	else if (!(sealed = textfile_read(path, &sealed_len, NULL)))
		e = os_fault(error, path, ERR_IO);
	else
		e = open_sealed(v, name, path, (uint8_t *)sealed, sealed_len, content, len, error);
	free(sealed);
	free(path);
	return e;
}

enum err vault_write(const struct vault *v, const char *name, const void *content, size_t len, char error[static VAULT_ERROR_MAX])
{
	char purpose[2 * NAME_LEN_MAX], *path = len <= VAULT_FILE_MAX ? path_of(v, name) : NULL;
	if (!path)
		return fault(error, ERR_INVALID, "%s: not a name of a file here, or more than %u bytes", name, VAULT_FILE_MAX);
	size_t purpose_len = purpose_of(v, name, purpose);
	uint8_t *sealed = malloc(len + OWNSEAL_OVERHEAD);
	enum err e = sealed ? ownseal_seal(&v->key, purpose, purpose_len, content, len, sealed) : ERR_NOMEM;
	if (e == ERR_OK)
		e = durable_replace(path, sealed, len + OWNSEAL_OVERHEAD);
	if (e != ERR_OK)
		os_fault(error, path, e);
	free(sealed);
	free(path);
	return e;
}

enum err vault_remove(const struct vault *v, const char *name, char error[static VAULT_ERROR_MAX])
{
	char *path = path_of(v, name);
	if (!path)
		return fault(error, ERR_INVALID, "%s: not a name of a file here", name);
	enum err e = durable_unlink(path);
	if (e == ERR_IO && errno == ENOENT)
		e = ERR_NOT_FOUND;
	if (e != ERR_OK)
		os_fault(error, path, e);
	free(path);
	return e;
}

static int is_file(const struct dirent *d)
{
	size_t len = strlen(d->d_name);
	return d->d_name[0] != '.' && !(len > 4 && strcmp(d->d_name + len - 4, ".new") == 0); /* what a crash left of a write */
}

enum err vault_each(const struct vault *v, bool (*fn)(void *arg, const char *name), void *arg, char error[static VAULT_ERROR_MAX])
{
	struct dirent **names = NULL;
	int n = scandir(v->folder, &names, is_file, alphasort);
	if (n < 0)
		return os_fault(error, v->folder, errno == ENOMEM ? ERR_NOMEM : ERR_IO);
	bool go_on = true;
	for (int i = 0; i < n; i++) {
		go_on = go_on && fn(arg, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return ERR_OK;
}
