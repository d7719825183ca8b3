/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Paho C over mutual TLS: every QoS to itself and back, a retained message, a persistent session with a queue.
 * Arguments: URI, CA, certificate, key, topic root. One line for each step; exit status 0 when all came. */
#include <MQTTClient.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PER_QOS = 10, WAIT_MS = 30000 };

static const char *uri, *ca, *cert, *key, *root;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "paho_c: %s\n", what);
	exit(1);
}

static MQTTClient client_open(const char *suffix, int clean, int *session_present)
{
	char id[128];
	MQTTClient c;
	MQTTClient_connectOptions o = MQTTClient_connectOptions_initializer;
	MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;

	snprintf(id, sizeof(id), "%s-c-%s", root, suffix);
	check(MQTTClient_create(&c, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL) == MQTTCLIENT_SUCCESS, "create");
	tls.trustStore = ca;
	tls.keyStore = cert;
	tls.privateKey = key;
	tls.verify = 1;
	o.ssl = &tls;
	o.cleansession = clean;
	o.keepAliveInterval = 20;
	o.MQTTVersion = MQTTVERSION_3_1_1;
	check(MQTTClient_connect(c, &o) == MQTTCLIENT_SUCCESS, "connect");
	if (session_present)
		*session_present = o.returned.sessionPresent;
	return c;
}

static void client_close(MQTTClient c)
{
	check(MQTTClient_disconnect(c, WAIT_MS) == MQTTCLIENT_SUCCESS, "disconnect");
	MQTTClient_destroy(&c);
}

static void send_one(MQTTClient c, const char *topic, const char *payload, int qos, int retained)
{
	MQTTClient_deliveryToken token;

	check(MQTTClient_publish(c, topic, (int)strlen(payload), payload, qos, retained, &token) == MQTTCLIENT_SUCCESS, "publish");
	check(qos == 0 || MQTTClient_waitForCompletion(c, token, WAIT_MS) == MQTTCLIENT_SUCCESS, "acknowledgement");
}

static void expect_one(MQTTClient c, const char *topic, const char *payload, int qos, int retained)
{
	char *got_topic = NULL;
	int len = 0;
	MQTTClient_message *m = NULL;

	check(MQTTClient_receive(c, &got_topic, &len, &m, WAIT_MS) == MQTTCLIENT_SUCCESS && m, "no message came");
	if (strcmp(got_topic, topic) != 0 || m->payloadlen != (int)strlen(payload) || memcmp(m->payload, payload, strlen(payload)) != 0
	    || m->qos != qos || m->retained != retained) {
		fprintf(stderr, "paho_c: wanted %s %s %d, got %s %.*s %d\n", topic, payload, qos, got_topic, m->payloadlen,
		    (char *)m->payload, m->qos);
		exit(1);
	}
	MQTTClient_freeMessage(&m);
	MQTTClient_free(got_topic);
}

int main(int argc, char **argv)
{
	char topic[128], filter[128], payload[32];
	int qos, i, present = -1;
	MQTTClient a, b;

	check(argc == 6, "usage: paho_c URI CA CERT KEY ROOT");
	uri = argv[1];
	ca = argv[2];
	cert = argv[3];
	key = argv[4];
	root = argv[5];

	a = client_open("a", 0, NULL);
	snprintf(filter, sizeof(filter), "%s/#", root);
	check(MQTTClient_subscribe(a, filter, 2) == MQTTCLIENT_SUCCESS, "subscribe");
	for (qos = 0; qos < 3; qos++) {
		snprintf(topic, sizeof(topic), "%s/%d", root, qos);
		for (i = 0; i < PER_QOS; i++) {
			snprintf(payload, sizeof(payload), "%d", i);
			send_one(a, topic, payload, qos, 0);
			expect_one(a, topic, payload, qos, 0);
		}
		printf("qos %d\n", qos);
	}
	client_close(a);

	b = client_open("b", 1, NULL);
	snprintf(topic, sizeof(topic), "%s/kept", root);
	send_one(b, topic, "kept", 1, 1);
	check(MQTTClient_subscribe(b, topic, 1) == MQTTCLIENT_SUCCESS, "subscribe");
	expect_one(b, topic, "kept", 1, 1);
	printf("retained\n");
	send_one(b, topic, "", 1, 1);
	client_close(b);

	a = client_open("a", 0, &present);
	check(present == 1, "the session is not there");
	expect_one(a, topic, "kept", 1, 0);
	expect_one(a, topic, "", 1, 0);
	printf("session\n");
	check(MQTTClient_unsubscribe(a, filter) == MQTTCLIENT_SUCCESS, "unsubscribe");
	client_close(a);
	return 0;
}
