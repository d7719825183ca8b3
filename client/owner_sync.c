/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/owner_sync.h"

#include "base/clock.h"
#include "base/textbytes.h"
#include "client/cmd.h"
#include "client/owner_state.h"
#include "crypto/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPLOAD_BYTES (4u * 1024 * 1024) /* of envelopes in a command, about */
#define FINGERPRINT_HEX 64

static const char no_space[] = "there is no such key space";

static int status_of(struct owner *w, enum control_result r)
{
	switch (r) {
	case CONTROL_DONE: return EXIT_DONE;
	case CONTROL_REFUSED:
		complain(owner_options(w), "%s", control_error(owner_control(w)));
		return EXIT_FAILED;
	case CONTROL_TIMEOUT: return EXIT_TIMEOUT;
	case CONTROL_FAILED: break;
	}
	return EXIT_FAILED;
}

static int ask(struct owner *w, cJSON *take_command)
{
	struct control *c = owner_control(w);
	if (c)
		return status_of(w, control_ask(c, take_command, NULL));
	cJSON_Delete(take_command);
	return EXIT_FAILED;
}

int owner_ask_about(struct owner *w, const char *topic, cJSON **about)
{
	const cJSON *data;
	struct control *c = owner_control(w);
	*about = NULL;
	enum control_result r = c ? control_ask(c, control_command("getTopic", topic), &data) : CONTROL_FAILED;
	if (r == CONTROL_REFUSED && strstr(control_error(c), no_space))
		return EXIT_DONE;
	if (r != CONTROL_DONE)
		return status_of(w, r);
	*about = data ? cJSON_Duplicate(data, true) : NULL;
	if (!*about)
		complain(owner_options(w), "%s: %s", topic, data ? "out of memory" : "getTopic: expected data, the broker's answer has none");
	return *about ? EXIT_DONE : EXIT_FAILED;
}

int owner_save(struct owner *w, struct owner_space *s)
{
	char error[VAULT_ERROR_MAX];
	if (owner_state_save(owner_vault(w), s, owner_fingerprint(w), error) == ERR_OK)
		return EXIT_DONE;
	complain(owner_options(w), "%s", error);
	return EXIT_FAILED;
}

int owner_commit(struct owner *w, struct owner_space *s)
{
	enum err e = owner_publish(s, owner_identity(w), clock_wall_ms() / 1000);
	if (e == ERR_OK)
		return owner_save(w, s);
	complain(owner_options(w), "%s: %s", s->topic, e == ERR_FULL ? "too many members: their list does not fit into an envelope" : err_text(e));
	return EXIT_FAILED;
}

/* ---- what the broker says of a member */

static const char *text_of(const cJSON *o, const char *name)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
	return s ? s : "";
}

static const cJSON *member_at_broker(const cJSON *about, const char *cn)
{
	const cJSON *m;
	cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(about, "members"))
		if (strcmp(text_of(m, "cn"), cn) == 0)
			return m;
	return NULL;
}

static uint32_t epoch_at_broker(const cJSON *about)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(about, "epoch");
	return cJSON_IsNumber(n) && n->valuedouble >= 0 && n->valuedouble <= UINT32_MAX ? (uint32_t)n->valuedouble : 0;
}

static const char *access_text(unsigned access)
{
	return access == MEMBER_READ ? "read" : access == MEMBER_WRITE ? "write" : "readwrite";
}

/* ---- certificates */

const char *owner_cert_fault(struct owner *w, const char *cn, const void *der, size_t len)
{
	struct cert c;
	struct der name;
	struct pubkey *key;
	const char *why;
	if (cert_parse(&c, der, len) != ERR_OK)
		return "it is no certificate";
	if (cert_common_name(&c, &name, &why) != ERR_OK)
		return why;
	if (!der_equal(name, cn, strlen(cn)))
		return "the certificate is somebody else's";
	enum tls_cause cause = trust_check(owner_trust(w), &c);
	if (cause != TLS_CAUSE_NONE)
		return tls_cause_text(cause);
	enum err e = pubkey_new(&key, &c);
	if (e != ERR_OK)
		return e == ERR_NOMEM ? err_text(e) : "its key is neither RSA of 2048 to 4096 bits nor P-256";
	bool rsa = pubkey_kind(key) == KEY_RSA;
	pubkey_free(key);
	return rsa ? NULL : "its key is not RSA: it cannot receive an envelope";
}

