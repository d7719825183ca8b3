/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq topic for key spaces whose keys are made here (mode owner): the command line's words for client/owner. */
#include "client/cmd_topic_int.h"

#include "base/textfile.h"
#include "client/cmd.h"
#include "client/owner.h"
#include "client/owner_sync.h"
#include "client/vaultfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WISHES_MAX = 2 * OPTIONS_LIST_MAX };

/* ---- members */

struct wishes {
	struct owner_wish list[WISHES_MAX];
	char *owned[2 * WISHES_MAX]; /* names and certificates */
	size_t n, n_owned;
};

static void free_wishes(struct wishes *w)
{
	while (w->n_owned > 0)
		free(w->owned[--w->n_owned]);
}

static void *keep(struct wishes *w, void *p)
{
	if (p)
		w->owned[w->n_owned++] = p;
	return p;
}

static unsigned access_of(const char *text)
{
	return text && strcmp(text, "read") == 0 ? MEMBER_READ : text && strcmp(text, "write") == 0 ? MEMBER_WRITE : MEMBER_READ | MEMBER_WRITE;
}

/* The certificate in a file, whose CN is the member's. */
static bool read_certificate(const struct options *o, const char *path, struct wishes *w, struct owner_wish *out)
{
	size_t len = 0;
	struct cert c;
	struct der cn;
	const char *why = "expected one certificate in PEM";
	char *pem = textfile_read(path, &len, stderr);
	if (!pem)
		return false;
	uint8_t *der = keep(w, malloc(len + 1));
	bool good = der && keys_cert_from_pem(&c, der, pem, len) == ERR_OK && cert_common_name(&c, &cn, &why) == ERR_OK;
	free(pem);
	out->cn = good ? keep(w, strndup((const char *)cn.p, der_len(cn))) : NULL;
	if (!out->cn) {
		complain(o, "%s: %s", path, good ? "out of memory" : why);
		return false;
	}
	out->der = c.whole.p;
	out->der_len = der_len(c.whole);
	return true;
}

static bool add_wish(const struct options *o, const char *text, bool by_file, struct wishes *w)
{
	size_t len;
	const char *access = topic_split_access(text, &len);
	struct owner_wish *m = &w->list[w->n++];
	char *name = keep(w, strndup(text, len));
	*m = (struct owner_wish){ .cn = name, .access = access_of(access) };
	if (!name)
		return false;
	if (by_file)
		return read_certificate(o, name, w, m);
	const char *fault = cert_name_fault(der_of(name, len));
	if (fault)
		complain(o, "--member: %s", fault);
	return !fault;
}

static bool read_wishes(const struct options *o, struct wishes *w)
{
	for (size_t i = 0; i < o->members.n; i++)
		if (!add_wish(o, o->members.items[i], false, w))
			return false;
	for (size_t i = 0; i < o->member_certs.n; i++)
		if (!add_wish(o, o->member_certs.items[i], true, w))
			return false;
	return true;
}

/* ---- create */

static bool sign_of(const char *text, enum seal_sign *out)
{
	*out = text && strcmp(text, "off") == 0 ? SIGN_OFF : text && strcmp(text, "required") == 0 ? SIGN_REQUIRED : SIGN_OPTIONAL;
	return !text || *out != SIGN_OPTIONAL || strcmp(text, "optional") == 0;
}

/* What the broker alone has to do with, as a JSON object; NULL: none. */
static char *settings_of(const struct options *o)
{
	cJSON *object = cJSON_CreateObject();
	topic_add_history(object, o, false);
	char *text = object && object->child ? cJSON_PrintUnformatted(object) : NULL;
	cJSON_Delete(object);
	return text;
}

