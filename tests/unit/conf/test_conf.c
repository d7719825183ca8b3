/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The configuration parser: classes, values, listeners, comments, errors, files. */
#include "base/textfile.h"
#include "conf/conf.h"
#include "conf/keys.h"
#include "conf/parse.h"
#include "conf/value.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *messages; /* of the last parse */
static size_t messages_len;
static struct conf *conf; /* its result */

static void forget(void)
{
	conf_free(conf);
	conf = NULL;
	free(messages);
	messages = NULL;
}

static struct conf *parse_bytes(const char *text, size_t len)
{
	forget();
	FILE *f = open_memstream(&messages, &messages_len);
	ck_assert_ptr_nonnull(f);
	conf = conf_parse(text, len, "x.conf", f);
	ck_assert_int_eq(fclose(f), 0);
	return conf;
}

static struct conf *parse(const char *text) { return parse_bytes(text, strlen(text)); }

static struct conf *load(const char *path)
{
	forget();
	FILE *f = open_memstream(&messages, &messages_len);
	ck_assert_ptr_nonnull(f);
	conf = conf_load(path, f);
	ck_assert_int_eq(fclose(f), 0);
	return conf;
}

static void good(const char *text)
{
	ck_assert_msg(parse(text) != NULL, "refused: %s: %s", text, messages);
	ck_assert_str_eq(messages, "");
}

/* Refused, with exactly these messages. */
static void bad(const char *text, const char *expected)
{
	ck_assert_msg(parse(text) == NULL, "accepted: %s", text);
	ck_assert_str_eq(messages, expected);
}

static void bad_with(const char *text, const char *part)
{
	ck_assert_msg(parse(text) == NULL, "accepted: %s", text);
	ck_assert_msg(strstr(messages, part) != NULL, "no \"%s\" in: %s", part, messages);
}

static void warned(const char *text, const char *expected)
{
	ck_assert_msg(parse(text) != NULL, "refused: %s: %s", text, messages);
	ck_assert_str_eq(messages, expected);
}

#define TLS "cafile ca\ncertfile crt\nkeyfile key\n"

START_TEST(no_file_gives_the_documented_defaults)
{
	struct conf *c = load(NULL);
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(messages, "");
	ck_assert_ptr_null(c->path);
	ck_assert_uint_eq(c->n_listeners, 1);
	ck_assert_uint_eq(c->listeners[0].port, 8883);
	ck_assert_ptr_null(c->listeners[0].address);
	ck_assert_int_eq(c->listeners[0].family, 0);
	ck_assert(!c->listeners[0].plaintext);
	ck_assert(c->listeners[0].tls12);
	ck_assert_str_eq(c->listeners[0].cafile, "certs/ca.crt");
	ck_assert_str_eq(c->listeners[0].certfile, "certs/server.crt");
	ck_assert_str_eq(c->listeners[0].keyfile, "certs/server.key");
	ck_assert_uint_eq(c->max_connections, 100000);
	ck_assert(!c->max_connections_given);
	ck_assert_uint_eq(c->max_inflight_messages, 100);
	ck_assert_uint_eq(c->max_queued_messages, 1000000);
	ck_assert_uint_eq(c->max_queued_bytes, 1073741824);
	ck_assert_uint_eq(c->max_queued_memory, 67108864);
	ck_assert_uint_eq(c->max_packet_size, 16777216);
	ck_assert_uint_eq(c->max_connect_packet_size, 131072);
	ck_assert_uint_eq(c->max_keepalive_s, 65535);
	ck_assert_uint_eq(c->max_topic_levels, 200);
	ck_assert_uint_eq(c->max_wildcard_shapes, 100);
	ck_assert_uint_eq(c->persistent_client_expiration_s, 0);
	ck_assert_uint_eq(c->handshake_timeout_s, 10);
	ck_assert_int_eq((int)c->queue_full, CONF_QUEUE_END_SESSION);
	ck_assert(!c->allow_plaintext_loopback && !c->wills_at_shutdown);
	ck_assert(c->retain_available && c->allow_zero_length_clientid && c->set_tcp_nodelay);
	ck_assert_str_eq(c->auto_id_prefix, "auto-");
	ck_assert_uint_eq(c->sys_interval_s, 10);
	ck_assert_uint_eq(c->threads, 0);
	ck_assert_uint_eq(c->busy_delay_us, 150);
	ck_assert_str_eq(c->store_dir, "/var/lib/sealmq");
	ck_assert_int_eq((int)c->durability, CONF_STRICT);
	ck_assert_ptr_null(c->user);
	ck_assert_ptr_null(c->acl_file);
	ck_assert_uint_eq(c->log.level_mask, LOG_ERROR | LOG_WARNING | LOG_NOTICE | LOG_INFO);
	ck_assert(c->log.to_stderr && !c->log.to_syslog && !c->log.json);
	ck_assert_ptr_null(c->log.file);
}
END_TEST