int owner_fetch(struct owner *w, const char *name, const char *cn, uint8_t **der, size_t *len)
{
	struct control *c = owner_control(w);
	const uint8_t *got;
	*der = NULL;
	enum control_result r = c ? control_cert(c, name, &got, len) : CONTROL_FAILED;
	if (r != CONTROL_DONE)
		return status_of(w, r);
	if (*len == 0)
		return EXIT_DONE;
	const char *why = owner_cert_fault(w, cn, got, *len);
	if (why) {
		complain(owner_options(w), "'%s': the certificate that the broker gives is refused: %s", cn, why);
		return EXIT_REFUSED;
	}
	*der = malloc(*len);
	if (!*der) {
		complain(owner_options(w), "out of memory");
		return EXIT_FAILED;
	}
	memcpy(*der, got, *len);
	return EXIT_DONE;
}

/* The certificate with that fingerprint. */
static int fetch_known(struct owner *w, const char *hex, const char *cn, uint8_t **der, size_t *len)
{
	char name[sizeof "sha256/" + 32];
	uint8_t expected[32], hash[32] = { 0 };
	struct cert c;
	*der = NULL;
	if (!hex_get(hex, strlen(hex), expected, sizeof expected))
		return EXIT_DONE; /* none is known yet */
	snprintf(name, sizeof name, "sha256/%.32s", hex);
	int status = owner_fetch(w, name, cn, der, len);
	if (status != EXIT_DONE || !*der)
		return status;
	if (cert_parse(&c, *der, *len) == ERR_OK)
		cert_fingerprint(&c, hash);
	if (memcmp(hash, expected, sizeof hash) == 0)
		return EXIT_DONE;
	complain(owner_options(w), "'%s': the broker gives another certificate than the one it names", cn);
	free(*der);
	*der = NULL;
	return EXIT_REFUSED;
}

/* Members without a certificate get the one that the broker has seen, if it is to be believed; who has one keeps it. */
static int learn_certificates(struct owner *w, struct owner_space *s, const cJSON *about)
{
	bool learned = false;
	int worst = EXIT_DONE;
	for (size_t i = 0; i < s->n_members; i++) {
		const struct owner_member *m = &s->members[i];
		const cJSON *there = m->until == 0 && !m->der ? member_at_broker(about, m->cn) : NULL;
		uint8_t *der = NULL;
		size_t len;
		bool changed;
		if (!there)
			continue;
		int status = fetch_known(w, text_of(there, "certificate"), m->cn, &der, &len);
		if (status == EXIT_DONE && der && owner_put(s, m->cn, m->access, der, len, &changed) != ERR_OK)
			status = EXIT_FAILED;
		learned |= status == EXIT_DONE && der;
		free(der);
		if (status == EXIT_FAILED || status == EXIT_TIMEOUT)
			return status;
		worst = status != EXIT_DONE ? status : worst; /* one bad certificate does not keep the others from their keys */
	}
	int status = learned ? owner_commit(w, s) : EXIT_DONE;
	return status != EXIT_DONE ? status : worst;
}

/* ---- members */

static bool add_pem(cJSON *o, const uint8_t *der, size_t len)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----\n", end[] = "-----END CERTIFICATE-----\n";
	size_t n = base64_len(BASE64_STANDARD, len);
	char *text = malloc(n + 1), *pem = malloc(n + n / 64 + 1 + sizeof begin + sizeof end), *p = pem;
	bool good = text && pem;
	if (good) {
		*base64_put(BASE64_STANDARD, text, der, len) = '\0';
		p = stpcpy(p, begin);
		for (size_t at = 0; at < n; at += 64)
			p += sprintf(p, "%.64s\n", text + at);
		memcpy(p, end, sizeof end);
		good = cJSON_AddStringToObject(o, "certificate", pem) != NULL;
	}
	free(text);
	free(pem);
	return good;
}

