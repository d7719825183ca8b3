/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Listening sockets: one per loop and configured listener. */
#ifndef BROKER_LISTENER_H
#define BROKER_LISTENER_H

#include "broker/loop.h"

/* What crypto/tls needs to know of a configured listener. */
struct tls_options listener_tls_options(const struct conf_listener *c);

/* Can the listener's address be resolved? ERR_INVALID: error is filled. Opens nothing. */
enum err listener_check(const struct conf_listener *c, char *error, size_t error_len) MUST_CHECK;

/* Opens the sockets of all loops for all listeners (main thread, before the loops start). ERR_IO: error is filled. */
enum err listener_open_all(struct broker *b, char *error, size_t error_len) MUST_CHECK;
void listener_start(struct loop *l); /* owner loop */
void listener_follow(struct loop *l); /* owner loop: takes over what the policy says of accepted sockets; Linux's have it from the listening one */
void listener_stop(struct loop *l);  /* owner loop: closes this loop's sockets */

#endif
