/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log_syslog.h"

#include <stddef.h>
#include <syslog.h>

void log_syslog_open(void)
{
	openlog(NULL, LOG_PID, LOG_DAEMON); /* by the program's name */
}

void log_syslog_write(int severity, const char *text, int len)
{
	syslog(severity, "%.*s", len, text);
}
