/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of keys, and looking names up in it. */
#include "conf/keys.h"

#include "conf/conf.h"
#include "topics/history_policy.h"
#include "topics/topic.h"

#include <string.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)
#define TIB (KIB * GIB)
#define DAY_S UINT64_C(86400)
#define PACKET_MAX UINT64_C(268435460) /* the largest that MQTT's remaining length can say, with its header [MQTT 2.2.3] */

#define G(member) .scope = KEY_GLOBAL, .offset = offsetof(struct conf, member)
#define L(member) .scope = KEY_LISTENER, .offset = offsetof(struct conf_listener, member)
#define FILE_PATH .type = KEY_TEXT, .max = 4095, .expect = "a file path"
#define DIR_PATH .type = KEY_TEXT, .max = 4095, .expect = "a directory"
#define BOOLEAN .type = KEY_BOOL
#define RANGE(t, a, b) .type = (t), .min = (a), .max = (b)
#define ONE_OF(t, ...) .type = (t), .words = (const char *const[]){ __VA_ARGS__, NULL }
#define ONLY(name_, value, why) { .name = (name_), .class = KEY_FIXED, .fixed = (value), .reason = (why) }
#define HARMLESS(name_, why) { .name = (name_), .class = KEY_HARMLESS, .reason = (why) }
#define REFUSED(name_, why) { .name = (name_), .class = KEY_REFUSED, .reason = (why) }
#define BRIDGE(name_) REFUSED(name_, "bridges to other brokers are not supported")

static const char by_certificate[] = "a client's name is the CN of its certificate, so there are no passwords to check";
static const char no_plugins[] = "plugins are not supported; the certificate is the identity, acl_file says what it may do";
static const char no_psk[] = "pre-shared keys are not supported; clients have certificates";
static const char always_saved[] = "what was acknowledged is in the store already; nothing is saved at intervals";

