/* SPDX-License-Identifier: GPL-3.0-or-later */
/* syslog(3), apart: <syslog.h> has macros of the same names as base/log.h's levels. */
#ifndef BASE_LOG_SYSLOG_H
#define BASE_LOG_SYSLOG_H

void log_syslog_open(void); /* sets the name and facility; may be called again. Any thread. */
/* severity: 3 error … 7 debug [RFC 5424 6.2.1]; text of len bytes. May wait: the log's thread only. */
void log_syslog_write(int severity, const char *text, int len);

#endif