START_TEST(mosquitto_style_file_loads_unchanged)
{
	struct conf *c = load("conf/mosquitto-style.conf");
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(messages, "");
	ck_assert_uint_eq(c->n_listeners, 1);
	ck_assert_uint_eq(c->listeners[0].port, 8883);
	ck_assert_uint_eq(c->listeners[0].line, 1);
	ck_assert_str_eq(c->listeners[0].cafile, "certs/ca.crt");
	ck_assert_str_eq(c->listeners[0].keyfile, "certs/server.key");
}
END_TEST

START_TEST(sample_file_loads_without_a_warning)
{
	struct conf *c = load("conf/sealmq.conf");
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(messages, "");
	ck_assert_str_eq(c->path, "conf/sealmq.conf");
	ck_assert_int_eq((int)c->store, CONF_STORE_LMDB);
}
END_TEST

START_TEST(comments_end_values)
{
	good("# first\n   # indented\n\t#\n" TLS "user u # trailing\nauto_id_prefix a#b\npid_file /p\t# tab\n\n \t \r\nsys_interval 5\r\n");
	ck_assert_str_eq(conf->user, "u");
	ck_assert_str_eq(conf->auto_id_prefix, "a#b");
	ck_assert_str_eq(conf->pid_file, "/p");
	ck_assert_uint_eq(conf->sys_interval_s, 5);
	bad("user # nobody\n", "x.conf:1: user: has no value; expected a user's name\n");
}
END_TEST

START_TEST(values_keep_their_inner_spaces)
{
	good("\xEF\xBB\xBF" "acl_file  \t /etc/my acl.conf  \nlog_dest file  /var/log/a b.log \nlistener  1883   ::1\n" TLS);
	ck_assert_str_eq(conf->acl_file, "/etc/my acl.conf");
	ck_assert_str_eq(conf->log_file, "/var/log/a b.log");
	ck_assert_str_eq(conf->log.file, "/var/log/a b.log");
	ck_assert_str_eq(conf->listeners[0].address, "::1");
}
END_TEST

START_TEST(a_line_without_an_end_counts) { good(TLS "threads 3"); ck_assert_uint_eq(conf->threads, 3); }
END_TEST

START_TEST(listener_keys_belong_to_the_listener_above)
{
	good(TLS "tls_version tlsv1.3\nmax_connections 7\n"
		"listener 8883\nmax_connections 5\n"
		"listener 8884 192.0.2.1\ncertfile other\ntls_version tlsv1.2\nsocket_domain ipv4\nrequire_matching_username true\nciphers A:B\nciphers_tls1.3 C\n"
		"listener 8885 ::\nsocket_domain ipv6\ncapath /ca\ncrlfile crl\nmax_connections -1\nsys_interval 3\n");
	const struct conf_listener *l = conf->listeners;
	ck_assert_uint_eq(conf->n_listeners, 3);
	ck_assert_uint_eq(conf->max_connections, 7);
	ck_assert(conf->max_connections_given);
	ck_assert_uint_eq(conf->sys_interval_s, 3);
	ck_assert_uint_eq(l[0].port, 8883);
	ck_assert_uint_eq(l[0].max_connections, 5);
	ck_assert_str_eq(l[0].certfile, "crt");
	ck_assert(!l[0].tls12);
	ck_assert_str_eq(l[1].address, "192.0.2.1");
	ck_assert_str_eq(l[1].certfile, "other");
	ck_assert_str_eq(l[1].keyfile, "key");
	ck_assert_str_eq(l[1].ciphers, "A:B");
	ck_assert_str_eq(l[1].ciphers_tls13, "C");
	ck_assert(l[1].tls12 && l[1].require_matching_username);
	ck_assert_int_eq(l[1].family, 4);
	ck_assert_str_eq(l[2].address, "::");
	ck_assert_str_eq(l[2].capath, "/ca");
	ck_assert_str_eq(l[2].crlfile, "crl");
	ck_assert_str_eq(l[2].certfile, "crt");
	ck_assert_int_eq(l[2].family, 6);
	ck_assert_uint_eq(l[2].max_connections, 0);
	ck_assert(!l[2].require_matching_username);
	ck_assert_ptr_null(l[2].ciphers);
}
END_TEST

START_TEST(port_and_bind_address_make_a_further_listener)
{
	good(TLS "listener 8883\nport 1884\nbind_address 192.0.2.9\n");
	ck_assert_uint_eq(conf->n_listeners, 2);
	ck_assert_uint_eq(conf->listeners[1].port, 1884);
	ck_assert_str_eq(conf->listeners[1].address, "192.0.2.9");
	ck_assert_uint_eq(conf->listeners[1].line, 5);
	good("bind_address localhost\n");
	ck_assert_uint_eq(conf->n_listeners, 1);
	ck_assert_uint_eq(conf->listeners[0].port, 8883);
	ck_assert_str_eq(conf->listeners[0].address, "localhost");
	bad("port 0\nbind_address a b\n", "x.conf:1: port: \"0\" is not valid; expected a number from 1 to 65535\n"
		"x.conf:2: bind_address: \"a b\" is not valid; expected an IP address or host name\n");
}
END_TEST

