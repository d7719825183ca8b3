/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Durability relaxed commits without syncing, so a power cut may leave a meta page on disk whose pages are not: LMDB alone would find a
 * broken tree. So at each sync the meta page of the synced state is saved in a file beside it (and the writer keeps a reader at that state,
 * so that none of its pages is used again). When the system has restarted since, that meta page is put back before the file is opened:
 * what was committed after the last sync is gone, what is there is whole. Writer thread, or the opening one. */
#include "store/lmdb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define META_BYTES 152u      /* of a meta page: header 16, then the meta of LMDB 0.9, mm_txnid last */
#define META_MAGIC_AT 16u
#define META_PAGE_SIZE_AT 40u /* mm_dbs[0].md_pad */
#define META_TXN_AT 144u
#define META_MAGIC UINT32_C(0xbeefc0de)
#define BOOT_ID 36u
#define FILE_NAME "synced"
#define FILE_TMP "synced.new"

static enum err read_boot_id(char id[static BOOT_ID])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ERR_IO;
	ssize_t n = read(fd, id, BOOT_ID);
	close(fd);
	return n == BOOT_ID ? ERR_OK : ERR_IO;
}

static bool meta_valid(const uint8_t *meta)
{
	uint32_t magic;
	memcpy(&magic, meta + META_MAGIC_AT, sizeof magic);
	return magic == META_MAGIC;
}

static uint64_t meta_txn(const uint8_t *meta)
{
	uint64_t txn;
	memcpy(&txn, meta + META_TXN_AT, sizeof txn);
	return txn;
}

static size_t meta_page_size(const uint8_t *meta)
{
	uint32_t size;
	memcpy(&size, meta + META_PAGE_SIZE_AT, sizeof size);
	return size;
}

/* The newer of the file's two meta pages. */
static enum err read_meta(int fd, uint8_t meta[static META_BYTES])
{
	uint8_t other[META_BYTES];
	if (pread(fd, meta, META_BYTES, 0) != META_BYTES || !meta_valid(meta)
	    || pread(fd, other, META_BYTES, (off_t)meta_page_size(meta)) != META_BYTES)
		return ERR_CORRUPT;
	if (meta_valid(other) && meta_txn(other) > meta_txn(meta))
		memcpy(meta, other, META_BYTES);
	return ERR_OK;
}

/* Replaces the note, so that either the old or the new one is found whatever happens. */
static enum err write_note(int dir_fd, const uint8_t *note, size_t len)
{
	int fd = openat(dir_fd, FILE_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return ERR_IO;
	bool good = write(fd, note, len) == (ssize_t)len && fsync(fd) == 0;
	good = close(fd) == 0 && good;
	return good && renameat(dir_fd, FILE_TMP, dir_fd, FILE_NAME) == 0 && fsync(dir_fd) == 0 ? ERR_OK : ERR_IO;
}

enum err synced_note(const struct db *db, int dir_fd)
{
	uint8_t note[BOOT_ID + META_BYTES];
	int fd;
	if (mdb_env_sync(db->env, 1) != MDB_SUCCESS || mdb_env_get_fd(db->env, &fd) != MDB_SUCCESS)
		return ERR_IO;
	enum err rc = read_boot_id((char *)note);
	if (rc == ERR_OK)
		rc = read_meta(fd, note + BOOT_ID);
	return rc == ERR_OK ? write_note(dir_fd, note, sizeof note) : rc;
}

static enum err put_back(int dir_fd, uint8_t *meta)
{
	int fd = openat(dir_fd, "data.mdb", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return ERR_IO;
	bool good = true;
	for (uint64_t page = 0; page < 2 && good; page++) { /* both: the newest counts, whichever it is */
		memcpy(meta, &page, sizeof page);
		good = pwrite(fd, meta, META_BYTES, (off_t)(page * meta_page_size(meta))) == META_BYTES;
	}
	good = good && fdatasync(fd) == 0;
	good = close(fd) == 0 && good;
	return good ? ERR_OK : ERR_IO;
}

enum err synced_restore(int dir_fd, char *error, size_t error_len)
{
	uint8_t note[BOOT_ID + META_BYTES];
	char boot_id[BOOT_ID];
	int fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ERR_OK;
	ssize_t n = read(fd, note, sizeof note);
	close(fd);
	enum err rc = n == (ssize_t)sizeof note && meta_valid(note + BOOT_ID) && meta_page_size(note + BOOT_ID) >= 512 ? ERR_OK : ERR_CORRUPT;
	if (rc == ERR_OK)
		rc = read_boot_id(boot_id);
	/* The same boot: what was written is in the system's memory, if not on disk. */
	if (rc == ERR_OK && memcmp(boot_id, note, BOOT_ID) != 0) {
		rc = put_back(dir_fd, note + BOOT_ID);
		if (rc == ERR_OK)
			synced_forget(dir_fd);
	}
	if (rc != ERR_OK)
		snprintf(error, error_len, "the store's file \"%s\" is damaged or cannot be used (%s): restore a backup", FILE_NAME, err_text(rc));
	return rc;
}

void synced_forget(int dir_fd)
{
	unlinkat(dir_fd, FILE_NAME, 0);
	fsync(dir_fd);
}