const struct conf_key conf_keys[] = {
	/* listeners */
	{ "listener", .type = KEY_LISTENER_LINE, .expect = "a port from 1 to 65535, then perhaps an address to bind to" },
	{ "port", .type = KEY_PORT, .min = 1, .max = 65535 },
	{ "bind_address", .type = KEY_BIND_ADDRESS, .expect = "an IP address or host name" },
	{ "socket_domain", .type = KEY_SOCKET_DOMAIN, .scope = KEY_LISTENER, .words = (const char *const[]){ "ipv4", "ipv6", NULL } },
	{ "max_connections", .type = KEY_MAX_CONNECTIONS, .expect = "a number from 1 to 4294967295, or -1" },
	{ "cafile", L(cafile), FILE_PATH },
	{ "capath", L(capath), DIR_PATH },
	{ "certfile", L(certfile), FILE_PATH },
	{ "keyfile", L(keyfile), FILE_PATH },
	{ "crlfile", L(crlfile), FILE_PATH },
	{ "crl_expired", L(crl_expired_ok), ONE_OF(KEY_WORD_BOOL, "fail", "warn") },
	{ "ciphers", L(ciphers), .type = KEY_TEXT, .max = 4095, .expect = "cipher names with ':' between" },
	{ "ciphers_tls1.3", L(ciphers_tls13), .type = KEY_TEXT, .max = 4095, .expect = "cipher suite names with ':' between" },
	{ "tls_version", L(tls12), ONE_OF(KEY_WORD_BOOL, "tlsv1.3", "tlsv1.2") },
	{ "require_matching_username", L(require_matching_username), BOOLEAN },
	ONLY("require_certificate", "true", "the certificate is the identity; for tests on this machine there is allow_plaintext_loopback"),
	ONLY("use_identity_as_username", "true", "a client's name is the CN of its certificate, whatever CONNECT says"),
	ONLY("use_subject_as_username", "false", "a client's name is the CN of its certificate, never the whole subject"),
	ONLY("use_username_as_clientid", "false", "a session belongs to the identity that opened it, so no client can take another's"),
	ONLY("protocol", "mqtt", "only MQTT over TLS is spoken"),
	ONLY("max_qos", "2", "every listener offers QoS 0, 1 and 2"),
	ONLY("maximum_qos", "2", "every listener offers QoS 0, 1 and 2"),
	ONLY("disable_client_cert_date_checks", "false", "an expired certificate identifies nobody"),
	ONLY("listener_allow_anonymous", "false", "every client proves who it is by its certificate"),
	ONLY("tls_keyform", "pem", "keys are read from PEM files"),
	REFUSED("bind_interface", "bind to the interface's address: listener PORT ADDRESS"),
	REFUSED("accept_protocol_versions", "every listener speaks MQTT 3.1 and 3.1.1"),
	REFUSED("listener_auto_id_prefix", "auto_id_prefix holds for all listeners"),
	REFUSED("enable_proxy_protocol", "the PROXY protocol is not supported; TLS ends here, not in a proxy"),
	REFUSED("proxy_protocol_v2_require_tls", "the PROXY protocol is not supported; TLS ends here, not in a proxy"),
	REFUSED("global_max_connections", "it would be a limit that is not kept; use max_connections before the first listener line"),
	REFUSED("global_max_clients", "it would be a limit that is not kept; use max_connections and persistent_client_expiration"),
	REFUSED("mount_point", "a topic has one name for everybody; give each group topics of its own and an acl_file"),
	REFUSED("tls_engine", "OpenSSL engines are not supported; keys are read from PEM files"),
	REFUSED("tls_engine_kpass_sha1", "OpenSSL engines are not supported; keys are read from PEM files"),
	REFUSED("psk_hint", no_psk),
	REFUSED("psk_file", no_psk),
	HARMLESS("dhparamfile", "key exchange is ephemeral ECDH, which has no parameter file"),
	HARMLESS("max_topic_alias", "only MQTT 5 has topic aliases"),
	HARMLESS("max_topic_alias_broker", "only MQTT 5 has topic aliases"),
	HARMLESS("http_dir", "no HTTP is served"),
	HARMLESS("websockets_log_level", "WebSocket is not spoken"),
	HARMLESS("websockets_headers_size", "WebSocket is not spoken"),
	HARMLESS("websockets_origin", "WebSocket is not spoken"),
	HARMLESS("packet_buffer_size", "buffers belong to the loops, not to connections"),

	/* who may do what */
	{ "acl_file", G(acl_file), FILE_PATH },
	{ "topics_file", G(topics_file), FILE_PATH },
	{ "pin", .type = KEY_PIN, .expect = "a CN, then the SHA-256 of its public key in 64 hexadecimal digits" },
	{ "clientid_pattern", .type = KEY_CLIENTID_PATTERN, .max = 256,
		.expect = "a text of at most 256 bytes where %u stands for the CN and * for any text" },
	{ "certificate_expired", G(keep_expired), ONE_OF(KEY_WORD_BOOL, "disconnect", "keep") },
	{ "direct_messages", G(direct_messages), RANGE(KEY_NUMBER, 0, 1000000) },
	{ "topic_admin", .type = KEY_TOPIC_ADMIN, .expect = "a common name of at most 256 bytes" },
	{ "allow_plaintext_loopback", G(allow_plaintext_loopback), BOOLEAN },
	{ "allow_zero_length_clientid", G(allow_zero_length_clientid), BOOLEAN },
	{ "auto_id_prefix", G(auto_id_prefix), .type = KEY_TEXT, .max = 200, .expect = "a text of at most 200 bytes" },
	ONLY("allow_anonymous", "false", "every client proves who it is by its certificate"),
	ONLY("per_listener_settings", "false", "one acl_file and one set of rules hold for all listeners"),
	ONLY("enable_control_api", "false", "mosquitto's $CONTROL/broker/v1 is not offered"),
	REFUSED("password_file", by_certificate),
	REFUSED("auth_plugin", no_plugins),
	REFUSED("auth_opt_*", no_plugins),
	REFUSED("plugin", no_plugins),
	REFUSED("plugin_opt_*", no_plugins),
	REFUSED("global_plugin", no_plugins),
	REFUSED("plugin_load", no_plugins),
	REFUSED("plugin_use", no_plugins),
	REFUSED("clientid_prefixes", "it would be a restriction that is not kept; a session belongs to the identity that opened it"),
	HARMLESS("auth_plugin_deny_special_chars", "there are no plugins, and a CN with '+', '#' or '/' is refused always"),
	HARMLESS("check_retain_source",
		"a retained message is judged by its receiver's rights alone; clear it when its publisher's right is withdrawn"),

	/* messages and sessions */
	{ "max_inflight_messages", G(max_inflight_messages), RANGE(KEY_NUMBER, 0, 65535) },
	{ "max_queued_messages", G(max_queued_messages), RANGE(KEY_NUMBER, 0, UINT32_MAX) },
	{ "max_queued_bytes", G(max_queued_bytes), RANGE(KEY_SIZE64, 0, TIB) },
	{ "max_queued_memory", G(max_queued_memory), RANGE(KEY_SIZE64, 64 * KIB, TIB) },
	{ "queue_full", G(queue_full), ONE_OF(KEY_WORD, "end-session", "reject", "drop-oldest") },
	{ "publish_wait", G(publish_wait_s), RANGE(KEY_SECONDS, 0, 3600) },
	{ "max_packet_size", G(max_packet_size), RANGE(KEY_SIZE32, 20, PACKET_MAX) },
	{ "max_connect_packet_size", G(max_connect_packet_size), RANGE(KEY_SIZE32, 64, PACKET_MAX) },
	{ "max_keepalive", G(max_keepalive_s), RANGE(KEY_SECONDS, 10, 65535) },
	{ "max_topic_levels", G(max_topic_levels), RANGE(KEY_NUMBER, 1, TOPIC_LEVELS_MAX) },
	{ "max_retained_messages", G(max_retained_messages), RANGE(KEY_COUNT, 0, UINT64_MAX) },
	{ "max_subscriptions_per_client", G(max_subscriptions_per_client), RANGE(KEY_NUMBER, 0, UINT32_MAX) },
	{ "max_wildcard_shapes", G(max_wildcard_shapes), RANGE(KEY_NUMBER, 1, 1000) },
	{ "persistent_client_expiration", G(persistent_client_expiration_s), .type = KEY_EXPIRY },
	{ "handshake_timeout", G(handshake_timeout_s), RANGE(KEY_SECONDS, 1, 3600) },
	{ "max_handshakes_per_minute", G(max_handshakes_per_minute), RANGE(KEY_NUMBER, 0, 600000) },
	{ "max_unfinished_handshakes", G(max_unfinished_handshakes), RANGE(KEY_NUMBER, 0, UINT32_MAX) },
	{ "known_certificates", G(known_certificates), RANGE(KEY_NUMBER, 0, 10000000) },
	{ "max_connections_per_identity", G(max_connections_per_identity), RANGE(KEY_NUMBER, 0, UINT32_MAX) },
	{ "max_connects_per_minute", G(max_connects_per_minute), RANGE(KEY_NUMBER, 0, 1000000) },
	{ "max_messages_per_second", G(max_messages_per_second), RANGE(KEY_NUMBER, 0, 1000000000) },
	{ "max_bytes_per_second", G(max_bytes_per_second), RANGE(KEY_SIZE64, 0, TIB) },
	{ "packet_timeout", G(packet_timeout_s), RANGE(KEY_SECONDS, 0, DAY_S) },
	{ "max_partial_packet_memory", G(max_partial_packet_memory), RANGE(KEY_SIZE64, 0, TIB) },
	{ "wills_at_shutdown", G(wills_at_shutdown), BOOLEAN },
	{ "will_grace", G(will_grace_s), RANGE(KEY_SECONDS, 0, 7 * DAY_S) },
	{ "retain_available", G(retain_available), BOOLEAN },
	{ "set_tcp_nodelay", G(set_tcp_nodelay), BOOLEAN },
	{ "sys_interval", G(sys_interval_s), RANGE(KEY_SECONDS, 0, 65535) },
	ONLY("message_size_limit", "0", "a message that is too large would be acknowledged and lost; use max_packet_size"),
	ONLY("upgrade_outgoing_qos", "false", "MQTT delivers with the lower of both QoS [MQTT-3.8.4-6]"),
	HARMLESS("queue_qos0_messages", "QoS 0 is never queued for a client that is away, as MQTT says"),
	HARMLESS("max_inflight_bytes", "max_inflight_messages and max_packet_size bound what is in flight"),
	HARMLESS("memory_limit", "max_connections, max_packet_size and max_queued_memory bound the memory"),
	HARMLESS("allow_duplicate_messages", "overlapping subscriptions are delivered as MQTT says"),
	HARMLESS("retry_interval", "messages are sent again at reconnection alone, as MQTT says"),
	HARMLESS("retain_expiry_interval", "only MQTT 5's messages expire"),

	/* store */
	{ "store", G(store), ONE_OF(KEY_WORD, "lmdb", "memory") },
	{ "persistence", G(store), .type = KEY_PERSISTENCE },
	{ "store_dir", G(store_dir), DIR_PATH },
	{ "persistence_location", G(store_dir), DIR_PATH },
	{ "store_max_size", G(store_max_size), RANGE(KEY_SIZE64, 16 * MIB, 1024 * TIB) },
	{ "store_memory_delay_ms", G(store_memory_delay_ms), RANGE(KEY_NUMBER, 0, 60000) },
	{ "durability", G(durability), ONE_OF(KEY_WORD, "strict", "relaxed", "off") },
	{ "sync_interval_ms", G(sync_interval_ms), RANGE(KEY_NUMBER, 1, 3600000) },
	{ "master_key_file", G(master_key_file), FILE_PATH },
	{ "history", .type = KEY_HISTORY, .filter = true, .max = UINT64_MAX, .offset = offsetof(struct history_limits, count),
		.expect = "a number of messages (0: keep none), then a topic filter" },
	{ "history_age", .type = KEY_HISTORY, .filter = true, .min = 1, .max = 100000 * DAY_S, .offset = offsetof(struct history_limits, age_s),
		.expect = "seconds, as a number with perhaps s, m, h, d, w or y behind it, then a topic filter" },
	{ "history_bytes", .type = KEY_HISTORY, .filter = true, .min = 1, .max = 1024 * TIB, .offset = offsetof(struct history_limits, bytes),
		.expect = "a size as a number with perhaps K, M, G or T behind it, then a topic filter" },
	HARMLESS("persistence_file", "the store's files have fixed names in store_dir"),
	HARMLESS("autosave_interval", always_saved),
	HARMLESS("autosave_on_changes", always_saved),
	HARMLESS("retained_persistence", "the old name of persistence: use store"),
	HARMLESS("store_clean_interval", "the store frees what nothing refers to at once"),

	/* the process */
	{ "user", G(user), .type = KEY_TEXT, .max = 255, .expect = "a user's name" },
	{ "pid_file", G(pid_file), FILE_PATH },
	{ "threads", G(threads), RANGE(KEY_NUMBER, 0, 16) },
	{ "busy_delay_us", G(busy_delay_us), RANGE(KEY_NUMBER, 0, 10000) },
	{ "reload_on_change", G(reload_on_change), BOOLEAN },
	{ "audit_log", G(audit_log), FILE_PATH },
	{ "audit_log_max_size", G(audit_log_max_size), .type = KEY_SIZE64, .max = TIB },
	{ "audit_log_max_age", G(audit_log_max_age_s), RANGE(KEY_SECONDS, 0, 3650 * DAY_S) },
	{ "audit_checkpoint_lines", G(audit_checkpoint_lines), RANGE(KEY_NUMBER, 1, 1000000) },
	{ "include_dir", .type = KEY_INCLUDE_DIR, .max = 4095, .expect = "a directory" },
	{ "log_dest", .type = KEY_LOG_DEST, .expect = "stderr, file PATH, syslog or none" },
	{ "log_type", .type = KEY_LOG_TYPE, .expect = "error, warning, notice, information, debug, all or none" },
	{ "log_format", .offset = offsetof(struct conf, log) + offsetof(struct log_conf, json), ONE_OF(KEY_WORD_BOOL, "text", "json") },
	HARMLESS("log_timestamp", "every line has its time"),
	HARMLESS("log_timestamp_format", "times are UTC in the form of RFC 3339"),
	HARMLESS("log_facility", "syslog lines go to the facility daemon"),
	HARMLESS("connection_messages", "connections are always logged; log_type chooses what is written"),

	/* bridges */
	BRIDGE("connection"), BRIDGE("address"), BRIDGE("addresses"), { .name = "topic", .class = KEY_REFUSED, .filter = true,
		.reason = "bridges to other brokers are not supported (topics of clients: acl_file)" },
	BRIDGE("cleansession"), BRIDGE("local_cleansession"), BRIDGE("clientid"), BRIDGE("remote_clientid"), BRIDGE("local_clientid"),
	BRIDGE("username"), BRIDGE("remote_username"), BRIDGE("local_username"), BRIDGE("password"), BRIDGE("remote_password"),
	BRIDGE("local_password"), BRIDGE("keepalive_interval"), BRIDGE("idle_timeout"), BRIDGE("restart_timeout"), BRIDGE("round_robin"),
	BRIDGE("start_type"), BRIDGE("threshold"), BRIDGE("try_private"), BRIDGE("notifications"), BRIDGE("notifications_local_only"),
	BRIDGE("notification_topic"), BRIDGE("bridge_*"),
};
const size_t conf_n_keys = sizeof conf_keys / sizeof conf_keys[0];

