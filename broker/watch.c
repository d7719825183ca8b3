/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/watch.h"

#include "base/siphash.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Chained: each part is hashed with what came before. Only equality is asked, of files that are the operator's own. */
static void add(uint64_t *digest, const void *p, size_t len)
{
	const struct siphash_key key = {*digest, len};
	*digest = siphash13(&key, p, len);
}

struct look {
	uint64_t paths, state;
};

static void look_at(struct look *l, const char *path)
{
	struct stat st;
	if (!path)
		return;
	add(&l->paths, path, strlen(path));
	if (stat(path, &st) != 0) {
		add(&l->state, &(int){errno}, sizeof(int));
		return;
	}
	/* By change time too: a mode or owner that lets the file be read at last is a change. */
	const int64_t seen[] = {(int64_t)st.st_dev,         (int64_t)st.st_ino,      (int64_t)st.st_size,        (int64_t)st.st_mtim.tv_sec,
	                        (int64_t)st.st_mtim.tv_nsec, (int64_t)st.st_ctim.tv_sec, (int64_t)st.st_ctim.tv_nsec};
	add(&l->state, seen, sizeof seen);
}

/* A directory and the files in it, in any order: their digests are summed up. */
static void look_in(struct look *l, const char *path)
{
	DIR *dir = path ? opendir(path) : NULL;
	uint64_t sum = 0;
	look_at(l, path);
	if (!dir)
		return;
	for (struct dirent *e; (e = readdir(dir));) {
		char file[4096 + sizeof e->d_name];
		struct look one = {0};
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof file, "%.4095s/%s", path, e->d_name);
		look_at(&one, file);
		add(&one.state, &one.paths, sizeof one.paths);
		sum += one.state;
	}
	closedir(dir);
	add(&l->state, &sum, sizeof sum);
}

static struct look look(const struct conf *c)
{
	struct look l = {0};
	look_at(&l, c->path);
	for (size_t i = 0; i < c->n_include_dirs; i++)
		look_in(&l, c->include_dirs[i]);
	look_at(&l, c->acl_file);
	look_at(&l, c->topics_file);
	for (size_t i = 0; i < c->n_listeners; i++) {
		const struct conf_listener *s = &c->listeners[i];
		const char *const files[] = {s->cafile, s->certfile, s->keyfile, s->crlfile};
		for (size_t k = 0; k < sizeof files / sizeof *files; k++)
			look_at(&l, files[k]);
		look_in(&l, s->capath);
	}
	return l;
}

void watch_start(struct watch *w, const struct conf *conf)
{
	struct look l = look(conf);
	*w = (struct watch){.paths = l.paths, .loaded = l.state, .last = l.state};
}

void watch_loaded(struct watch *w, const struct conf *conf)
{
	struct look l = look(conf);
	if (l.paths != w->paths) /* files that nobody has looked at before */
		*w = (struct watch){.paths = l.paths, .loaded = l.state, .last = l.state};
}

bool watch_changed(struct watch *w, const struct conf *conf)
{
	uint64_t state = look(conf).state;
	bool settled = state == w->last;
	w->last = state;
	return settled && state != w->loaded;
}
