/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The registrar: one thread that owns the key spaces. What changes them (commands, rotation) is done there one after the
 * other: written to the store, then brought to all loops in rounds that it waits for. It makes the envelopes, and knows the
 * certificates. Loops only send it mail, and work by the map of spaces that it sent them last. */
#ifndef BROKER_REGISTRAR_H
#define BROKER_REGISTRAR_H

#include "broker/conn.h"
#include "topics/space.h"

struct registrar;

/* Loads key spaces and certificates from the store (main thread, before store_start). NULL: what is wrong was printed to errors. */
struct registrar *registrar_new(struct broker *b, FILE *errors) MUST_CHECK;
/* Makes the key spaces what the topics_file declares, before anybody connects (main thread, before loops and store run). */
enum err registrar_begin(struct registrar *r) MUST_CHECK;
/* Could the spaces of map become what p's topics_file declares? If not, errors says why. Any thread. */
bool declare_fits(const struct policy *p, const struct space_map *map, FILE *errors) MUST_CHECK;
/* Starts the thread. */
enum err registrar_start(struct registrar *r) MUST_CHECK;
/* Finishes the command under way and ends the thread; loops and store still run. */
void registrar_stop(struct registrar *r);
void registrar_free(struct registrar *r); /* NULL is fine */

/* The map that a loop begins with: one reference, or NULL when there are no spaces. Before the thread runs. */
struct space_map *registrar_map(const struct registrar *r);

/* ---- from loops; all push mail and never wait ---- */

/* A PUBLISH to $CONTROL/topics/v1. seq: of its acknowledgement (qos > 0), which waits. False: out of memory. */
bool registrar_command(struct conn *c, const uint8_t *payload, size_t len, uint8_t qos, uint32_t seq) MUST_CHECK;

enum registrar_question { ASK_KEYS, ASK_CERTIFICATE };
/* A subscription to $KEYS/… or $CERTS/… wants its answer. False: out of memory. */
bool registrar_ask(struct session *s, enum registrar_question what, const uint8_t *filter, size_t len, uint8_t qos) MUST_CHECK;

/* A client's certificate from its handshake (DER; taken, may be NULL). Forgotten unless key spaces are in use. */
void registrar_certificate(struct broker *b, struct identity *id, uint8_t *take_der, size_t len);

/* So many messages under the current epoch: it is time to turn it. */
void registrar_rotate(struct broker *b, struct space *s);

/* Main thread: a reload brought another policy. */
void registrar_follow(struct broker *b, struct policy *p);

#endif
