/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reload_on_change: have the files of the configuration changed? Main thread, which may wait for a disk; loops never look.
 *
 * The files are looked at (stat, through symbolic links) twice a second rather than watched by inotify: that sees a rename over a file, a
 * link anywhere in the path that points elsewhere (as Kubernetes swaps volumes), and network file systems, which inotify does not. */
#ifndef BROKER_WATCH_H
#define BROKER_WATCH_H

#include "conf/conf.h"

#include <stdbool.h>
#include <stdint.h>

#define WATCH_INTERVAL_MS 500U

struct watch {
	uint64_t paths;   /* which files; a digest, as the others */
	uint64_t loaded;  /* how they looked when they were read */
	uint64_t last;    /* how they looked last */
};

/* Before conf's files are read: how they look now is what they are compared with. */
void watch_start(struct watch *w, const struct conf *conf);
/* After they were read, well or not, by what may be another configuration with other files. */
void watch_loaded(struct watch *w, const struct conf *conf);
/* Every WATCH_INTERVAL_MS: true when they have changed since they were read, and not since the last look: what is being written is left to
 * be finished, and what was read and found bad is read again when it has changed. */
bool watch_changed(struct watch *w, const struct conf *conf);

#endif