static bool names_key(const struct conf_key *key, const char *name, size_t len)
{
	size_t n = strlen(key->name);
	if (key->name[n - 1] == '*')
		return len >= n - 1 && memcmp(key->name, name, n - 1) == 0;
	return len == n && memcmp(key->name, name, n) == 0;
}

const struct conf_key *conf_key_find(const char *name, size_t len)
{
	for (size_t i = 0; i < conf_n_keys; i++)
		if (names_key(&conf_keys[i], name, len))
			return &conf_keys[i];
	return NULL;
}

#define NAME_MAX_LEN 40u /* longer than any key */

/* Levenshtein's distance; both at most NAME_MAX_LEN bytes. */
static unsigned edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned row[NAME_MAX_LEN + 1];
	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b_len];
}

const struct conf_key *conf_key_nearest(const char *name, size_t len)
{
	const struct conf_key *nearest = NULL;
	unsigned best = 3;
	if (len > NAME_MAX_LEN)
		return NULL;
	for (size_t i = 0; i < conf_n_keys; i++) {
		size_t n = strlen(conf_keys[i].name);
		if (conf_keys[i].class == KEY_REFUSED || n > NAME_MAX_LEN || n > len + 2 || len > n + 2)
			continue;
		unsigned d = edit_distance(name, len, conf_keys[i].name, n);
		if (d < best && d < n / 2) /* two edits make any short word of any other */
			best = d, nearest = &conf_keys[i];
	}
	return nearest;
}