static bool add_member(cJSON *list, const struct owner_member *m)
{
	cJSON *o = cJSON_CreateObject();
	return cJSON_AddItemToArray(list, o) && (m->pinned && m->der ? add_pem(o, m->der, m->der_len) : cJSON_AddStringToObject(o, "cn", m->cn) != NULL) &&
	       cJSON_AddStringToObject(o, "access", access_text(m->access));
}

/* Whether the broker has this member as it is to be. */
static bool is_there(const cJSON *about, const struct owner_member *m)
{
	char hex[FINGERPRINT_HEX + 1];
	const cJSON *there = member_at_broker(about, m->cn);
	if (!there || strcmp(text_of(there, "access"), access_text(m->access)) != 0)
		return false;
	if (!m->pinned || !m->der)
		return true;
	*hex_put(hex, m->fingerprint, sizeof m->fingerprint) = '\0';
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(there, "pinned")) && strcmp(text_of(there, "certificate"), hex) == 0;
}

/* The members of s that about does not have (NULL: all), as a list in command. *n: how many. False: no memory. */
static bool list_members(cJSON *command, const struct owner_space *s, const cJSON *about, size_t *n)
{
	cJSON *list = cJSON_AddArrayToObject(command, "members");
	*n = 0;
	for (size_t i = 0; list && i < s->n_members; i++) {
		const struct owner_member *m = &s->members[i];
		if (m->until != 0 || (about && is_there(about, m)))
			continue;
		if (!add_member(list, m))
			return false;
		++*n;
	}
	return list != NULL;
}

static int out_of_memory(struct owner *w, cJSON *command)
{
	cJSON_Delete(command);
	complain(owner_options(w), "out of memory");
	return EXIT_FAILED;
}

static int add_missing(struct owner *w, const struct owner_space *s, const cJSON *about, bool *changed)
{
	size_t n;
	cJSON *command = control_command("addMembers", s->topic);
	if (!list_members(command, s, about, &n))
		return out_of_memory(w, command);
	if (n == 0) {
		cJSON_Delete(command);
		return EXIT_DONE;
	}
	*changed = true;
	return ask(w, command);
}

static int remove_gone(struct owner *w, const struct owner_space *s, const cJSON *about, bool *changed)
{
	const cJSON *m;
	cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(about, "members")) {
		const char *cn = text_of(m, "cn");
		if (!owner_was_member(s, cn))
			continue;
		cJSON *command = control_command("removeMember", s->topic);
		if (!cJSON_AddStringToObject(command, "cn", cn))
			return out_of_memory(w, command);
		int status = ask(w, command);
		if (status != EXIT_DONE)
			return status;
		*changed = true;
	}
	return EXIT_DONE;
}

/* ---- the space */

static int create(struct owner *w, struct owner_space *s)
{
	static const char *const signs[] = { "off", "optional", "required" };
	size_t n;
	cJSON *settings = s->settings ? cJSON_Parse(s->settings) : NULL, *command = control_command("createTopic", s->topic);
	bool good = cJSON_AddStringToObject(command, "mode", "owner") && cJSON_AddStringToObject(command, "sign", signs[s->sign]) &&
	            cJSON_AddStringToObject(command, "newMembers", s->from_join ? "from-join" : "see-past") && list_members(command, s, NULL, &n);
	while (good && settings && settings->child) {
		cJSON *one = cJSON_DetachItemViaPointer(settings, settings->child);
		good = cJSON_AddItemToObject(command, one->string, one);
	}
	cJSON_Delete(settings);
	return good ? ask(w, command) : out_of_memory(w, command);
}

/* It is there: is it the one that an interrupted run of ours has made? */
static bool is_ours(struct owner *w, const struct owner_space *s, const cJSON *about)
{
	char kid[2 * KEYTREE_KID_LEN + 1];
	*hex_put(kid, s->epochs[0].kid, KEYTREE_KID_LEN) = '\0';
	uint32_t epoch = epoch_at_broker(about);
	return strcmp(text_of(about, "owner"), owner_cn(w)) == 0 && strcmp(text_of(about, "mode"), "owner") == 0 &&
	       (epoch == 0 || (epoch == 1 && s->epochs[0].number == 1 && strcmp(text_of(about, "kid"), kid) == 0));
}

