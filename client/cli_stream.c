/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Streams that outlive a run. Owns the file's descriptor, and by it the lock of one slot. */
#include "client/cli_stream.h"

#include "base/be.h"
#include "base/durable.h"
#include "client/cli_pins.h"
#include "client/lib_int.h"
#include "client/place.h"
#include "crypto/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS 16
#define CHECK_LEN 8u
#define SLOT_LEN (COSE_SENDER_LEN + PLACE_LEN + COSE_STREAM_LEN + 8u + CHECK_LEN)
#define AHEAD (UINT64_C(1) << 24) /* numbers that a run may use up before it begins a new stream; those of a killed one are lost */

struct cli_stream {
	int fd;
	off_t at;
	uint8_t place[PLACE_LEN];
	uint8_t id[COSE_STREAM_LEN];
};

/* sender ‖ place ‖ stream ‖ u64(next) ‖ check. Returns the bytes that the check is over. */
static size_t slot_fill(uint8_t slot[static SLOT_LEN], const struct cli_stream *s, const uint8_t sender[static COSE_SENDER_LEN], uint64_t next)
{
	uint8_t hash[HASH_LEN], *p = slot;
	memcpy(p, sender, COSE_SENDER_LEN);
	memcpy(p += COSE_SENDER_LEN, s->place, PLACE_LEN);
	memcpy(p += PLACE_LEN, s->id, COSE_STREAM_LEN);
	p = put_be(p + COSE_STREAM_LEN, next, 8);
	const struct hash_part parts[] = { HASH_LABEL("sealmq v1 slot"), { slot, (size_t)(p - slot) } };
	hash_sha256_parts(parts, 2, hash);
	memcpy(p, hash, CHECK_LEN);
	return (size_t)(p - slot);
}

enum slot { MINE, FREE, OTHERS };

/* MINE: of this sender, at this place, and whole: its stream and next number are set. OTHERS: of another identity. */
static enum slot slot_read(struct cli_stream *s, const uint8_t sender[static COSE_SENDER_LEN], uint64_t *next)
{
	uint8_t is[SLOT_LEN], good[SLOT_LEN];
	if (pread(s->fd, is, sizeof is, s->at) != (ssize_t)sizeof is)
		return FREE;
	const uint8_t *p = is + COSE_SENDER_LEN + PLACE_LEN;
	memcpy(s->id, p, sizeof s->id);
	*next = get_be(p + COSE_STREAM_LEN, 8);
	slot_fill(good, s, is, *next);
	if (memcmp(is, good, sizeof is) != 0 || *next >= STREAM_MESSAGES_MAX - AHEAD)
		return FREE;
	return memcmp(is, sender, COSE_SENDER_LEN) == 0 ? MINE : OTHERS;
}

static bool slot_write(const struct cli_stream *s, const uint8_t sender[static COSE_SENDER_LEN], uint64_t next)
{
	uint8_t slot[SLOT_LEN];
	slot_fill(slot, s, sender, next);
	return durable_write_at(s->fd, s->at, slot, sizeof slot); /* not synced: the place is another one after the machine has gone down */
}

static bool slot_lock(const struct cli_stream *s, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = s->at, .l_len = SLOT_LEN };
	return fcntl(s->fd, F_OFD_SETLK, &lock) == 0;
}

/* A slot that nobody has locked: this sender's, else a free one, else another identity's. */
static bool slot_take(struct cli_stream *s, struct sealmq *h)
{
	uint64_t next = 0;
	for (enum slot wanted = MINE; wanted <= OTHERS; wanted++)
		for (int i = 0; i < SLOTS; i++) {
			s->at = i * (off_t)SLOT_LEN;
			if (!slot_lock(s, F_WRLCK))
				continue;
			if (slot_read(s, h->fingerprint, &next) > wanted) {
				slot_lock(s, F_UNLCK);
				continue;
			}
			if (wanted == MINE) {
				stream_go_on(&h->stream, s->id, next, next + AHEAD);
			} else {
				stream_go_on(&h->stream, h->stream.id, h->stream.next, h->stream.next + AHEAD);
				memcpy(s->id, h->stream.id, sizeof s->id);
			}
			return slot_write(s, h->fingerprint, h->stream.end);
		}
	return false;
}

/* A file that others can change counts for nothing. */
static int open_file(const struct options *o)
{
	char *pins = cli_pins_path(o), *path = NULL;
	const char *end = pins ? strrchr(pins, '/') : NULL;
	struct stat st;
	int fd = -1;
	if (pins && asprintf(&path, "%.*sstreams", end ? (int)(end + 1 - pins) : 0, pins) > 0)
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0 || st.st_nlink != 1)) {
		close(fd);
		fd = -1;
	}
	free(path);
	free(pins);
	return fd;
}

struct cli_stream *cli_stream_take(const struct options *o, struct sealmq *h)
{
	struct cli_stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->fd = open_file(o);
	if (s->fd >= 0 && place_of(s->fd, s->place) == ERR_OK && slot_take(s, h))
		return s;
	if (s->fd >= 0) { /* where the reservation could not be written, its numbers are not used */
		close(s->fd);
		stream_start(&h->stream);
	}
	free(s);
	return NULL;
}

void cli_stream_give_back(struct cli_stream *s, struct sealmq *h)
{
	if (!s)
		return;
	if (memcmp(s->id, h->stream.id, sizeof s->id) == 0)
		(void)slot_write(s, h->fingerprint, h->stream.next); /* if it fails, what was reserved is lost */
	close(s->fd);
	free(s);
}
