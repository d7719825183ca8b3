/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A receiver's memory of what it has seen (docs/formats.md 4.4): windows of sequence numbers per topic, key id, sender and stream, and
 * the verdict that follows from them and from the clocks. Judging changes nothing; a message is noted only after everything else about
 * it has been verified, so that a forgery moves no window. One thread at a time. */
#ifndef CRYPTO_REPLAY_H
#define CRYPTO_REPLAY_H

#include "base/err.h"
#include "crypto/cose.h"

#include <stdbool.h>

#define REPLAY_WINDOW 1024u            /* sequence numbers */
#define REPLAY_STREAMS_MAX 16u         /* per topic, key id and sender; none is evicted for a new one */
#define REPLAY_KEEP_MS 600000u         /* after its last message a window is kept for at least this long */
#define REPLAY_LIVE_MS 300000u         /* a live message is no older, and no further ahead */

enum verdict {
	VERDICT_LIVE,             /* new, and no older than REPLAY_LIVE_MS by both clocks */
	VERDICT_LATE,             /* new, but older, or one side has no clock */
	VERDICT_PAST,             /* retained or from the history, as the broker says */
	VERDICT_DUPLICATE,        /* a redelivery: acknowledge and drop */
	VERDICT_REFUSED_AHEAD,    /* from more than REPLAY_LIVE_MS in the future */
	VERDICT_REFUSED_OLD,      /* behind the window: cannot be told from a replay */
	VERDICT_REFUSED_STREAM,   /* one stream too many of this sender */
	VERDICT_REFUSED_FULL,     /* the receiver's limit of windows is reached */
};
/* "live", "late" …; never NULL. */
const char *verdict_text(enum verdict v);
static inline bool verdict_refused(enum verdict v) { return v >= VERDICT_REFUSED_AHEAD; }

struct replay;

/* windows_max: how many windows (about 200 bytes each, and the topic) may be kept. */
struct replay *replay_new(size_t windows_max) MUST_CHECK;
void replay_free(struct replay *r);

struct replay_clock {
	uint64_t mono_ms; /* any steady clock: how long windows are kept */
	uint64_t wall_ms; /* since 1970; 0: this receiver has no clock, and calls nothing live */
};

/* What is to be said of a message if it turns out authentic. past: RETAIN is set or it comes from the history. */
enum verdict replay_judge(const struct replay *r, const char *topic, size_t topic_len, const struct cose_head *h, bool past,
                          const struct replay_clock *now);
/* The same without windows, for who keeps account of what was seen elsewhere: VERDICT_LIVE, _LATE, _PAST or _REFUSED_AHEAD. */
enum verdict replay_judge_time(const struct cose_head *h, bool past, const struct replay_clock *now);
/* Notes an authentic message whose verdict was VERDICT_LIVE or VERDICT_LATE. ERR_NOMEM, ERR_FULL: not noted, to be refused. */
enum err replay_note(struct replay *r, const char *topic, size_t topic_len, const struct cose_head *h, const struct replay_clock *now) MUST_CHECK;
size_t replay_windows(const struct replay *r);

#endif