static int ensure_created(struct owner *w, struct owner_space *s, cJSON **about)
{
	char error[VAULT_ERROR_MAX];
	int status = owner_ask_about(w, s->topic, about);
	if (status != EXIT_DONE || (s->created && *about))
		return status;
	if (s->created) {
		complain(owner_options(w), "%s: the broker does not know it (any more), or %s does not own it there; nothing was changed", s->topic, owner_cn(w));
		return EXIT_REFUSED;
	}
	bool refused = *about && !is_ours(w, s, *about);
	if (refused)
		complain(owner_options(w), "%s: exists already", s->topic);
	if (!*about) {
		status = create(w, s);
		refused = status == EXIT_FAILED && *control_error(owner_control(w));
	}
	if (refused) { /* there is nothing to go on with */
		(void)!owner_state_remove(owner_vault(w), s->topic, error);
		return EXIT_FAILED;
	}
	if (status != EXIT_DONE)
		return status;
	s->created = true;
	status = owner_save(w, s);
	cJSON_Delete(*about);
	*about = NULL;
	return status == EXIT_DONE ? owner_ask_about(w, s->topic, about) : status;
}

/* ---- envelopes */

struct upload {
	cJSON *list;
	size_t bytes;
};

static bool add_envelope(struct upload *u, const struct owner_member *m, const uint8_t *der, size_t len)
{
	char hex[FINGERPRINT_HEX + 1], *text = malloc(base64_len(BASE64_STANDARD, len) + 1);
	cJSON *o = cJSON_CreateObject();
	*hex_put(hex, m->fingerprint, sizeof m->fingerprint) = '\0';
	if (text)
		*base64_put(BASE64_STANDARD, text, der, len) = '\0';
	bool good = cJSON_AddItemToArray(u->list, o) && text && cJSON_AddStringToObject(o, "certificate", hex) && cJSON_AddStringToObject(o, "envelope", text);
	free(text);
	u->bytes += base64_len(BASE64_STANDARD, len);
	return good;
}

static cJSON *upload_command(struct upload *u, const struct owner_space *s, const struct owner_epoch *e, bool activate)
{
	char kid[2 * KEYTREE_KID_LEN + 1];
	cJSON *command = control_command("putEnvelopes", s->topic);
	*hex_put(kid, e->kid, sizeof e->kid) = '\0';
	bool good = cJSON_AddNumberToObject(command, "epoch", e->number) && cJSON_AddStringToObject(command, "kid", kid) &&
	            cJSON_AddBoolToObject(command, "activate", activate) && cJSON_AddItemToObject(command, "envelopes", u->list);
	u->list = good ? cJSON_CreateArray() : u->list;
	u->bytes = 0;
	if (good)
		return command;
	cJSON_Delete(command);
	return NULL;
}

static int send_upload(struct owner *w, struct upload *u, const struct owner_space *s, const struct owner_epoch *e, bool activate)
{
	cJSON *command = upload_command(u, s, e, activate);
	return command ? ask(w, command) : out_of_memory(w, NULL);
}

/* An envelope for each member with a certificate; the last command makes the epoch the current one. */
static int upload_members(struct owner *w, struct upload *u, const struct owner_space *s)
{
	const struct owner_epoch *e = owner_current(s);
	for (size_t i = 0; i < s->n_members; i++) {
		const struct owner_member *m = &s->members[i];
		uint8_t *der;
		size_t len;
		if (m->until != 0 || !m->der)
			continue;
		enum err made = owner_envelope(s, m, owner_identity(w), &der, &len);
		if (made != ERR_OK) {
			complain(owner_options(w), "%s: no envelope for '%s': %s", s->topic, m->cn, err_text(made));
			return EXIT_FAILED;
		}
		bool good = add_envelope(u, m, der, len);
		free(der);
		if (!good)
			return out_of_memory(w, NULL);
		int status = u->bytes > UPLOAD_BYTES ? send_upload(w, u, s, e, false) : EXIT_DONE;
		if (status != EXIT_DONE)
			return status;
	}
	return send_upload(w, u, s, e, true);
}

static bool waits_for_key(const struct owner_space *s, const cJSON *about)
{
	const cJSON *p;
	cJSON_ArrayForEach(p, cJSON_GetObjectItemCaseSensitive(about, "pending")) {
		char hex[FINGERPRINT_HEX + 1];
		const struct owner_member *m = owner_member(s, text_of(p, "cn"));
		if (!m || !m->der)
			continue;
		*hex_put(hex, m->fingerprint, sizeof m->fingerprint) = '\0';
		if (strcmp(hex, text_of(p, "certificate")) == 0)
			return true;
	}
	return false;
}