START_TEST(bad_listeners_are_refused)
{
	bad_with("listener 0 /tmp/socket\n", "x.conf:1: listener: \"0 /tmp/socket\" is not valid; expected a port from 1 to 65535");
	bad_with("listener\n", "x.conf:1: listener: has no value;");
	bad_with("listener 65536\n", "not valid");
	bad_with("listener 8883 a b\n", "not valid");
	bad_with("listener x\n", "not valid");
	bad(TLS "listener 8883\nlistener 8884\nlistener 8883\nsocket_domain ipv4\n",
		"x.conf:6: listener: another listener has this port and address already\n");
	good(TLS "listener 8883\nsocket_domain ipv4\nlistener 8883\nsocket_domain ipv6\nlistener 8883 127.0.0.1\n");
	bad_with("listener 8883\ncertfile a\nkeyfile b\n", "x.conf:1: cafile: missing");
	bad_with("\nlistener 8883\ncertfile a\ncafile b\n", "x.conf:2: keyfile: missing");
	bad_with("listener 8883\nkeyfile a\ncafile b\n", "x.conf:1: certfile: missing");
	bad_with("cafile b\n", "x.conf: listener: refused");
}
END_TEST

START_TEST(plain_listeners_are_for_loopback_and_asked_for)
{
	bad_with("listener 1883 127.0.0.1\n", "x.conf:1: listener: refused: without certfile, keyfile and cafile it would be plain text");
	bad_with("allow_plaintext_loopback true\nlistener 1883\n", "x.conf:2: listener: refused: plain text is allowed on loopback alone");
	bad_with("allow_plaintext_loopback true\nlistener 1883 192.0.2.1\n", "x.conf:2: listener: refused");
	bad_with("allow_plaintext_loopback true\nlistener 1883 localhost\n", "x.conf:2: listener: refused");
	good("listener 1883 127.0.0.1\nlistener 1884 127.1.2.3\nlistener 1885 ::1\nallow_plaintext_loopback true\n");
	ck_assert(conf->listeners[0].plaintext && conf->listeners[1].plaintext && conf->listeners[2].plaintext);
	good("allow_plaintext_loopback 1\nlistener 1883 127.0.0.1\nlistener 8883\n" TLS);
	ck_assert(conf->listeners[0].plaintext && !conf->listeners[1].plaintext);
}
END_TEST

