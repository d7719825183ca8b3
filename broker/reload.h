/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Taking over a changed configuration while the broker runs. Main thread. */
#ifndef BROKER_RELOAD_H
#define BROKER_RELOAD_H

#include "broker/broker.h"

/* Loads configuration, certificates, revocation lists and access rules anew; when all of it is good, every loop goes over to it,
 * new connections first, and what lives by the old rules is judged again (broker/recheck.h). A bad one changes nothing, and the log says
 * why. cause: "SIGHUP" or the like. load: as conf_load, with what the command line says. Returns when the loops are done, after two seconds
 * at the latest. */
void reload(struct broker *b, const char *cause, struct conf *(*load)(void *arg, FILE *errors), void *arg);

/* Logs each line of text (NULL is fine): "FILE:LINE: warning: …" as a warning, others as errors. */
void reload_report(const char *text);

#endif
