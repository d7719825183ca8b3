/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq topic: one command of docs/control.md to the broker, and its answer; where this identity owns the key space (mode owner), what client/owner makes of it. */
#include "client/cli_control.h"
#include "client/cmd.h"
#include "client/cmd_topic_int.h"

#include "base/textfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct action {
	const char *name, *command;
	bool needs_topic, needs_members, needs_cn;
	const char *usage;
};
static const struct action actions[] = {
	{ "create", "createTopic", true, false, false, "create TOPIC [--mode M] [--signatures P] [--member CN]... [--history N] …" },
	{ "delete", "deleteTopic", true, false, false, "delete TOPIC                 its keys are destroyed" },
	{ "add", "addMembers", true, true, false, "add TOPIC --member CN [--member-cert FILE]..." },
	{ "remove", "removeMember", true, false, true, "remove TOPIC CN" },
	{ "admit", NULL, true, false, false, "admit TOPIC [CN]             mode owner: keys for whose certificate is known now" },
	{ "rotate", "rotateKey", true, false, false, "rotate TOPIC                 a new key from now on" },
	{ "history", "setHistory", true, false, false, "history TOPIC [--history N] [--history-age SPAN] [--history-bytes SIZE]" },
	{ "list", "listTopics", false, false, false, "list" },
	{ "show", "getTopic", true, false, false, "show TOPIC" },
};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

/* ---- the command */

/* "CN:read" in its two parts; the access is one of three words, so a CN may hold a colon. */
const char *topic_split_access(const char *text, size_t *name_len)
{
	const char *colon = strrchr(text, ':');
	bool is = colon && (strcmp(colon + 1, "read") == 0 || strcmp(colon + 1, "write") == 0 || strcmp(colon + 1, "readwrite") == 0);
	*name_len = is ? (size_t)(colon - text) : strlen(text);
	return is ? colon + 1 : NULL;
}

static bool add_text(cJSON *object, const char *name, const char *text, size_t len)
{
	char *copy = strndup(text, len);
	bool good = copy && cJSON_AddStringToObject(object, name, copy);
	free(copy);
	return good;
}

/* A member by its CN, or by the certificate in a file. */
static bool add_member(cJSON *list, const char *text, bool by_file)
{
	size_t len, file_len = 0;
	const char *access = topic_split_access(text, &len);
	char *path = strndup(text, len), *pem = by_file && path ? textfile_read(path, &file_len, stderr) : NULL;
	cJSON *m = path && (pem || !by_file) ? cJSON_CreateObject() : NULL;
	bool good = m && (by_file ? add_text(m, "certificate", pem, file_len) : add_text(m, "cn", text, len)) &&
	            (!access || cJSON_AddStringToObject(m, "access", access));
	free(path);
	free(pem);
	if (good)
		cJSON_AddItemToArray(list, m);
	else
		cJSON_Delete(m);
	return good;
}

static bool add_members(cJSON *command, const struct options *o)
{
	cJSON *list = cJSON_AddArrayToObject(command, "members");
	for (size_t i = 0; i < o->members.n; i++)
		if (!add_member(list, o->members.items[i], false))
			return false;
	for (size_t i = 0; i < o->member_certs.n; i++)
		if (!add_member(list, o->member_certs.items[i], true))
			return false;
	return list != NULL;
}

static void add_number(cJSON *object, const char *name, int64_t value)
{
	if (value >= 0)
		cJSON_AddNumberToObject(object, name, (double)value);
}

void topic_add_history(cJSON *command, const struct options *o, bool always)
{
	if (!always && o->history_count < 0 && o->history_age_s < 0 && o->history_bytes < 0)
		return;
	cJSON *h = cJSON_AddObjectToObject(command, "history");
	add_number(h, "count", o->history_count);
	add_number(h, "age", o->history_age_s);
	add_number(h, "bytes", o->history_bytes);
}

static void add_settings(cJSON *command, const struct options *o)
{
	if (o->mode)
		cJSON_AddStringToObject(command, "mode", o->mode);
	if (o->sign_policy)
		cJSON_AddStringToObject(command, "sign", o->sign_policy);
	if (o->new_members)
		cJSON_AddStringToObject(command, "newMembers", o->new_members);
	topic_add_history(command, o, false);
	add_number(command, "rotateAge", o->rotate_age_s);
	add_number(command, "rotateCount", o->rotate_count);
}

/* NULL: a file that cannot be read, printed; or no memory. */
static cJSON *command_of(const struct action *a, const struct options *o)
{
	cJSON *command = control_command(a->command, a->needs_topic ? o->words.items[1] : NULL);
	bool good = command != NULL;
	if (good && a->needs_cn)
		good = cJSON_AddStringToObject(command, "cn", o->words.items[2]) != NULL;
	if (good && (a->needs_members || o->members.n || o->member_certs.n))
		good = add_members(command, o);
	if (good && strcmp(a->name, "create") == 0)
		add_settings(command, o);
	if (good && strcmp(a->name, "history") == 0)
		topic_add_history(command, o, true);
	if (good)
		return command;
	cJSON_Delete(command);
	return NULL;
}

/* ---- the answer */

static const char *text_of(const cJSON *o, const char *name)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
	return s ? s : "-";
}

static double number_of(const cJSON *o, const char *name)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);
	return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

