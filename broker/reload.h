/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Taking over a changed configuration while the broker runs. Main thread. */
#ifndef BROKER_RELOAD_H
#define BROKER_RELOAD_H

#include "broker/broker.h"

/* Logs each line of text (NULL is fine): "FILE:LINE: warning: …" as a warning, others as errors. */
void reload_report(const char *text);

#endif
