/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parser behind conf_load, for tests and the fuzzer. */
#ifndef CONF_PARSE_H
#define CONF_PARSE_H

#include "conf/conf.h"

/* As conf_load, from memory: len bytes at buf, named name in messages (and in conf.path). No file is read: include_dir is an
 * error. errors may be NULL. */
struct conf *conf_parse(const char *buf, size_t len, const char *name, FILE *errors) MUST_CHECK;

#endif