/* The broker's epoch must be one of ours, by its kid. */
static const char *epoch_fault(const struct owner_space *s, const cJSON *about)
{
	uint32_t there = epoch_at_broker(about);
	if (there == 0)
		return NULL;
	if (there > owner_current(s)->number)
		return "the broker has a newer epoch than this machine: sealmq key import what the other one exports";
	for (size_t i = 0; i < s->n_epochs; i++) {
		char kid[2 * KEYTREE_KID_LEN + 1];
		*hex_put(kid, s->epochs[i].kid, KEYTREE_KID_LEN) = '\0';
		if (s->epochs[i].number == there)
			return strcmp(kid, text_of(about, "kid")) == 0 ? NULL : "the broker has another key of this epoch than its owner";
	}
	return "the broker's epoch is older than all that are kept here";
}

int owner_is_current(struct owner *w, const struct owner_space *s)
{
	cJSON *about;
	int status = owner_ask_about(w, s->topic, &about);
	const char *fault = status == EXIT_DONE ? epoch_fault(s, about) : NULL;
	cJSON_Delete(about);
	if (!fault)
		return status;
	complain(owner_options(w), "%s: %s; nothing was changed", s->topic, fault);
	return EXIT_REFUSED;
}

static int upload(struct owner *w, struct owner_space *s, const cJSON *about)
{
	const struct owner_epoch *now = owner_current(s);
	struct upload u = { .list = cJSON_CreateArray() };
	uint32_t there = epoch_at_broker(about);
	const char *fault = epoch_fault(s, about);
	int status = EXIT_DONE;
	if (fault) {
		complain(owner_options(w), "%s: %s; nothing was handed out", s->topic, fault);
		cJSON_Delete(u.list);
		return EXIT_REFUSED;
	}
	bool needed = there != now->number || s->sent_epoch != now->number || s->sent_list != s->list_number || waits_for_key(s, about);
	for (size_t i = 0; needed && status == EXIT_DONE && i + 1 < s->n_epochs; i++) /* epochs that were passed over while the broker was away */
		if (s->epochs[i].number > there)
			status = send_upload(w, &u, s, &s->epochs[i], true);
	if (needed && status == EXIT_DONE)
		status = upload_members(w, &u, s);
	cJSON_Delete(u.list);
	if (!needed || status != EXIT_DONE)
		return status;
	s->sent_epoch = now->number;
	s->sent_list = s->list_number;
	return owner_save(w, s);
}

/* ---- all of it */

static int delete_space(struct owner *w, const struct owner_space *s)
{
	char error[VAULT_ERROR_MAX];
	struct control *c = owner_control(w);
	enum control_result r = c ? control_ask(c, control_command("deleteTopic", s->topic), NULL) : CONTROL_FAILED;
	if (r != CONTROL_DONE && !(r == CONTROL_REFUSED && strstr(control_error(c), no_space)))
		return status_of(w, r);
	enum err e = owner_state_remove(owner_vault(w), s->topic, error);
	if (e != ERR_OK && e != ERR_NOT_FOUND) {
		complain(owner_options(w), "%s", error);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

int owner_sync(struct owner *w, struct owner_space *s)
{
	cJSON *about = NULL;
	bool changed = false;
	if (s->deleting)
		return delete_space(w, s);
	int status = ensure_created(w, s, &about);
	if (status == EXIT_DONE)
		status = remove_gone(w, s, about, &changed); /* first of all: who is to go must not get anything more */
	if (status == EXIT_DONE)
		status = add_missing(w, s, about, &changed);
	if (status == EXIT_DONE && changed) {
		cJSON_Delete(about);
		status = owner_ask_about(w, s->topic, &about);
	}
	int learned = status == EXIT_DONE ? learn_certificates(w, s, about) : status;
	if (learned == EXIT_DONE || learned == EXIT_REFUSED)
		status = upload(w, s, about);
	cJSON_Delete(about);
	return status != EXIT_DONE ? status : learned;
}