static void print_list(const cJSON *data)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(data, "topics");
	printf("%-32s %-7s %-9s %6s %8s  %s\n", "TOPIC", "MODE", "SIGN", "EPOCH", "MEMBERS", "OWNER");
	for (const cJSON *t = list ? list->child : NULL; t; t = t->next)
		printf("%-32s %-7s %-9s %6.0f %8.0f  %s\n", text_of(t, "topic"), text_of(t, "mode"), text_of(t, "sign"), number_of(t, "epoch"),
		       number_of(t, "members"), text_of(t, "owner"));
}

void topic_print(const cJSON *data)
{
	const cJSON *history = cJSON_GetObjectItemCaseSensitive(data, "history"), *members = cJSON_GetObjectItemCaseSensitive(data, "members"),
		    *pending = cJSON_GetObjectItemCaseSensitive(data, "pending");
	printf("topic        %s\nmode         %s\nsignatures   %s\nowner        %s\nnew members  %s\nepoch        %.0f, key id %s\n", text_of(data, "topic"),
	       text_of(data, "mode"), text_of(data, "sign"), text_of(data, "owner"), text_of(data, "newMembers"), number_of(data, "epoch"), text_of(data, "kid"));
	if (history)
		printf("history      count %.0f, age %.0f s, bytes %.0f (0: no limit of that kind)\n", number_of(history, "count"), number_of(history, "age"),
		       number_of(history, "bytes"));
	if (number_of(data, "rotateAge") > 0 || number_of(data, "rotateCount") > 0)
		printf("rotation     after %.0f s, %.0f messages (0: never)\n", number_of(data, "rotateAge"), number_of(data, "rotateCount"));
	for (const cJSON *m = members ? members->child : NULL; m; m = m->next)
		printf("member       %s  %s  since epoch %.0f  certificate %.16s%s\n", text_of(m, "cn"), text_of(m, "access"), number_of(m, "since"),
		       text_of(m, "certificate"), cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(m, "pinned")) ? " alone" : "");
	for (const cJSON *m = pending ? pending->child : NULL; m; m = m->next)
		printf("pending      %s  has no key of this epoch yet\n", text_of(m, "cn"));
}

void topic_print_json(const cJSON *data)
{
	char *text = data ? cJSON_Print(data) : NULL;
	puts(text ? text : "{}");
	cJSON_free(text);
}

static bool print_data(const struct action *a, const struct options *o, const cJSON *data)
{
	if (o->json) {
		topic_print_json(data);
	} else if (strcmp(a->name, "list") == 0) {
		print_list(data);
	} else if (strcmp(a->name, "show") == 0 || strcmp(a->name, "create") == 0) {
		topic_print(data);
	} else if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(data, "epoch"))) {
		printf("%s: done, epoch %.0f\n", o->words.items[1], number_of(data, "epoch"));
	} else {
		printf("%s: done\n", o->words.items[1]);
	}
	return fflush(stdout) == 0;
}

/* ---- running */

static int ask_broker(const struct action *a, const struct options *o, cJSON *take_command)
{
	const cJSON *data;
	struct control *c = control_open(o);
	if (!c) {
		cJSON_Delete(take_command);
		return EXIT_FAILED;
	}
	int status = EXIT_FAILED;
	switch (control_ask(c, take_command, &data)) {
	case CONTROL_DONE: status = print_data(a, o, data) ? EXIT_DONE : EXIT_FAILED; break;
	case CONTROL_REFUSED: complain(o, "%s", control_error(c)); break;
	case CONTROL_TIMEOUT: status = EXIT_TIMEOUT; break;
	case CONTROL_FAILED: break;
	}
	control_close(c);
	return status;
}

static void usage(void)
{
	for (int i = 0; i < ACTIONS; i++)
		printf("%s sealmq topic %s\n", i ? "      " : "usage:", actions[i].usage);
	puts("Manages key spaces: a topic with all below it, its members and keys.\n");
	options_print(FOR_TOPIC);
}

/* The action, with what it needs behind it; NULL: printed. */
static const struct action *find_action(const struct options *o)
{
	const struct action *a = NULL;
	for (int i = 0; o->words.n > 0 && i < ACTIONS; i++)
		if (strcmp(actions[i].name, o->words.items[0]) == 0)
			a = &actions[i];
	size_t expected = a ? 1u + a->needs_topic + a->needs_cn : 0, more = a && !a->command ? 1 : 0; /* admit may have a CN */
	if (!a)
		fputs("sealmq topic: expected create, delete, add, remove, admit, rotate, history, list or show\n", stderr);
	else if (o->words.n < expected || o->words.n > expected + more || (a->needs_members && o->members.n + o->member_certs.n == 0))
		fprintf(stderr, "sealmq topic: expected: sealmq topic %s\n", a->usage);
	else
		return a;
	return NULL;
}

static int command(struct options *o)
{
	const struct action *a = find_action(o);
	int status;
	if (!a)
		return EXIT_USAGE;
	if (a->needs_topic && topic_owner_command(a->name, o, &status))
		return status;
	cJSON *request = command_of(a, o);
	return request ? ask_broker(a, o, request) : EXIT_USAGE;
}

int cmd_topic(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_TOPIC, argc, argv, &help)) {
		if (help)
			usage();
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
