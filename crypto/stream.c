/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stream ids. Owned by one sender; one thread at a time. */
#include "crypto/stream.h"

#include "base/clock.h"
#include "base/random.h"
#include "crypto/hash.h"

#include <string.h>
#include <unistd.h>

/* Clock and pid are hashed in for machines whose generator repeats itself: a restored snapshot, a first boot. */
void stream_start(struct stream *s)
{
	struct { uint8_t random[16]; uint64_t wall_ms, mono_us; long pid; } seed = { .wall_ms = clock_wall_ms(), .mono_us = clock_mono_us(), .pid = (long)getpid() };
	uint8_t hash[HASH_LEN];
	random_bytes(seed.random, sizeof seed.random);
	hash_sha256(&seed, sizeof seed, hash);
	memcpy(s->id, hash, sizeof s->id);
	s->next = 0;
	s->end = STREAM_MESSAGES_MAX;
	s->pid = seed.pid;
}

void stream_go_on(struct stream *s, const uint8_t id[static COSE_STREAM_LEN], uint64_t next, uint64_t end)
{
	memcpy(s->id, id, sizeof s->id);
	s->next = next;
	s->end = end < STREAM_MESSAGES_MAX ? end : STREAM_MESSAGES_MAX;
	s->pid = (long)getpid();
}

void stream_next(struct stream *s, struct cose_head *h)
{
	if (s->next >= s->end || s->pid != (long)getpid())
		stream_start(s);
	memcpy(h->stream, s->id, sizeof h->stream);
	h->seq = s->next++;
}