START_TEST(loopback_is_what_it_says)
{
	static const char *const yes[] = { "127.0.0.1", "127.255.255.255", "127.0.0.0", "::1" };
	static const char *const no[] = { "", "127", "127.0.0", "127.0.0.1.", "127.0.0.1.1", "128.0.0.1", "127.0.0.256", "127.0.0.01", "0127.0.0.1",
		"127.0.0.1 ", "127..0.1", "::", "::1%lo", "::ffff:127.0.0.1", "localhost", "0.0.0.0", "127.0.0.99999999999999999999" };
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		ck_assert_msg(value_is_loopback(yes[i]), "%s", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		ck_assert_msg(!value_is_loopback(no[i]), "%s", no[i]);
}
END_TEST

START_TEST(addresses_are_checked_where_they_stand)
{
	static const char *const yes[] = { "0.0.0.0", "192.0.2.255", "::", "::1", "fe80::1%eth0", "::ffff:192.0.2.1", "localhost", "a-b.example.org", "1a" };
	static const char *const no[] = { "", "300.1.2.3", "1.2.3", "1.2.3.4.5", "1.2.3.4.", "01.2.3.4", "1..2.3", "a b", "[::1]", "*", "x:y", "/tmp/socket" };
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		ck_assert_msg(value_is_address(yes[i], strlen(yes[i])), "%s", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		ck_assert_msg(!value_is_address(no[i], strlen(no[i])), "%s", no[i]);
	bad_with("listener 8883 300.1.2.3\n", "x.conf:1: listener: \"8883 300.1.2.3\" is not valid; expected a port from 1 to 65535");
}
END_TEST

START_TEST(every_supported_value_reaches_its_member)
{
	good(TLS "max_inflight_messages 0\nmax_queued_messages 0\nmax_queued_bytes 0\nmax_queued_memory 1M\nqueue_full drop-oldest\n"
		"max_packet_size 20\nmax_connect_packet_size 64KiB\nmax_keepalive 1h\nmax_topic_levels 12\nmax_wildcard_shapes 7\n"
		"max_retained_messages 18446744073709551615\nmax_subscriptions_per_client 4294967295\npersistent_client_expiration 2m\n"
		"handshake_timeout 60s\nwills_at_shutdown true\nretain_available false\nset_tcp_nodelay false\nsys_interval 0\n"
		"store lmdb\nstore_dir /s\nstore_max_size 2T\nstore_memory_delay_ms 20\ndurability relaxed\nsync_interval_ms 50\n"
		"master_key_file /k\nuser root\npid_file /p\nthreads 16\nbusy_delay_us 0\nlog_format json\nallow_zero_length_clientid false\n"
		"auto_id_prefix x-\nacl_file /a\ndirect_messages 7\n");
	ck_assert_uint_eq(conf->direct_messages, 7);
	ck_assert_uint_eq(conf->max_inflight_messages, 65535);
	ck_assert_uint_eq(conf->max_queued_messages, 0);
	ck_assert_uint_eq(conf->max_queued_bytes, 0);
	ck_assert_uint_eq(conf->max_queued_memory, 1048576);
	ck_assert_int_eq((int)conf->queue_full, CONF_QUEUE_DROP_OLDEST);
	ck_assert_uint_eq(conf->max_packet_size, 20);
	ck_assert_uint_eq(conf->max_connect_packet_size, 65536);
	ck_assert_uint_eq(conf->max_keepalive_s, 3600);
	ck_assert_uint_eq(conf->max_topic_levels, 12);
	ck_assert_uint_eq(conf->max_wildcard_shapes, 7);
	ck_assert(conf->max_retained_messages == UINT64_MAX);
	ck_assert_uint_eq(conf->max_subscriptions_per_client, UINT32_MAX);
	ck_assert_uint_eq(conf->persistent_client_expiration_s, 60 * 86400);
	ck_assert_uint_eq(conf->handshake_timeout_s, 60);
	ck_assert(conf->wills_at_shutdown && !conf->retain_available && !conf->set_tcp_nodelay && !conf->allow_zero_length_clientid);
	ck_assert_uint_eq(conf->sys_interval_s, 0);
	ck_assert_int_eq((int)conf->store, CONF_STORE_LMDB);
	ck_assert_str_eq(conf->store_dir, "/s");
	ck_assert_uint_eq(conf->store_max_size, UINT64_C(2) << 40);
	ck_assert_uint_eq(conf->store_memory_delay_ms, 20);
	ck_assert_int_eq((int)conf->durability, CONF_RELAXED);
	ck_assert_uint_eq(conf->sync_interval_ms, 50);
	ck_assert_str_eq(conf->master_key_file, "/k");
	ck_assert_str_eq(conf->user, "root");
	ck_assert_str_eq(conf->pid_file, "/p");
	ck_assert_uint_eq(conf->threads, 16);
	ck_assert_uint_eq(conf->busy_delay_us, 0);
	ck_assert(conf->log.json);
	ck_assert_str_eq(conf->auto_id_prefix, "x-");
	ck_assert_str_eq(conf->acl_file, "/a");
}
END_TEST

START_TEST(mosquittos_names_for_the_store)
{
	good("persistence true\npersistence_location /var/lib/x\n");
	ck_assert_int_eq((int)conf->store, CONF_STORE_LMDB);
	ck_assert_str_eq(conf->store_dir, "/var/lib/x");
	good("persistence 0\nqueue_full reject\ndurability off\n");
	ck_assert_int_eq((int)conf->store, CONF_STORE_MEMORY);
	ck_assert_int_eq((int)conf->queue_full, CONF_QUEUE_REJECT);
	ck_assert_int_eq((int)conf->durability, CONF_OFF);
}
END_TEST

START_TEST(bad_values_name_the_value_and_what_was_expected)
{
	bad("max_inflight_messages 65536\n", "x.conf:1: max_inflight_messages: \"65536\" is not valid; expected a number from 0 to 65535\n");
	bad("threads -1\n", "x.conf:1: threads: \"-1\" is not valid; expected a number from 0 to 16\n");
	bad("retain_available yes\n", "x.conf:1: retain_available: \"yes\" is not valid; expected true or false\n");
	bad("persistence maybe\n", "x.conf:1: persistence: \"maybe\" is not valid; expected true or false\n");
	bad("max_packet_size 16 MB\n", "x.conf:1: max_packet_size: \"16 MB\" is not valid; expected 20 to 268435460 bytes, as a number with "
		"perhaps K, M, G or T behind it (64K)\n");
	bad_with("max_packet_size 257M\n", "\"257M\" is not valid");
	bad_with("max_queued_bytes 99999999999999999999\n", "is not valid");
	bad_with("max_queued_bytes 18446744073709551615T\n", "is not valid");
	bad("handshake_timeout 0\n", "x.conf:1: handshake_timeout: \"0\" is not valid; expected 1 to 3600 seconds, as a number with perhaps "
		"s, m, h, d, w or y behind it (90s, 5m)\n");
	bad("persistent_client_expiration 14\n", "x.conf:1: persistent_client_expiration: \"14\" is not valid; expected a number and s, h, d, w, "
		"m (month) or y (14d), or 0 for never\n");
	bad_with("persistent_client_expiration 0d\n", "not valid");
	bad_with("persistent_client_expiration 1001y\n", "not valid");
	bad("durability lazy\n", "x.conf:1: durability: \"lazy\" is not valid; expected strict, relaxed or off\n");
	bad("store disk\n", "x.conf:1: store: \"disk\" is not valid; expected lmdb or memory\n");
	bad("tls_version tlsv1.1\n", "x.conf:1: tls_version: \"tlsv1.1\" is not valid; expected tlsv1.3 or tlsv1.2\n");
	bad("socket_domain ipv5\n", "x.conf:1: socket_domain: \"ipv5\" is not valid; expected ipv4 or ipv6\n");
	bad("max_connections -2\n", "x.conf:1: max_connections: \"-2\" is not valid; expected a number from 1 to 4294967295, or -1\n");
	bad("log_type loud\n", "x.conf:1: log_type: \"loud\" is not valid; expected error, warning, notice, information, debug, all or none\n");
	bad("log_dest file\n", "x.conf:1: log_dest: \"file\" is not valid; expected stderr, file PATH, syslog or none\n");
	bad("log_dest printer\n", "x.conf:1: log_dest: \"printer\" is not valid; expected stderr, file PATH, syslog or none\n");
	bad_with("threads \x01\"\\\xC3\xA9\n", "threads: \"\\x01\\x22\\x5C\xC3\xA9\" is not valid");
}
END_TEST

START_TEST(long_values_are_cut_in_messages)
{
	char text[5200] = "auto_id_prefix ";
	memset(text + 15, 'a', 5000);
	bad_with(text, "a...\" is not valid; expected a text of at most 200 bytes");
	ck_assert_uint_lt(messages_len, 300);
}
END_TEST

#define ZEROS "00000000000000000000000000000000000000000000000000000000000000"

START_TEST(pins_take_a_name_and_a_hash)
{
	struct conf *c = parse("pin pump 7 (north)  " ZEROS "fF\npin pump " ZEROS "01\t# its key\npin pump " ZEROS "02\n" TLS "listener 8883\n");
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(messages, "");
	ck_assert_uint_eq(c->n_pins, 3);
	ck_assert_str_eq(c->pins[0].cn, "pump 7 (north)");
	ck_assert_uint_eq(c->pins[0].key[31], 0xff);
	ck_assert_str_eq(c->pins[2].cn, "pump");
	ck_assert_uint_eq(c->pins[2].key[31], 2);
	bad_with("pin " ZEROS "01\n", "expected a CN, then the SHA-256 of its public key in 64 hexadecimal digits");
	bad_with("pin pump " ZEROS "0\n", "is not valid");
	bad_with("pin pump " ZEROS "0g\n", "is not valid");
	bad_with("pin\n", "has no value");
}
END_TEST

START_TEST(client_id_patterns_know_one_placeholder)
{
	struct conf *c = parse("clientid_pattern %u\nclientid_pattern %u/*\n" TLS "listener 8883\n");
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->n_clientid_patterns, 2);
	ck_assert_str_eq(c->clientid_patterns[1], "%u/*");
	bad_with("clientid_pattern %c-*\n", "where %u stands for the CN and * for any text");
	bad_with("clientid_pattern a%\n", "is not valid");
}
END_TEST

START_TEST(what_happens_at_an_end_is_chosen)
{
	struct conf *c = parse(TLS "crl_expired warn\nlistener 8883\nlistener 8884\ncrl_expired fail\ncertificate_expired keep\nreload_on_change true\n");
	ck_assert_ptr_nonnull(c);
	ck_assert(c->listeners[0].crl_expired_ok && !c->listeners[1].crl_expired_ok);
	ck_assert(c->keep_expired && c->reload_on_change);
	c = parse(TLS "listener 8883\n");
	ck_assert(!c->listeners[0].crl_expired_ok && !c->keep_expired && !c->reload_on_change);
	bad("crl_expired ignore\n", "x.conf:1: crl_expired: \"ignore\" is not valid; expected fail or warn\n");
}
END_TEST

START_TEST(unknown_keys_name_the_nearest)
{
	bad("max_inflight_mesages 3\n", "x.conf:1: max_inflight_mesages: unknown key; did you mean max_inflight_messages?\n");
	bad("cafle x\n", "x.conf:1: cafle: unknown key; did you mean cafile?\n");
	bad("Listener 8883\n", "x.conf:1: Listener: unknown key; did you mean listener?\n");
	bad("frobnicate 1\n", "x.conf:1: frobnicate: unknown key; docs/configuration.md lists them all\n");
	bad("passwordfile x\n", "x.conf:1: passwordfile: unknown key; docs/configuration.md lists them all\n");
	bad("us 1\n", "x.conf:1: us: unknown key; docs/configuration.md lists them all\n");
	bad_with("\x02key\x7F 1\n", "x.conf:1: \\x02key\\x7F: unknown key");
}
END_TEST

START_TEST(every_problem_is_reported)
{
	bad("nokey\n\nthreads x\nallow_anonymous true\nconnection c\n",
		"x.conf:1: nokey: unknown key; docs/configuration.md lists them all\n"
		"x.conf:3: threads: \"x\" is not valid; expected a number from 0 to 16\n"
		"x.conf:4: allow_anonymous: \"true\" is refused: every client proves who it is by its certificate; expected false\n"
		"x.conf:5: connection: refused: bridges to other brokers are not supported\n");
}
END_TEST

START_TEST(every_fixed_key_takes_its_value_alone)
{
	for (size_t i = 0; i < conf_n_keys; i++) {
		char line[200];
		if (conf_keys[i].class != KEY_FIXED)
			continue;
		(void)snprintf(line, sizeof line, "%s %s # as it is\n", conf_keys[i].name, conf_keys[i].fixed);
		good(line);
		(void)snprintf(line, sizeof line, "%s other\n", conf_keys[i].name);
		bad_with(line, "\"other\" is refused: ");
		ck_assert_ptr_nonnull(strstr(messages, conf_keys[i].reason));
		(void)snprintf(line, sizeof line, "%s\n", conf_keys[i].name);
		bad_with(line, "no value is refused: ");
	}
	good("allow_anonymous 0\nrequire_certificate 1\n");
	bad_with("allow_anonymous 1\n", "refused");
	bad_with("require_certificate false\n", "refused");
	bad_with("use_identity_as_username false\n", "refused");
	bad_with("protocol websockets\n", "refused");
}
END_TEST

START_TEST(every_harmless_key_warns_once)
{
	for (size_t i = 0; i < conf_n_keys; i++) {
		char line[200], expected[300];
		if (conf_keys[i].class != KEY_HARMLESS)
			continue;
		(void)snprintf(line, sizeof line, "%s 1\n", conf_keys[i].name);
		(void)snprintf(expected, sizeof expected, "x.conf:1: warning: %s: has no effect: %s\n", conf_keys[i].name, conf_keys[i].reason);
		warned(line, expected);
	}
}
END_TEST

START_TEST(every_refused_key_says_why)
{
	for (size_t i = 0; i < conf_n_keys; i++) {
		char line[200], expected[300];
		if (conf_keys[i].class != KEY_REFUSED)
			continue;
		(void)snprintf(line, sizeof line, "%s x\n", conf_keys[i].name);
		(void)snprintf(expected, sizeof expected, "x.conf:1: %s: refused: %s\n", conf_keys[i].name, conf_keys[i].reason);
		bad(line, expected);
	}
	bad_with("auth_opt_host db\n", "x.conf:1: auth_opt_host: refused: plugins");
	bad_with("bridge_cafile x\n", "x.conf:1: bridge_cafile: refused: bridges");
}
END_TEST

START_TEST(every_key_is_complete_and_in_the_manual)
{
	static const char *const classes[] = { "supported", "fixed", "harmless", "refused" };
	size_t len = 0, rows = 0;
	char *doc = textfile_read("docs/configuration.md", &len, stderr);
	ck_assert_ptr_nonnull(doc);
	char *text = strndup(doc, len);
	for (size_t i = 0; i < conf_n_keys; i++) {
		const struct conf_key *key = &conf_keys[i];
		char row[200];
		ck_assert_ptr_eq(conf_key_find(key->name, strlen(key->name)), key);
		(void)snprintf(row, sizeof row, "\n| `%s` | %s | ", key->name, classes[key->class]);
		ck_assert_msg(strstr(text, row) != NULL, "no row in docs/configuration.md: %s", row);
		if (key->class != KEY_SUPPORTED)
			ck_assert_msg(key->reason && strstr(text, key->reason), "%s: the reason is not in docs/configuration.md", key->name);
		else if (key->type == KEY_WORD || key->type == KEY_WORD_BOOL)
			ck_assert_msg(key->words && key->words[0] && key->words[1], "%s: words", key->name);
		else if (key->type == KEY_TEXT)
			ck_assert_msg(key->expect && key->max, "%s: expect and max", key->name);
		else if (key->type == KEY_NUMBER || key->type == KEY_SIZE32 || key->type == KEY_SECONDS)
			ck_assert_msg(key->max && key->max <= UINT32_MAX, "%s: max", key->name);
	}
	for (const char *p = text; (p = strstr(p, "\n| `")) != NULL; p++)
		rows++;
	ck_assert_uint_eq(rows, conf_n_keys); /* nothing in the manual that is no key */
	free(text);
	free(doc);
}
END_TEST

START_TEST(repeated_keys_are_noticed)
{
	bad("user a\nuser b\n", "x.conf:2: user: given twice; the first is in line 1\n");
	bad_with(TLS "listener 1\ncafile a\ncafile b\n", "x.conf:6: cafile: given twice; the first is in line 5\n");
	warned("threads 1\nthreads 2\n", "x.conf:2: warning: threads: given twice; this one counts, not line 1\n");
	ck_assert_uint_eq(conf->threads, 2);
	good(TLS "listener 1\ncafile a\nlistener 2\ncafile a\n");
}
END_TEST

static void kept(const char *topic, uint64_t count, uint64_t age_s, uint64_t bytes)
{
	const struct history_limits *l = history_policy_find(conf->history, (const uint8_t *)topic, strlen(topic));
	ck_assert_ptr_nonnull(l);
	ck_assert_uint_eq(l->count, count);
	ck_assert_uint_eq(l->age_s, age_s);
	ck_assert_uint_eq(l->bytes, bytes);
}

START_TEST(history_lines_of_one_filter_are_one_rule)
{
	good(TLS "history 100 a/#\nhistory_age 7d a/#\nhistory_bytes 1M a/#\nhistory_age 90 a/+/with space\nhistory 0 a/off\n");
	kept("a/x", 100, 7 * 86400, 1 << 20);
	kept("a/b/with space", 0, 90, 0);
	ck_assert_ptr_null(history_policy_find(conf->history, (const uint8_t *)"a/off", 5));
	ck_assert_ptr_null(history_policy_find(conf->history, (const uint8_t *)"b", 1));
	good(TLS);
	ck_assert_ptr_null(conf->history);
}
END_TEST

START_TEST(history_lines_without_sense_are_refused)
{
	static const char *const values[] = { "history", "history 1", "history x a", "history -1 a", "history 1 a#", "history 1 #/a", "history 1 a+/b",
		"history 1 $share/g/a", "history 1 $HISTORY/all/a", "history_age 0 a", "history_age 1q a", "history_bytes 0 a", "history_bytes 1X a" };
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		char line[100];
		(void)snprintf(line, sizeof line, "%s\n", values[i]);
		bad_with(line, strchr(values[i], ' ') ? "is not valid; expected " : "has no value; expected ");
	}
}
END_TEST

