/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Ends the process at a chosen point of the store's work, for end-to-end tests of crashes. Not in release builds.
 *
 *   SEALMQ_STORE_KILL=before-commit|after-commit|before-answer[,VERB[,N]]
 *
 * kills at that point of the N-th batch (default: the first) that holds an operation of that kind (default: any). Writer thread; what the
 * environment said is set before it starts. */
#include "store/store_int.h"

#ifdef NDEBUG

store_fault_fn store_fault_from_env(void)
{
	return NULL;
}

#else

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct {
	enum store_fault where;
	int verb;                    /* -1: any */
	unsigned long n;
} kill_at;

static const char *const where_names[] = { [STORE_BEFORE_COMMIT] = "before-commit", [STORE_AFTER_COMMIT] = "after-commit",
	[STORE_BEFORE_ANSWER] = "before-answer" };
static const char *const verb_names[] = { [STORE_SESSION_NEW] = "session-new", [STORE_SESSION_STATE] = "session-state",
	[STORE_SESSION_END] = "session-end", [STORE_SUBSCRIBE] = "subscribe", [STORE_UNSUBSCRIBE] = "unsubscribe", [STORE_PUBLISH] = "publish",
	[STORE_ACKED] = "acked", [STORE_SENT] = "sent", [STORE_RELEASED] = "released", [STORE_QOS2_DONE] = "qos2-done",
	[STORE_WILL_PUT] = "will-put", [STORE_WILL_DROP] = "will-drop", [STORE_META] = "meta", [STORE_PAST] = "past",
	[STORE_PAST_SENT] = "past-sent" };

static void kill_there(void *arg, enum store_fault where, const struct store_op *batch)
{
	(void)arg;
	if (where != kill_at.where || kill_at.n == 0)
		return;
	for (const struct store_op *op = batch; op; op = (const struct store_op *)(const void *)op->mail.next)
		if (kill_at.verb < 0 || (int)op->verb == kill_at.verb) {
			if (--kill_at.n == 0)
				raise(SIGKILL);
			return;
		}
}

static int find_name(const char *const *names, size_t n, const char *text, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (names[i] && strlen(names[i]) == len && memcmp(names[i], text, len) == 0)
			return (int)i;
	return -1;
}

store_fault_fn store_fault_from_env(void)
{
	const char *text = getenv("SEALMQ_STORE_KILL");
	size_t len = text ? strcspn(text, ",") : 0;
	int where = find_name(where_names, sizeof where_names / sizeof *where_names, text ? text : "", len);
	if (where < 0)
		return NULL;
	kill_at.where = (enum store_fault)where;
	kill_at.verb = -1;
	kill_at.n = 1;
	if (text[len] == ',') {
		text += len + 1;
		len = strcspn(text, ",");
		kill_at.verb = find_name(verb_names, sizeof verb_names / sizeof *verb_names, text, len);
		if (text[len] == ',')
			kill_at.n = strtoul(text + len + 1, NULL, 10);
	}
	return kill_there;
}

#endif
