/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The place of a file. Owns nothing. */
#include "client/place.h"

#include "base/be.h"
#include "crypto/hash.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum err place_of(int fd, uint8_t out[static PLACE_LEN])
{
	struct stat st;
	char boot[64];
	uint8_t hash[HASH_LEN], ids[16];
	int from = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = from >= 0 ? read(from, boot, sizeof boot) : -1;
	if (from >= 0)
		close(from);
	if (n <= 0 || fstat(fd, &st) != 0)
		return ERR_IO;
	put_be(put_be(ids, st.st_dev, 8), st.st_ino, 8);
	const struct hash_part parts[] = { HASH_LABEL("sealmq v1 place"), { boot, (size_t)n }, { ids, sizeof ids } };
	hash_sha256_parts(parts, 3, hash);
	memcpy(out, hash, PLACE_LEN);
	return ERR_OK;
}