static int create(struct owner *w, const struct options *o)
{
	struct wishes wishes = { .n = 0 };
	struct owner_spec spec = { .topic = o->words.items[1], .members = wishes.list };
	const char *fault = o->rotate_age_s >= 0 || o->rotate_count >= 0 ? "--rotate-age, --rotate-count: an owner turns the key by sealmq topic rotate"
	                    : !sign_of(o->sign_policy, &spec.sign) ? "--signatures: expected off, optional or required"
	                    : o->new_members && strcmp(o->new_members, "see-past") != 0 && strcmp(o->new_members, "from-join") != 0
	                        ? "--new-members: expected see-past or from-join" : NULL;
	if (fault) {
		fprintf(stderr, "sealmq topic: %s\n", fault);
		return EXIT_USAGE;
	}
	char *settings = settings_of(o);
	spec.from_join = o->new_members && strcmp(o->new_members, "from-join") == 0;
	spec.settings = settings;
	int status = read_wishes(o, &wishes) ? EXIT_DONE : EXIT_USAGE;
	spec.n_members = wishes.n;
	if (status == EXIT_DONE)
		status = owner_space_create(w, &spec);
	free_wishes(&wishes);
	cJSON_free(settings);
	return status;
}

/* ---- the others */

static int add(struct owner *w, const struct options *o)
{
	struct wishes wishes = { .n = 0 };
	int status = read_wishes(o, &wishes) ? EXIT_DONE : EXIT_USAGE;
	if (status == EXIT_DONE)
		status = owner_space_add(w, o->words.items[1], wishes.list, wishes.n);
	free_wishes(&wishes);
	return status;
}

static int show(struct owner *w, const struct options *o, bool compare)
{
	cJSON *about;
	bool agree = true;
	int status = owner_ask_about(w, o->words.items[1], &about);
	if (status == EXIT_DONE && !about) {
		complain(o, "%s: there is no such key space", o->words.items[1]);
		return EXIT_FAILED;
	}
	if (status != EXIT_DONE)
		return status;
	if (o->json) {
		topic_print_json(about);
	} else {
		topic_print(about);
		if (compare)
			status = owner_space_compare(w, o->words.items[1], about, &agree);
	}
	cJSON_Delete(about);
	return status != EXIT_DONE ? status : agree ? EXIT_DONE : EXIT_REFUSED;
}

static void say_done(struct owner *w, const struct options *o)
{
	const char *topic = o->words.items[1];
	uint32_t epoch = owner_epoch_of(w, topic);
	if (o->json && epoch)
		printf("{\"epoch\": %u}\n", epoch);
	else if (o->json)
		puts("{}");
	else if (epoch)
		printf("%s: done, epoch %u\n", topic, epoch);
	else
		printf("%s: done\n", topic);
}

static int run(struct owner *w, const char *action, const struct options *o)
{
	const char *topic = o->words.items[1], *cn = o->words.n > 2 ? o->words.items[2] : NULL;
	if (strcmp(action, "show") == 0)
		return show(w, o, true);
	int status = strcmp(action, "create") == 0   ? create(w, o)
	             : strcmp(action, "add") == 0    ? add(w, o)
	             : strcmp(action, "remove") == 0 ? owner_space_remove(w, topic, cn)
	             : strcmp(action, "rotate") == 0 ? owner_space_rotate(w, topic)
	             : strcmp(action, "admit") == 0  ? owner_space_admit(w, topic, cn)
	                                             : owner_space_delete(w, topic);
	if (status == EXIT_DONE && strcmp(action, "create") == 0)
		return show(w, o, false);
	if (status == EXIT_DONE)
		say_done(w, o);
	return status;
}

bool topic_owner_command(const char *action, const struct options *o, int *status)
{
	bool creates = strcmp(action, "create") == 0, own = strcmp(action, "admit") == 0;
	if (creates ? !o->mode || strcmp(o->mode, "owner") != 0 : strcmp(action, "history") == 0)
		return false;
	if (!creates && !own && (!options_can_seal(o) || !vault_any("owner")))
		return false; /* nobody owns anything on this machine */
	struct owner *w = owner_open(o);
	*status = EXIT_FAILED;
	if (!w)
		return true;
	int found = EXIT_DONE;
	bool ours = creates || own || owner_has(w, o->words.items[1], &found) || found != EXIT_DONE;
	if (ours)
		*status = found != EXIT_DONE ? found : run(w, action, o);
	owner_close(w);
	return ours;
}
