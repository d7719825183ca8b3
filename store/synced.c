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
/* Two slots, written in turn: a power cut while one is written leaves the other, whose state is still kept. Neither needs new disk space. */
#define SLOT 4096u
#define NOTE_LEN (8u + BOOT_ID + META_BYTES + 8u) /* number 8, boot id, meta, checksum 8 */

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

static uint64_t checksum(const uint8_t *note)
{
	static const struct siphash_key key = { UINT64_C(0x7365616c6d712073), UINT64_C(0x796e636564206e6f) }; /* against torn writes, not against people */
	return siphash24(&key, note, NOTE_LEN - 8);
}

static enum err write_note(int dir_fd, const uint8_t *note, uint64_t number)
{
	bool fresh = false;
	int fd = openat(dir_fd, FILE_NAME, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		fresh = true;
		fd = openat(dir_fd, FILE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		return errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
	enum err rc = ERR_OK;
	int full = fresh ? posix_fallocate(fd, 0, 2 * SLOT) : 0;
	if (full == ENOSPC || full == EDQUOT)
		rc = ERR_FULL;
	else if (pwrite(fd, note, NOTE_LEN, (off_t)(number % 2 * SLOT)) != (ssize_t)NOTE_LEN || fsync(fd) != 0)
		rc = ERR_IO;
	if (close(fd) != 0 && rc == ERR_OK)
		rc = ERR_IO;
	return rc == ERR_OK && fresh && fsync(dir_fd) != 0 ? ERR_IO : rc;
}

enum err synced_note(const struct db *db, int dir_fd, uint64_t *number)
{
	uint8_t note[NOTE_LEN];
	int fd;
	if (mdb_env_sync(db->env, 1) != MDB_SUCCESS || mdb_env_get_fd(db->env, &fd) != MDB_SUCCESS)
		return ERR_IO;
	put_be(note, *number + 1, 8);
	enum err rc = read_boot_id((char *)note + 8);
	if (rc == ERR_OK)
		rc = read_meta(fd, note + 8 + BOOT_ID);
	put_be(note + NOTE_LEN - 8, checksum(note), 8);
	if (rc == ERR_OK)
		rc = write_note(dir_fd, note, *number + 1);
	if (rc == ERR_OK)
		++*number;
	return rc;
}

/* The newer whole note; false: there is none. */
static bool read_note(int fd, uint8_t note[static NOTE_LEN])
{
	bool found = false;
	for (unsigned slot = 0; slot < 2; slot++) {
		uint8_t other[NOTE_LEN];
		if (pread(fd, other, NOTE_LEN, (off_t)(slot * SLOT)) != (ssize_t)NOTE_LEN || get_be(other + NOTE_LEN - 8, 8) != checksum(other))
			continue;
		if (!found || get_be(other, 8) > get_be(note, 8))
			memcpy(note, other, NOTE_LEN);
		found = true;
	}
	return found;
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

enum err synced_restore(int dir_fd, uint64_t *number, char *error, size_t error_len)
{
	uint8_t note[NOTE_LEN] = { 0 };
	char boot_id[BOOT_ID];
	*number = 0;
	int fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ERR_OK;
	bool found = read_note(fd, note);
	close(fd);
	if (!found) /* the first one was never complete: nothing was committed behind it */
		return ERR_OK;
	*number = get_be(note, 8);
	uint8_t *meta = note + 8 + BOOT_ID;
	enum err rc = meta_valid(meta) && meta_page_size(meta) >= 512 ? read_boot_id(boot_id) : ERR_CORRUPT;
	/* The same boot: what was written is in the system's memory, if not on disk. */
	if (rc == ERR_OK && memcmp(boot_id, note + 8, BOOT_ID) != 0)
		rc = put_back(dir_fd, meta);
	if (rc != ERR_OK)
		snprintf(error, error_len, "the store's file \"%s\" is damaged or cannot be used (%s): restore a backup", FILE_NAME, err_text(rc));
	return rc;
}

void synced_forget(int dir_fd)
{
	unlinkat(dir_fd, FILE_NAME, 0);
	fsync(dir_fd);
}