START_TEST(log_keys_add_up)
{
	good("log_type error\nlog_type debug\nlog_dest syslog\nlog_dest file /l\n");
	ck_assert_uint_eq(conf->log.level_mask, LOG_ERROR | LOG_DEBUG);
	ck_assert(!conf->log.to_stderr && conf->log.to_syslog);
	ck_assert_str_eq(conf->log.file, "/l");
	good("log_type all\nlog_dest none\n");
	ck_assert_uint_eq(conf->log.level_mask, 31);
	ck_assert(!conf->log.to_stderr && !conf->log.to_syslog && !conf->log.file);
	good("log_type none\nlog_dest file /l\nlog_dest none\n");
	ck_assert_uint_eq(conf->log.level_mask, 0);
	ck_assert_ptr_null(conf->log.file);
	warned("log_dest topic\n", "x.conf:1: warning: log_dest: topic has no effect: lines go to stderr, a file or syslog\n");
	ck_assert(conf->log.to_stderr);
	warned("log_dest stdout\n", "x.conf:1: warning: log_dest: stdout means stderr here\n");
	warned("log_type subscribe\n", "x.conf:1: warning: log_type: subscribe has no effect: such lines are written with debug\n");
	bad("log_dest file a\nlog_dest file b\n", "x.conf:2: log_dest: there is a log file already; expected one\n");
}
END_TEST

