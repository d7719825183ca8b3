/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of packet types and reasons, for log lines. */
#include "mqtt/mqtt.h"

const char *mqtt_type_name(enum mqtt_type type)
{
	static const char names[][12] = {
		"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
		"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	};
	return names[(unsigned)type < 16 ? type : 0];
}

const char *mqtt_reason_text(enum mqtt_reason reason)
{
	switch (reason) {
	case MQTT_OK: return "success";
	case MQTT_GRANTED_QOS1: return "granted QoS 1";
	case MQTT_GRANTED_QOS2: return "granted QoS 2";
	case MQTT_DISCONNECT_WITH_WILL: return "disconnect with will message";
	case MQTT_NO_MATCHING_SUBSCRIBERS: return "no matching subscribers";
	case MQTT_NO_SUBSCRIPTION_EXISTED: return "no subscription existed";
	case MQTT_CONTINUE_AUTHENTICATION: return "continue authentication";
	case MQTT_REAUTHENTICATE: return "re-authenticate";
	case MQTT_UNSPECIFIED: return "unspecified error";
	case MQTT_MALFORMED: return "malformed packet";
	case MQTT_PROTOCOL_ERROR: return "protocol error";
	case MQTT_IMPLEMENTATION_ERROR: return "implementation specific error";
	case MQTT_UNSUPPORTED_VERSION: return "unsupported protocol version";
	case MQTT_BAD_CLIENT_ID: return "client identifier not valid";
	case MQTT_BAD_USER: return "bad user name or password";
	case MQTT_NOT_AUTHORIZED: return "not authorized";
	case MQTT_SERVER_UNAVAILABLE: return "server unavailable";
	case MQTT_SERVER_BUSY: return "server busy";
	case MQTT_BANNED: return "banned";
	case MQTT_SERVER_SHUTTING_DOWN: return "server shutting down";
	case MQTT_BAD_AUTHENTICATION_METHOD: return "bad authentication method";
	case MQTT_KEEPALIVE_TIMEOUT: return "keep alive timeout";
	case MQTT_SESSION_TAKEN_OVER: return "session taken over";
	case MQTT_TOPIC_FILTER_INVALID: return "topic filter invalid";
	case MQTT_TOPIC_NAME_INVALID: return "topic name invalid";
	case MQTT_PACKET_ID_IN_USE: return "packet identifier in use";
	case MQTT_PACKET_ID_NOT_FOUND: return "packet identifier not found";
	case MQTT_RECEIVE_MAXIMUM_EXCEEDED: return "receive maximum exceeded";
	case MQTT_TOPIC_ALIAS_INVALID: return "topic alias invalid";
	case MQTT_PACKET_TOO_LARGE: return "packet too large";
	case MQTT_MESSAGE_RATE_TOO_HIGH: return "message rate too high";
	case MQTT_QUOTA_EXCEEDED: return "quota exceeded";
	case MQTT_ADMINISTRATIVE_ACTION: return "administrative action";
	case MQTT_PAYLOAD_FORMAT_INVALID: return "payload format invalid";
	case MQTT_RETAIN_NOT_SUPPORTED: return "retain not supported";
	case MQTT_QOS_NOT_SUPPORTED: return "QoS not supported";
	case MQTT_USE_ANOTHER_SERVER: return "use another server";
	case MQTT_SERVER_MOVED: return "server moved";
	case MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: return "shared subscriptions not supported";
	case MQTT_CONNECTION_RATE_EXCEEDED: return "connection rate exceeded";
	case MQTT_MAXIMUM_CONNECT_TIME: return "maximum connect time";
	case MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED: return "subscription identifiers not supported";
	case MQTT_WILDCARDS_NOT_SUPPORTED: return "wildcard subscriptions not supported";
	case MQTT_NEED_MORE: return "more bytes needed";
	}
	return "unknown reason";
}
