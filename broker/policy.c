/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/policy.h"

#include "broker/listener.h"

#include "base/secmem.h"
#include "base/textfile.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define OTHER_FILES 64U /* descriptors that are not clients: listeners, epoll, eventfd, store, log */

/* Raises nofile to its hard limit, and says how many connections that allows. */
static bool choose_max_connections(struct policy *p, unsigned loops, FILE *errors)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return false;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) != 0)
		getrlimit(RLIMIT_NOFILE, &r);
	uint64_t other = OTHER_FILES + (uint64_t)loops * (p->n_listeners + 4);
	uint64_t most = r.rlim_cur > other ? r.rlim_cur - other : 0;
	uint32_t wanted = p->conf->max_connections;
	if (wanted > most && p->conf->max_connections_given) {
		(void)fprintf(errors, "max_connections %u: the limit on open files (nofile, %llu) allows %llu\n", wanted,
		              (unsigned long long)r.rlim_cur, (unsigned long long)most);
		return false;
	}
	p->max_connections = wanted > 0 && wanted < most ? wanted : (uint32_t)(most < UINT32_MAX ? most : UINT32_MAX);
	return true;
}

struct place {
	const struct conf *conf;
	const struct conf_listener *listener;
	FILE *errors;
};

static void report(const struct place *at, const char *kind, const char *text)
{
	(void)fprintf(at->errors, "%s:%u: %slistener %u: %s\n", at->conf->path ? at->conf->path : "defaults", at->listener->line, kind,
	              at->listener->port, text);
}

static void on_warning(void *arg, const char *text)
{
	report(arg, "warning: ", text);
}

static void warn_of_open_key(struct place *at)
{
	char text[512];
	struct stat st;
	if (stat(at->listener->keyfile, &st) != 0 || !(st.st_mode & 0007))
		return;
	(void)snprintf(text, sizeof text, "keyfile %s: every user of this machine may read or change it (mode %04o); expected 0640 or 0600",
	               at->listener->keyfile, (unsigned)(st.st_mode & 07777));
	on_warning(at, text);
}

/* The listener's options with the pins, which the caller frees; NULL: out of memory. */
static struct tls_pin *options_of(const struct conf *conf, const struct conf_listener *l, struct tls_options *o)
{
	struct tls_pin *pins = calloc(conf->n_pins + 1, sizeof *pins);
	for (size_t k = 0; pins && k < conf->n_pins; k++) {
		pins[k].cn = conf->pins[k].cn;
		memcpy(pins[k].key, conf->pins[k].key, sizeof pins[k].key);
	}
	*o = listener_tls_options(l);
	o->pins = pins;
	o->n_pins = conf->n_pins;
	return pins;
}

struct tls_ctx *policy_load_tls(const struct conf *conf, size_t i, FILE *errors)
{
	char error[512] = "out of memory";
	struct place at = {conf, &conf->listeners[i], errors};
	struct tls_options o;
	struct tls_pin *pins = options_of(conf, at.listener, &o);
	o.warn = on_warning;
	o.warn_arg = &at;
	struct tls_ctx *ctx = pins ? tls_ctx_new(&o, error, sizeof error) : NULL;
	free(pins);
	if (ctx)
		warn_of_open_key(&at);
	else
		report(&at, "", error);
	return ctx;
}

static bool load_tls(struct policy *p, FILE *errors)
{
	bool good = true;
	for (size_t i = 0; i < p->n_listeners; i++)
		if (!p->conf->listeners[i].plaintext && !(p->tls[i] = policy_load_tls(p->conf, i, errors)))
			good = false;
	return good;
}

static const struct conf_listener *first_tls(const struct conf *c)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (!c->listeners[i].plaintext)
			return &c->listeners[i];
	return NULL;
}

struct trust *policy_load_trust(const struct conf *conf)
{
	char error[512];
	struct tls_options o;
	const struct conf_listener *l = first_tls(conf);
	struct tls_pin *pins = l ? options_of(conf, l, &o) : NULL;
	struct trust *t = pins ? trust_new(&o, error, sizeof error) : NULL;
	free(pins);
	return t;
}

/* The files have just been read by load_tls: what is wrong with them has been said. */
static void load_signer(struct policy *p)
{
	const struct conf_listener *l = first_tls(p->conf);
	if (!l)
		return;
	size_t cert_len = 0, key_len = 0;
	char *cert = textfile_read(l->certfile, &cert_len, NULL), *key = textfile_read(l->keyfile, &key_len, NULL);
	if (cert && key && keypair_new(&p->signer, cert, cert_len, key, key_len) == ERR_OK)
		cert_fingerprint(keypair_cert(p->signer), p->server);
	if (key)
		secmem_wipe(key, key_len);
	free(cert);
	free(key);
	p->trust = policy_load_trust(p->conf);
}

/* Whatever is wrong is reported, not just the first. */
static bool load_files(struct policy *p, FILE *errors)
{
	bool good = load_tls(p, errors);
	if (good)
		load_signer(p);
	if (p->conf->acl_file && !(p->acl = acl_load(p->conf->acl_file, errors)))
		good = false;
	if (p->conf->topics_file && !(p->topics = topics_file_load(p->conf->topics_file, p->trust, errors)))
		good = false;
	return good;
}

struct policy *policy_new(struct conf *take_conf, unsigned loops, unsigned generation, FILE *errors)
{
	size_t n = take_conf->n_listeners;
	struct policy *p = calloc(1, sizeof *p + n * sizeof p->tls[0]);
	if (!p) {
		(void)fputs("out of memory\n", errors);
		conf_free(take_conf);
		return NULL;
	}
	atomic_init(&p->refs, 1);
	atomic_init(&p->busy, loops);
	p->generation = generation;
	p->conf = take_conf;
	p->n_listeners = n;
	if (load_files(p, errors) && choose_max_connections(p, loops, errors))
		return p;
	policy_unref(p);
	return NULL;
}

struct policy *policy_ref(struct policy *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void policy_unref(struct policy *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < p->n_listeners; i++)
		tls_ctx_unref(p->tls[i]);
	acl_unref(p->acl);
	keypair_free(p->signer);
	trust_free(p->trust);
	topics_file_free(p->topics);
	conf_free(p->conf);
	free(p);
}

static bool is_unused(const struct policy *p)
{
	if (atomic_load_explicit(&p->refs, memory_order_acquire) != 1)
		return false;
	for (size_t i = 0; i < p->n_listeners; i++)
		if (p->tls[i] && !tls_ctx_unshared(p->tls[i]))
			return false;
	return true;
}

void policy_retire(struct policy **list, struct policy *take_p)
{
	if (take_p) {
		take_p->next = *list;
		*list = take_p;
	}
	for (struct policy **at = list; *at;) {
		struct policy *p = *at;
		if (!is_unused(p)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		policy_unref(p);
	}
}
