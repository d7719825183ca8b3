/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libsealmq beside Eclipse Paho C: publishes one sealed message on a topic, and prints what comes there, its own included.
 *
 *   paho_sealed ssl://localhost:8883 ca.crt me.crt me.key TOPIC TEXT
 *
 * Paho moves bytes; libsealmq makes and opens them. The three loops below are all there is to it: wait for the key, seal and publish, open. */
#include <MQTTClient.h>
#include <sealmq.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 10000UL

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "paho_sealed: %s: %s\n", what, why);
	return 1;
}

static MQTTClient client;
static struct sealmq *member;

/* Subscribes; 0 when the broker has granted it. */
static int subscribe(const char *prefix, const char *topic)
{
	char filter[512];
	snprintf(filter, sizeof filter, "%s%s", prefix, topic);
	int rc = MQTTClient_subscribe(client, filter, 1);
	return rc == MQTTCLIENT_SUCCESS ? 0 : fail(filter, "the broker refuses the subscription");
}

/* The next message; NULL after WAIT_MS. *topic is for MQTTClient_free, the message for MQTTClient_freeMessage. */
static MQTTClient_message *receive(char **topic)
{
	MQTTClient_message *m = NULL;
	int len;
	return MQTTClient_receive(client, topic, &len, &m, WAIT_MS) == MQTTCLIENT_SUCCESS ? m : NULL;
}

/* Gives libsealmq what the broker sent on $KEYS/… or $CERTS/…. */
static enum sealmq_err take(const char *topic, const MQTTClient_message *m)
{
	if (strncmp(topic, "$KEYS/", 6) == 0)
		return sealmq_take_keys(member, topic + 6, m->payload, (size_t)m->payloadlen);
	return sealmq_take_cert(member, m->payload, (size_t)m->payloadlen);
}

/* Subscribes to what libsealmq wants, and waits for it. */
static int fetch(const char *wanted)
{
	char *topic, name[512];
	snprintf(name, sizeof name, "%s", wanted);
	if (subscribe("", name) != 0)
		return 1;
	for (MQTTClient_message *m; (m = receive(&topic));) {
		int is_it = strcmp(topic, name) == 0;
		enum sealmq_err e = is_it ? take(topic, m) : SEALMQ_OK; /* an application would put others aside */
		MQTTClient_free(topic);
		MQTTClient_freeMessage(&m);
		if (is_it)
			return e == SEALMQ_OK ? 0 : fail(name, sealmq_reason(member));
	}
	return fail(name, "nothing has come");
}

static int publish(const char *topic, const char *text)
{
	char sealed_topic[512];
	size_t cap = sealmq_sealed_size(member, strlen(text)), len = 0;
	unsigned char *sealed = malloc(cap);
	enum sealmq_err e = sealed ? sealmq_seal(member, topic, text, strlen(text), 0, sealed, cap, &len) : SEALMQ_NOMEM;
	snprintf(sealed_topic, sizeof sealed_topic, "$SEALED/%s", topic);
	int rc = e == SEALMQ_OK ? MQTTClient_publish(client, sealed_topic, (int)len, sealed, 1, 0, NULL) : MQTTCLIENT_FAILURE;
	free(sealed);
	return rc == MQTTCLIENT_SUCCESS ? 0 : fail(topic, sealmq_err_text(e));
}

/* Opens and prints one message; fetches the sender's certificate if it is new. */
static int show(const char *topic, const MQTTClient_message *m)
{
	struct sealmq_message about;
	unsigned flags = m->retained ? SEALMQ_FROM_PAST : 0;
	unsigned char *plain = malloc((size_t)m->payloadlen + 1);
	if (!plain)
		return fail(topic, "out of memory");
	enum sealmq_err e = sealmq_open(member, topic, m->payload, (size_t)m->payloadlen, flags, plain, (size_t)m->payloadlen, &about);
	if ((e == SEALMQ_NEED_CERT || e == SEALMQ_NEED_KEYS) && fetch(sealmq_wanted(member)) == 0)
		e = sealmq_open(member, topic, m->payload, (size_t)m->payloadlen, flags, plain, (size_t)m->payloadlen, &about);
	if (e == SEALMQ_OK)
		printf("%s, %s: %.*s\n", about.sender, sealmq_verdict_text(about.verdict), (int)about.len, (char *)plain);
	free(plain);
	return e == SEALMQ_OK ? 0 : fail(topic, e == SEALMQ_REFUSED ? sealmq_reason(member) : sealmq_err_text(e));
}

static int run(const char *topic, const char *text)
{
	char keys[512], *from;
	snprintf(keys, sizeof keys, "$KEYS/%s", topic);
	if (sealmq_connected(member) != SEALMQ_OK || fetch(keys) != 0 || subscribe("$SEALED/", topic) != 0 || publish(topic, text) != 0)
		return 1;
	for (MQTTClient_message *m; (m = receive(&from));) {
		int rc = 0, sealed = strncmp(from, "$SEALED/", 8) == 0;
		if (sealed)
			rc = show(from + 8, m);
		else if (take(from, m) != SEALMQ_OK)
			rc = fail(from, sealmq_reason(member));
		MQTTClient_free(from);
		MQTTClient_freeMessage(&m);
		if (sealed || rc != 0)
			return rc;
	}
	return fail(topic, "nothing has come");
}

int main(int argc, char **argv)
{
	char why[256];
	MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
	MQTTClient_connectOptions connect = MQTTClient_connectOptions_initializer;
	if (argc != 7)
		return fail("usage", "paho_sealed URI CAFILE CERT KEY TOPIC TEXT");
	const struct sealmq_options o = { .cafile = argv[2], .certfile = argv[3], .keyfile = argv[4] };
	if (sealmq_open_member(&member, &o, why, sizeof why) != SEALMQ_OK)
		return fail("sealmq", why);
	tls.trustStore = argv[2];
	tls.keyStore = argv[3];
	tls.privateKey = argv[4];
	tls.verify = 1;
	connect.ssl = &tls;
	connect.cleansession = 1;
	int rc = MQTTClient_create(&client, argv[1], "", MQTTCLIENT_PERSISTENCE_NONE, NULL);
	if (rc == MQTTCLIENT_SUCCESS)
		rc = MQTTClient_connect(client, &connect);
	rc = rc == MQTTCLIENT_SUCCESS ? run(argv[5], argv[6]) : fail(argv[1], "no connection");
	MQTTClient_disconnect(client, 1000);
	MQTTClient_destroy(&client);
	sealmq_close(member);
	return rc;
}