START_TEST(bytes_that_are_no_text_are_refused)
{
	static const char nul[] = "threads 1\nuser a\0b\n";
	ck_assert_ptr_null(parse_bytes(nul, sizeof nul - 1));
	ck_assert_str_eq(messages, "x.conf:2: the line holds a NUL byte; expected text\n");
	bad("user \xC0\xAF\nthreads q\n", "x.conf:1: the line is not valid UTF-8\nx.conf:2: threads: \"q\" is not valid; expected a number from 0 to 16\n");
	size_t len = 65536 + 1;
	char *line = malloc(len + 1);
	memset(line, '#', len);
	line[len] = '\0';
	bad(line, "x.conf:1: the line is longer than 65536 bytes\n");
	line[len - 1] = '\0';
	good(line);
	free(line);
}
END_TEST

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(include_dir_reads_files_in_mosquittos_order)
{
	char dir[FOLDER_MAX], path[100], text[200];
	static const char *const names[] = { "b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf", "skipped.txt", ".conf" };
	folder_make(dir);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		(void)snprintf(text, sizeof text, "# %s\nthreads %zu\n", names[i], i);
		write_file(path, text);
	}
	(void)snprintf(path, sizeof path, "%s.main", dir);
	(void)snprintf(text, sizeof text, "include_dir %s # all of it\nautosave_interval 1\n", dir);
	write_file(path, text);
	ck_assert_ptr_nonnull(load(path));
	ck_assert_uint_eq(conf->threads, 0); /* b.conf was last */
	char expected[1000];
	int n = 0;
	static const char *const order[] = { "01", "A", "a", "B", "b" };
	for (size_t i = 0; i < 5; i++)
		n += snprintf(expected + n, sizeof expected - (size_t)n, "%s/%s.conf:2: warning: threads: given twice; this one counts, not line 2\n", dir, order[i]);
	(void)snprintf(expected + n, sizeof expected - (size_t)n, "%s:2: warning: autosave_interval: has no effect: %s\n", path,
		conf_key_find("autosave_interval", 17)->reason);
	ck_assert_str_eq(messages, expected);

	/* A listener of an included file is named by that file; includes do not nest. */
	char included[100];
	(void)snprintf(included, sizeof included, "%s/00.conf", dir);
	(void)snprintf(text, sizeof text, "\nlistener 1883\ninclude_dir %s\n", dir);
	write_file(included, text);
	ck_assert_ptr_null(load(path));
	(void)snprintf(expected, sizeof expected, "%s:3: include_dir: only the main configuration file may include others\n", included);
	ck_assert_ptr_nonnull(strstr(messages, expected));
	(void)snprintf(expected, sizeof expected, "%s:2: listener: refused", included);
	ck_assert_ptr_nonnull(strstr(messages, expected));

	write_file(path, "include_dir /nonexistent/sealmq\n");
	ck_assert_ptr_null(load(path));
	(void)snprintf(expected, sizeof expected, "%s:1: include_dir: cannot read /nonexistent/sealmq: No such file or directory; expected a directory\n", path);
	ck_assert_str_eq(messages, expected);

	ck_assert_int_eq(unlink(path), 0);
	folder_remove(dir);
}
END_TEST

