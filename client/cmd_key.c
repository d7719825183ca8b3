/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq key open (pins and forget: cmd_key_pins.c): what an envelope holds, from a file (mosquitto_sub -N -t '$KEYS/…' wrote it) or from the broker. */
#include "client/cli_identity.h"
#include "client/cli_link.h"
#include "client/cli_pins.h"
#include "client/cmd.h"
#include "client/cmd_key_move.h"
#include "client/cmd_key_pins.h"

#include "base/secmem.h"
#include "base/textbytes.h"
#include "base/textfile.h"
#include "crypto/envelope.h"
#include "crypto/keyring.h"
#include "crypto/trust.h"

#include <mosquitto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct opener {
	const struct options *o;
	const char *source;       /* for messages */
	const char *topic;        /* that the broker was asked for; NULL: it is a file */
	struct link *link;
	struct keypair *key;
	struct trust *trust;
	int status;               /* -1: nothing has come yet */
};

/* ---- the member */

static bool load(struct opener *op)
{
	const struct options *o = op->o;
	char why[256];
	op->key = identity_load(o);
	op->trust = op->key ? trust_new(&(struct tls_options){ .cafile = o->cafile, .crlfile = o->crlfile }, why, sizeof why) : NULL;
	if (op->key && !op->trust)
		complain(o, "%s", why);
	return op->trust != NULL;
}

/* ---- opening and printing */

static void print_entry(const struct keyset_entry *e, bool show)
{
	static const char *const modes[] = { "", "broker", "owner" }, *const signs[] = { "off", "optional", "required" };
	char kid[2 * KEYTREE_KID_LEN + 1], key[2 * KEYTREE_KEY_LEN + 1], until[32] = "for good";
	struct tm tm;
	time_t end = (time_t)e->not_after_s;
	*hex_put(kid, e->kid, sizeof e->kid) = '\0';
	*hex_put(key, e->key, sizeof e->key) = '\0';
	if (end && gmtime_r(&end, &tm))
		(void)!strftime(until, sizeof until, "until %Y-%m-%dT%H:%M:%SZ", &tm);
	printf("epoch %u  key id %s  filter %.*s  space '%.*s'  mode %s  signatures %s  %s\n", e->epoch, kid, (int)e->filter_len, e->filter,
	       (int)e->space_len, e->space, modes[e->mode], signs[e->sign], until);
	if (show)
		printf("  key %s\n", key);
	secmem_wipe(key, sizeof key);
}

static int refuse(const struct opener *op, const char *why)
{
	complain(op->o, "%s: refused: %s", op->source, why);
	return EXIT_REFUSED;
}

/* ---- whether it may be taken (docs/formats.md 3.4) */

/* By what is known from earlier runs, which the newest epoch then joins. NULL: yes. */
static const char *judge(const struct opener *op, struct keyring *ring, const struct keyset *set, const uint8_t signer[static 32])
{
	char member[IDENTITY_CN_MAX + 1];
	struct pins known = { .n = 0 }, seen = { .n = 0 };
	struct keyring_space s;
	struct der cn;
	const char *why = NULL;
	if (cert_common_name(keypair_cert(op->key), &cn, &why) != ERR_OK)
		return why;
	snprintf(member, sizeof member, "%.*s", (int)der_len(cn), (const char *)cn.p);
	if (op->topic && !cli_pins_load(op->o, member, &known))
		return "what is known of its key space cannot be read";
	enum err e = ERR_OK;
	for (size_t i = 0; i < known.n && e == ERR_OK; i++) {
		const struct pin *p = &known.items[i];
		e = keyring_pin(ring, p->space, strlen(p->space), p->issuer, (enum seal_mode)p->mode, (enum seal_sign)p->sign, p->epoch);
	}
	pins_free(&known);
	if (e != ERR_OK)
		return err_text(e);
	e = keyring_take(ring, set, signer, op->topic, op->topic ? strlen(op->topic) : 0, &why);
	if (e != ERR_OK || !op->topic)
		return e == ERR_OK ? NULL : e == ERR_REFUSED ? why : err_text(e);
	if (keyring_space(ring, op->topic, strlen(op->topic), &s) == ERR_OK) {
		struct pin one = { .space = strndup(s.name, s.name_len), .mode = (int)s.mode, .sign = (int)s.sign, .epoch = s.epoch };
		memcpy(one.issuer, s.issuer, sizeof one.issuer);
		if (!one.space || !pins_append(&seen, &one))
			free(one.space);
	}
	bool kept = seen.n == 1 && cli_pins_save(op->o, member, &seen);
	pins_free(&seen);
	return kept ? NULL : "it could not be noted what is known of its key space";
}

static const char *set_refused(const struct opener *op, const struct keyset *set, const struct cert *issuer)
{
	uint8_t own[32], signer[32];
	cert_fingerprint(keypair_cert(op->key), own);
	cert_fingerprint(issuer, signer);
	struct keyring *ring = keyring_new(own);
	const char *why = ring ? judge(op, ring, set, signer) : "out of memory";
	keyring_free(ring);
	return why;
}

static int print_content(const struct opener *op, const struct cert *issuer, const uint8_t *content, size_t len)
{
	struct keyset *set;
	char name[256];
	struct der cn;
	const char *why = "out of memory";
	if (cert_common_name(issuer, &cn, &why) != ERR_OK || keyset_parse(&set, content, len, &why) != ERR_OK)
		return refuse(op, why);
	why = set_refused(op, set, issuer);
	if (!why && op->o->json && op->o->show_keys) {
		fwrite(content, 1, len, stdout);
		putchar('\n');
	} else if (!why) {
		cert_escape(name, sizeof name, cn);
		if (!op->o->json)
			printf("issuer '%s'\n", name);
		for (size_t i = 0; i < set->n; i++)
			print_entry(&set->entries[i], op->o->show_keys);
	}
	secmem_free(set);
	return why ? refuse(op, why) : EXIT_DONE;
}

