/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/cli_control.h"

#include "base/clock.h"
#include "client/cli_link.h"

#include <mosquitto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC "$CONTROL/topics/v1"
#define RESPONSE TOPIC "/response"
#define CERTS "$CERTS/"
#define ANSWER_WAIT_MS 30000u

enum asked { NOTHING, COMMAND, CERTIFICATE };

struct control {
	const struct options *o;
	struct link *link;
	bool hears;               /* the answers' topic is subscribed to on this connection */
	int response_mid;
	enum asked asked;
	char *request, *cert_topic;
	/* the answer */
	bool answered, failed;
	cJSON *answer;            /* all of it */
	const cJSON *data;        /* views into it */
	const char *error;
	uint8_t *der;
	size_t der_len;
};

static void fail(struct control *c, const char *why)
{
	complain(c->o, "%s", why);
	c->failed = true;
}

/* What was asked, on this connection. */
static void send(struct control *c)
{
	if (!c->hears)
		return;
	if (c->asked == COMMAND)
		(void)link_publish(c->link, TOPIC, c->request, strlen(c->request), 1, false);
	else if (c->asked == CERTIFICATE)
		(void)link_subscribe(c->link, c->cert_topic, 1);
}

static void on_connected(void *ctx, bool session_present)
{
	struct control *c = ctx;
	(void)session_present;
	c->hears = false;
	c->response_mid = link_subscribe(c->link, RESPONSE, 1);
}

static void on_lost(void *ctx)
{
	struct control *c = ctx;
	c->hears = false;
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct control *c = ctx;
	bool denied = n < 1 || granted[0] > 2;
	if (mid == c->response_mid) {
		c->response_mid = -1;
		c->hears = !denied;
		if (denied)
			fail(c, "the broker does not take commands from this client, or has no key spaces");
		send(c);
	} else if (c->asked == CERTIFICATE && denied) {
		fail(c, "the broker gives no certificates to this client");
	}
}

static void take_answer(struct control *c, const struct mosquitto_message *m)
{
	c->answer = cJSON_ParseWithLength(m->payload, (size_t)m->payloadlen);
	const cJSON *one = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(c->answer, "responses"), 0);
	c->error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "error"));
	c->data = cJSON_GetObjectItemCaseSensitive(one, "data");
	if (!one && !cJSON_GetObjectItemCaseSensitive(c->answer, "responses"))
		fail(c, RESPONSE ": the answer is not what was expected");
	c->answered = true;
}

static void take_cert(struct control *c, const struct mosquitto_message *m)
{
	c->der_len = (size_t)m->payloadlen;
	c->der = malloc(c->der_len + 1);
	if (!c->der)
		fail(c, "out of memory");
	else if (c->der_len)
		memcpy(c->der, m->payload, c->der_len);
	c->answered = true;
	(void)link_unsubscribe(c->link, c->cert_topic);
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct control *c = ctx;
	if (c->answered)
		return;
	if (c->asked == COMMAND && strcmp(m->topic, RESPONSE) == 0)
		take_answer(c, m);
	else if (c->asked == CERTIFICATE && strcmp(m->topic, c->cert_topic) == 0)
		take_cert(c, m);
}

struct control *control_open(const struct options *o)
{
	static const struct link_handlers handlers = { .connected = on_connected, .lost = on_lost, .message = on_message, .subscribed = on_subscribed };
	struct control *c = calloc(1, sizeof *c);
	if (!c) {
		complain(o, "out of memory");
		return NULL;
	}
	c->o = o;
	c->link = link_new(o, &handlers, c, false);
	if (c->link)
		return c;
	control_close(c);
	return NULL;
}

static void forget(struct control *c)
{
	cJSON_Delete(c->answer);
	cJSON_free(c->request);
	free(c->cert_topic);
	free(c->der);
	c->answer = NULL;
	c->data = NULL;
	c->error = NULL;
	c->request = c->cert_topic = NULL;
	c->der = NULL;
	c->der_len = 0;
	c->answered = false;
	c->asked = NOTHING;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	if (c->link) {
		link_end(c->link);
		for (enum link_event e = LINK_GO_ON; e == LINK_GO_ON || e == LINK_READABLE;)
			e = link_wait(c->link, -1, -1);
	}
	forget(c);
	link_free(c->link);
	free(c);
}

static enum control_result wait_for_answer(struct control *c)
{
	uint64_t until = clock_mono_ms() + ANSWER_WAIT_MS;
	send(c);
	while (!c->answered && !c->failed) {
		enum link_event event = link_wait(c->link, -1, 1000);
		bool late = event == LINK_TIMEOUT || (c->o->timeout_s == 0 && clock_mono_ms() >= until);
		if (event == LINK_ENDED || late)
			complain(c->o, "%s: %s; the command may or may not have been done", c->o->host, late ? "time out: no answer" : "interrupted");
		if (event == LINK_FAILED || event == LINK_ENDED)
			return CONTROL_FAILED;
		if (late)
			return CONTROL_TIMEOUT;
	}
	return c->failed ? CONTROL_FAILED : c->error ? CONTROL_REFUSED : CONTROL_DONE;
}

enum control_result control_ask(struct control *c, cJSON *take_command, const cJSON **data)
{
	cJSON *root = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(root, "commands");
	forget(c);
	bool good = list && cJSON_AddItemToArray(list, take_command);
	if (!good)
		cJSON_Delete(take_command);
	c->request = good ? cJSON_PrintUnformatted(root) : NULL;
	cJSON_Delete(root);
	if (!c->request) {
		complain(c->o, "out of memory");
		return CONTROL_FAILED;
	}
	c->asked = COMMAND;
	enum control_result r = wait_for_answer(c);
	if (data)
		*data = c->data;
	return r;
}

const char *control_error(const struct control *c)
{
	return c->error ? c->error : "";
}

enum control_result control_cert(struct control *c, const char *name, const uint8_t **der, size_t *len)
{
	forget(c);
	if (asprintf(&c->cert_topic, CERTS "%s", name) < 0) {
		c->cert_topic = NULL;
		complain(c->o, "out of memory");
		return CONTROL_FAILED;
	}
	c->asked = CERTIFICATE;
	enum control_result r = wait_for_answer(c);
	*der = c->der;
	*len = c->der_len;
	return r;
}

cJSON *control_command(const char *command, const char *topic)
{
	cJSON *o = cJSON_CreateObject();
	if (o && cJSON_AddStringToObject(o, "command", command) && (!topic || cJSON_AddStringToObject(o, "topic", topic)))
		return o;
	cJSON_Delete(o);
	return NULL;
}