START_TEST(files_that_cannot_be_read_are_reported)
{
	ck_assert_ptr_null(load("/nonexistent/sealmq.conf"));
	ck_assert_str_eq(messages, "/nonexistent/sealmq.conf: cannot read: No such file or directory\n");
	ck_assert_ptr_null(load("/tmp"));
	ck_assert_str_eq(messages, "/tmp: cannot read: Is a directory\n");
	bad("include_dir /tmp\n", "x.conf:1: include_dir: only the main configuration file may include others\n");
}
END_TEST

START_TEST(messages_may_be_dropped)
{
	ck_assert_ptr_null(conf_load("/nonexistent/sealmq.conf", NULL));
	ck_assert_ptr_null(conf_parse("x\n", 2, "x", NULL));
	conf_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("conf");
	TCase *t = tcase_create("conf");
	tcase_add_test(t, no_file_gives_the_documented_defaults);
	tcase_add_test(t, mosquitto_style_file_loads_unchanged);
	tcase_add_test(t, sample_file_loads_without_a_warning);
	tcase_add_test(t, history_lines_of_one_filter_are_one_rule);
	tcase_add_test(t, history_lines_without_sense_are_refused);
	tcase_add_test(t, comments_end_values);
	tcase_add_test(t, values_keep_their_inner_spaces);
	tcase_add_test(t, a_line_without_an_end_counts);
	tcase_add_test(t, listener_keys_belong_to_the_listener_above);
	tcase_add_test(t, port_and_bind_address_make_a_further_listener);
	tcase_add_test(t, bad_listeners_are_refused);
	tcase_add_test(t, plain_listeners_are_for_loopback_and_asked_for);
	tcase_add_test(t, loopback_is_what_it_says);
	tcase_add_test(t, addresses_are_checked_where_they_stand);
	tcase_add_test(t, every_supported_value_reaches_its_member);
	tcase_add_test(t, mosquittos_names_for_the_store);
	tcase_add_test(t, bad_values_name_the_value_and_what_was_expected);
	tcase_add_test(t, long_values_are_cut_in_messages);
	tcase_add_test(t, pins_take_a_name_and_a_hash);
	tcase_add_test(t, client_id_patterns_know_one_placeholder);
	tcase_add_test(t, what_happens_at_an_end_is_chosen);
	tcase_add_test(t, unknown_keys_name_the_nearest);
	tcase_add_test(t, every_problem_is_reported);
	tcase_add_test(t, every_fixed_key_takes_its_value_alone);
	tcase_add_test(t, every_harmless_key_warns_once);
	tcase_add_test(t, every_refused_key_says_why);
	tcase_add_test(t, every_key_is_complete_and_in_the_manual);
	tcase_add_test(t, repeated_keys_are_noticed);
	tcase_add_test(t, log_keys_add_up);
	tcase_add_test(t, bytes_that_are_no_text_are_refused);
	tcase_add_test(t, include_dir_reads_files_in_mosquittos_order);
	tcase_add_test(t, files_that_cannot_be_read_are_reported);
	tcase_add_test(t, messages_may_be_dropped);
	suite_add_tcase(s, t);
	int failed = run_suite(s);
	forget();
	return failed;
}