/* Issuer first, then the content. */
static int open_signed(struct opener *op, const struct envelope *e, const struct cert *issuer, struct pubkey *key)
{
	const char *why = "out of memory";
	size_t len;
	enum tls_cause cause = trust_check(op->trust, issuer);
	if (cause != TLS_CAUSE_NONE)
		return refuse(op, tls_cause_text(cause));
	if (envelope_verify(e, issuer, key, &why) != ERR_OK)
		return refuse(op, why);
	uint8_t *content = secmem_alloc(der_len(e->sealed) + 1);
	if (!content || envelope_open(e, op->key, content, &len, &why) != ERR_OK) {
		secmem_free(content);
		return refuse(op, why);
	}
	int status = print_content(op, issuer, content, len);
	secmem_free(content);
	return status;
}

static int open_envelope(struct opener *op, const void *der, size_t len)
{
	struct envelope e;
	struct cert issuer;
	struct pubkey *key;
	const char *why;
	if (envelope_parse(&e, der, len, &why) != ERR_OK)
		return refuse(op, why);
	if (der_empty(e.certificate))
		return refuse(op, "the issuer's certificate is not sent along");
	if (cert_parse(&issuer, e.certificate.p, der_len(e.certificate)) != ERR_OK || pubkey_new(&key, &issuer) != ERR_OK)
		return refuse(op, "the issuer's certificate cannot be read");
	int status = open_signed(op, &e, &issuer, key);
	pubkey_free(key);
	return status;
}

/* ---- from the broker */

static void on_connected(void *ctx, bool session_present)
{
	struct opener *op = ctx;
	(void)session_present;
	(void)link_subscribe(op->link, op->source, 1);
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct opener *op = ctx;
	(void)mid;
	if (n > 0 && granted[0] <= 2)
		return;
	complain(op->o, "%s: not given to this client: it is no member, the topic has no keys, or the client's key is not RSA", op->source);
	op->status = EXIT_FAILED;
	link_end(op->link);
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct opener *op = ctx;
	if (op->status < 0)
		op->status = open_envelope(op, m->payload, (size_t)m->payloadlen);
	link_end(op->link);
}

static int fetch(struct opener *op)
{
	static const struct link_handlers handlers = { .connected = on_connected, .message = on_message, .subscribed = on_subscribed };
	op->link = link_new(op->o, &handlers, op, false);
	enum link_event event = op->link ? LINK_GO_ON : LINK_FAILED;
	while (event == LINK_GO_ON || event == LINK_READABLE)
		event = link_wait(op->link, -1, -1);
	link_free(op->link);
	if (event == LINK_TIMEOUT)
		complain(op->o, "%s: time out: no envelope has come", op->source);
	return event == LINK_TIMEOUT ? EXIT_TIMEOUT : op->status < 0 ? EXIT_FAILED : op->status;
}

static int command(struct options *o)
{
	struct opener op = { .o = o, .status = -1 };
	const char *action = o->words.n ? o->words.items[0] : "";
	if (o->words.n == 1 && strcmp(action, "pins") == 0)
		return cmd_key_pins(o, NULL);
	if (o->words.n == 2 && strcmp(action, "forget") == 0)
		return cmd_key_pins(o, o->words.items[1]);
	if (o->words.n == 2 && strcmp(action, "export") == 0)
		return cmd_key_export(o, o->words.items[1]);
	if (o->words.n == 1 && strcmp(action, "backup") == 0)
		return cmd_key_export(o, NULL);
	if (o->words.n == 2 && strcmp(action, "import") == 0)
		return cmd_key_import(o, o->words.items[1]);
	if (o->words.n != 2 || strcmp(action, "open") != 0) {
		fputs("sealmq key: expected: sealmq key {open {FILE | '$KEYS/TOPIC'} | pins | forget SPACE | export TOPIC | backup | import FILE}\n", stderr);
		return EXIT_USAGE;
	}
	if (!options_can_seal(o)) {
		fputs("sealmq key: expected --cafile, --cert and --key\n", stderr);
		return EXIT_USAGE;
	}
	if (tls_init() != ERR_OK)
		return EXIT_FAILED;
	op.source = o->words.items[1];
	size_t len = 0;
	bool from_broker = strncmp(op.source, "$KEYS/", 6) == 0;
	op.topic = from_broker ? op.source + 6 : NULL;
	char *file = from_broker ? NULL : textfile_read(op.source, &len, stderr);
	int status = EXIT_FAILED;
	if ((file || from_broker) && load(&op))
		status = file ? open_envelope(&op, file, len) : fetch(&op);
	free(file);
	keypair_free(op.key);
	trust_free(op.trust);
	return status;
}

int cmd_key(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_KEY, argc, argv, &help)) {
		if (help)
			puts("usage: sealmq key open {FILE | '$KEYS/TOPIC'} [OPTION]...\n       sealmq key pins\n       sealmq key forget SPACE\n"
			     "       sealmq key export TOPIC -o FILE {--password-file FILE | --to CERTIFICATE}\n       sealmq key backup -o FILE {…}\n"
			     "       sealmq key import FILE [--password-file FILE]\n"
			     "Opens an envelope and says what it grants; --show-keys prints the secret keys, --show-keys --json the JWK Set.\n"
			     "pins: what is known from earlier runs of who issues keys; forget: of one key space of this broker.\n"
			     "export: an owner's keys, members and list of a topic, sealed; backup: of all topics; import: on another machine.\n"), options_print(FOR_KEY);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
