/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines of a conversation. */
#include "client/chat_show.h"

#include "client/cli_safe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands at a row's beginning is ours alone: '[' before a message, '*' before an event, '!' before what was refused. */
static int for_eyes_line(char **out, uint64_t time_ms, const char *what, const char *name, const char *text)
{
	char when[SAFE_TIME_MAX];
	bool live = strcmp(what, "live") == 0;
	if (strcmp(what, "refused") == 0)
		return asprintf(out, "! [%s] not shown, it is not authentic: %s", safe_time_local(when, time_ms, false), text);
	if (strcmp(what, "here") == 0)
		return asprintf(out, "* [%s] here: %s", safe_time_local(when, time_ms, false), name);
	if (strcmp(what, "joined") == 0 || strcmp(what, "left") == 0)
		return asprintf(out, "* [%s] %s %s", safe_time_local(when, time_ms, false), name, what);
	return asprintf(out, "[%s%s%s] %s: %s", live ? "" : what, live ? "" : " ", safe_time_local(when, time_ms, !live), name, text);
}

char *chat_line(bool for_eyes, uint64_t time_ms, const char *what, const char *name, const void *text, size_t len)
{
	char when[SAFE_TIME_MAX], *line = NULL;
	char *safe_name = safe_text(name, strlen(name), !for_eyes), *safe = safe_text(text, len, !for_eyes);
	int n = -1;
	if (safe_name && safe)
		n = for_eyes ? for_eyes_line(&line, time_ms, what, safe_name, safe)
		             : asprintf(&line, "%s\t%s\t%s\t%s", safe_time_utc(when, time_ms), what, safe_name, safe);
	free(safe_name);
	free(safe);
	return n < 0 ? NULL : line;
}
