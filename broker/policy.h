/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a reload replaces, as one whole: configuration, access rules, TLS contexts. Immutable and refcounted; each loop holds one
 * reference to the policy that it works by, so that all it does in a turn follows the same. */
#ifndef BROKER_POLICY_H
#define BROKER_POLICY_H

#include "broker/topics_file.h"
#include "conf/conf.h"
#include "crypto/keys.h"
#include "crypto/tls.h"
#include "crypto/trust.h"
#include "topics/acl.h"

#include <stdatomic.h>

struct policy {
	atomic_uint refs;
	atomic_uint busy;                 /* loops that have not finished going over to it */
	unsigned generation;              /* 1 at the start, one more for each reload; immutable as all below */
	struct policy *next;              /* main thread: of those that are retired */
	struct conf *conf;
	struct acl *acl;                  /* NULL: no acl_file */
	uint32_t max_connections;         /* of all listeners */
	struct keypair *signer;           /* the first TLS listener's: signs envelopes; NULL: none, or of a kind that cannot. Registrar's thread */
	uint8_t server[32];               /* SHA-256 of its certificate; zeros without signer */
	struct trust *trust;              /* its authorities; NULL: none */
	struct topics_file *topics;       /* NULL: no topics_file */
	size_t n_listeners;
	struct tls_ctx *tls[];            /* of each of conf's listeners; NULL: plain text on loopback */
};

/* Loads the files that conf names, and takes conf (freed on failure). loops: how many there are. NULL: what is wrong was printed
 * to errors, as "FILE:LINE: text" where a file and line can be told. */
struct policy *policy_new(struct conf *take_conf, unsigned loops, unsigned generation, FILE *errors) MUST_CHECK;
/* The context of conf's i-th listener, which has TLS. NULL: what is wrong was printed to errors, as what is odd is in any case
 * ("FILE:LINE: warning: ..."). */
struct tls_ctx *policy_load_tls(const struct conf *conf, size_t i, FILE *errors) MUST_CHECK;
/* The authorities of conf's first TLS listener; NULL: there are none, or they cannot be read (policy_load_tls says so). */
struct trust *policy_load_trust(const struct conf *conf) MUST_CHECK;
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* any thread; NULL is fine */

/* Main thread: puts p, with the caller's reference, on a list of those that are no longer the broker's, and frees what is on the list and used by no
 * loop and no connection any more. A context is made of many blocks of the main thread's memory: freed by the last loop they would fill
 * that thread's free lists (base/pool), reload after reload. NULL: frees only. */
void policy_retire(struct policy **list, struct policy *take_p);

#endif
