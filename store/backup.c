/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A copy of the store as of now, made by another process than the broker's (LMDB allows no second opening in one process). */
#include "store/lmdb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool sync_file(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return good;
}

/* Reads as any reader of LMDB's does: the broker goes on; the pages of this moment are kept until the copy is complete. */
static enum err copy(const char *dir, const char *to, char *error, size_t error_len)
{
	MDB_env *env;
	int rc = mdb_env_create(&env);
	if (rc != MDB_SUCCESS)
		return db_err(rc);
	rc = mdb_env_set_maxdbs(env, T_COUNT);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_open(env, dir, MDB_RDONLY | MDB_NOTLS, 0600);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_copy2(env, to, MDB_CP_COMPACT);
	mdb_env_close(env);
	if (rc != MDB_SUCCESS)
		snprintf(error, error_len, "%s: cannot be copied to %s: %s", dir, to, mdb_strerror(rc));
	return db_err(rc);
}

enum err store_backup(const char *dir, const char *to, char *error, size_t error_len)
{
	if (mkdir(to, 0700) != 0 && errno != EEXIST) {
		snprintf(error, error_len, "%s: cannot create the directory: %s", to, strerror(errno));
		return ERR_IO;
	}
	int to_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (to_fd < 0) {
		snprintf(error, error_len, "%s: %s", to, strerror(errno));
		return ERR_IO;
	}
	enum err rc = ERR_OK;
	if (faccessat(to_fd, "data.mdb", F_OK, 0) == 0) {
		snprintf(error, error_len, "%s: holds a store already: name an empty or new directory", to);
		rc = ERR_EXISTS;
	}
	if (rc == ERR_OK)
		rc = copy(dir, to, error, error_len);
	if (rc == ERR_OK && (!sync_file(to_fd, "data.mdb") || fsync(to_fd) != 0)) {
		snprintf(error, error_len, "%s: cannot be synced: %s", to, strerror(errno));
		rc = ERR_IO;
	}
	close(to_fd);
	return rc;
}
