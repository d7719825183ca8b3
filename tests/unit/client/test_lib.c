/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libsealmq through its public header. The member is "rsa"; envelopes come from "server"; other senders are made with crypto/ itself, so that
 * they can do what libsealmq would not. */
#include "client/lib_int.h"
#include "client/sealmq.h"

#include "base/clock.h"
#include "base/secmem.h"
#include "crypto/cose.h"
#include "crypto/envelope.h"
#include "crypto/keyset.h"
#include "tests/unit/crypto/pki.h"
#include "tests/unit/crypto/vectors.h"

#include <sys/wait.h>

static const char topic[] = "plant/line1/temperature";
static const uint8_t root[3][32] = { "the root key of the first epoch", "the root key of the second one!", "the root key of the third epoch" };
static struct keypair *server, *good, *rsa, *revoked;
static struct sealmq *h;

static enum sealmq_err open_as(struct sealmq **out, const char *name, char *error, size_t error_len)
{
	char cert[128], key[128];
	snprintf(cert, sizeof cert, "%s/%s.crt", pki_dir, name);
	snprintf(key, sizeof key, "%s/%s.key", pki_dir, name);
	return sealmq_open_member(out, &(struct sealmq_options){ .certfile = cert, .keyfile = key, .cafile = pki_path("ca.crt"), .crlfile = pki_path("ca.crl") }, error,
	                          error_len);
}

static void setup(void)
{
	char why[256] = "";
	ck_assert_msg(open_as(&h, "rsa", why, sizeof why) == SEALMQ_OK, "%s", why);
}

static void teardown(void)
{
	sealmq_close(h);
}

/* ---- what others make */

struct grant { uint32_t epoch; enum seal_sign sign; enum seal_mode mode; uint64_t not_after_s; };

static void kid_of(uint32_t epoch, uint8_t kid[8])
{
	memset(kid, 'k', 8);
	kid[7] = (uint8_t)epoch;
}

/* An envelope for the member, granting plant/# of the space "plant" for epochs 1 … n. */
static enum sealmq_err give(const struct grant *g, size_t n, struct keypair *issuer)
{
	struct keyset_entry e[4];
	uint8_t out[ENVELOPE_MAX];
	char *json;
	size_t json_len, len;
	for (size_t i = 0; i < n; i++) {
		e[i] = (struct keyset_entry){ .filter = "plant/#", .filter_len = 7, .space = "plant", .space_len = 5, .epoch = g[i].epoch,
			.mode = g[i].mode ? g[i].mode : SEAL_BROKER, .sign = g[i].sign, .issued_s = 1, .not_after_s = g[i].not_after_s };
		kid_of(g[i].epoch, e[i].kid);
		memcpy(e[i].key, root[g[i].epoch - 1], 32);
		cert_fingerprint(keypair_cert(issuer), e[i].issuer);
		cert_fingerprint(keypair_cert(rsa), e[i].recipient);
	}
	ck_assert_int_eq(keyset_format(e, n, &json, &json_len), ERR_OK);
	ck_assert_int_eq(envelope_seal(issuer, keypair_cert(rsa), keypair_public(rsa), json, json_len, out, &len), ERR_OK);
	secmem_free(json);
	return sealmq_take_keys(h, topic, out, len);
}

static void give_first(void)
{
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1, .sign = SIGN_OPTIONAL }, 1, server), SEALMQ_OK);
}

struct made { uint8_t bytes[2048]; size_t len; };

/* A sealed message of the first epoch by `by`; the head's kid and sender are set here. */
static struct made make(struct keypair *by, bool is_signed, struct cose_head head, const char *of_topic)
{
	struct made m;
	uint8_t key[32], content[32], fingerprint[32];
	kid_of(1, head.kid);
	cert_fingerprint(keypair_cert(by), fingerprint);
	memcpy(head.sender, fingerprint, sizeof head.sender);
	ck_assert_int_eq(keytree_topic(root[0], "plant", 5, of_topic, strlen(of_topic), key), ERR_OK);
	cose_content_key(key, of_topic, strlen(of_topic), &head, content);
	ck_assert_int_eq(cose_seal(&head, of_topic, strlen(of_topic), content, "hello", 5, is_signed ? by : NULL, m.bytes, &m.len), ERR_OK);
	return m;
}

static struct cose_head head_of(uint64_t seq)
{
	return (struct cose_head){ .stream = "stream0", .seq = seq, .time_ms = clock_wall_ms() };
}

static struct sealmq_message seen;
static uint8_t plain[2048];

static enum sealmq_err take(const struct made *m, unsigned flags)
{
	return sealmq_open(h, topic, m->bytes, m->len, flags, plain, sizeof plain, &seen);
}

static void know(struct keypair *k)
{
	const struct cert *c = keypair_cert(k);
	ck_assert_int_eq(sealmq_take_cert(h, c->whole.p, der_len(c->whole)), SEALMQ_OK);
}

static struct made seal_own(unsigned flags)
{
	struct made m;
	ck_assert_int_eq(sealmq_seal(h, topic, "hello", 5, flags, m.bytes, sizeof m.bytes, &m.len), SEALMQ_OK);
	return m;
}

static struct cose parsed(const struct made *m)
{
	struct cose c;
	const char *why;
	ck_assert_int_eq(cose_parse(&c, m->bytes, m->len, &why), ERR_OK);
	return c;
}

/* ---- keys */

START_TEST(without_keys_it_says_what_to_subscribe_to)
{
	struct made m = make(good, false, head_of(0), topic);
	size_t n;
	ck_assert_int_eq(sealmq_seal(h, topic, "x", 1, 0, plain, sizeof plain, &n), SEALMQ_NEED_KEYS);
	ck_assert_str_eq(sealmq_wanted(h), "$KEYS/plant/line1/temperature");
	ck_assert_int_eq(take(&m, 0), SEALMQ_NEED_KEYS);
	ck_assert_str_eq(sealmq_wanted(h), "$KEYS/plant/line1/temperature");
}
END_TEST

START_TEST(an_envelope_opens_a_subtree_and_nothing_beside)
{
	struct sealmq_space s;
	size_t n;
	give_first();
	ck_assert_int_eq(sealmq_space_of(h, topic, &s), SEALMQ_OK);
	ck_assert_str_eq(s.name, "plant");
	ck_assert(s.epoch == 1 && s.mode == SEALMQ_BROKER && s.sign == SEALMQ_SIGN_OPTIONAL);
	free(s.name);
	ck_assert_int_eq(sealmq_seal(h, "plant/other", "x", 1, 0, plain, sizeof plain, &n), SEALMQ_OK);
	ck_assert_int_eq(sealmq_seal(h, "office", "x", 1, 0, plain, sizeof plain, &n), SEALMQ_NEED_KEYS);
}
END_TEST

START_TEST(envelopes_that_go_down_are_refused)
{
	const struct grant two = { .epoch = 2, .sign = SIGN_REQUIRED, .mode = SEAL_OWNER };
	ck_assert_int_eq(give(&two, 1, server), SEALMQ_OK);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1, .sign = SIGN_REQUIRED, .mode = SEAL_OWNER }, 1, server), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "the epoch has gone down");
	ck_assert_int_eq(give(&(struct grant){ .epoch = 2, .sign = SIGN_OPTIONAL, .mode = SEAL_OWNER }, 1, server), SEALMQ_REFUSED);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 2, .sign = SIGN_REQUIRED, .mode = SEAL_BROKER }, 1, server), SEALMQ_REFUSED);
	ck_assert_int_eq(give(&two, 1, good), SEALMQ_REFUSED); /* another device of the same authority */
	ck_assert_str_eq(sealmq_reason(h), "the space is pinned to another issuer");
}
END_TEST

START_TEST(pins_hold_before_the_first_envelope)
{
	uint8_t issuer[32];
	cert_fingerprint(keypair_cert(good), issuer);
	ck_assert_int_eq(sealmq_pin(h, "plant", issuer, SEALMQ_BROKER, SEALMQ_SIGN_OFF, 0), SEALMQ_OK);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1 }, 1, server), SEALMQ_REFUSED);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1 }, 1, good), SEALMQ_OK);
	ck_assert_int_eq(sealmq_pin(h, "plant/#", issuer, SEALMQ_BROKER, SEALMQ_SIGN_OFF, 0), SEALMQ_INVALID);
}
END_TEST

START_TEST(a_new_epoch_is_used_at_once_and_the_old_one_still_opens)
{
	give_first();
	struct made old = seal_own(0);
	ck_assert_int_eq(sealmq_is_current(h, topic, old.bytes, old.len), 1);
	const struct grant both[] = { { .epoch = 1, .sign = SIGN_OPTIONAL }, { .epoch = 2, .sign = SIGN_OPTIONAL } };
	ck_assert_int_eq(give(both, 2, server), SEALMQ_OK);
	ck_assert_int_eq(sealmq_is_current(h, topic, old.bytes, old.len), 0);
	struct made fresh = seal_own(0);
	ck_assert_int_eq(parsed(&fresh).head.kid[7], 2);
	ck_assert_int_eq(take(&old, 0), SEALMQ_OK);
	ck_assert_uint_eq(seen.epoch, 1);
	ck_assert_int_eq(take(&fresh, 0), SEALMQ_OK);
	ck_assert_uint_eq(seen.epoch, 2);
}
END_TEST

START_TEST(nothing_is_sealed_after_the_epochs_end)
{
	size_t n;
	uint64_t now = clock_wall_ms() / 1000;
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1, .not_after_s = now - 1 }, 1, server), SEALMQ_OK);
	ck_assert_int_eq(sealmq_seal(h, topic, "x", 1, 0, plain, sizeof plain, &n), SEALMQ_NEED_KEYS);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 2, .not_after_s = now + 1000 }, 1, server), SEALMQ_OK);
	ck_assert_int_eq(sealmq_seal(h, topic, "x", 1, 0, plain, sizeof plain, &n), SEALMQ_OK);
}
END_TEST

/* ---- verdicts */

START_TEST(live_once_then_duplicate_and_past_by_the_brokers_word)
{
	give_first();
	struct made m = seal_own(0);
	ck_assert_int_eq(take(&m, SEALMQ_FROM_PAST), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_PAST);
	ck_assert_int_eq(take(&m, SEALMQ_FROM_PAST), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_PAST); /* twice from the history is twice past */
	ck_assert_uint_eq(sealmq_windows(h), 0);
	ck_assert_int_eq(take(&m, 0), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_LIVE);
	ck_assert(seen.len == 5 && memcmp(plain, "hello", 5) == 0);
	ck_assert_str_eq(seen.sender, "rsa");
	ck_assert(!seen.is_signed && !seen.by_broker && seen.seq == 0);
	ck_assert_int_eq(take(&m, 0), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_DUPLICATE);
	ck_assert_int_eq(take(&m, SEALMQ_FROM_PAST), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_PAST); /* a live message replayed with RETAIN = 1 is never live */
}
END_TEST

/* A receiver that keeps account itself: duplicates are its matter, and so is how many streams there are. */
START_TEST(without_windows_the_clocks_alone_decide)
{
	give_first();
	know(good);
	for (uint64_t i = 0; i < 100; i++) {
		struct cose_head head = head_of(i * 5000 % 7000);
		head.stream[0] = (uint8_t)(i / 2);
		head.time_ms -= i % 2 * 3600000;
		struct made m = make(good, false, head, topic);
		ck_assert_int_eq(take(&m, SEALMQ_OWN_WINDOWS), SEALMQ_OK);
		ck_assert_int_eq(seen.verdict, i % 2 ? SEALMQ_LATE : SEALMQ_LIVE);
		ck_assert_int_eq(take(&m, SEALMQ_OWN_WINDOWS), SEALMQ_OK);
	}
	ck_assert_uint_eq(sealmq_windows(h), 0);
	struct cose_head ahead = head_of(1);
	ahead.time_ms += 400000;
	struct made m = make(good, false, ahead, topic);
	ck_assert_int_eq(take(&m, SEALMQ_OWN_WINDOWS), SEALMQ_REFUSED);
}
END_TEST

START_TEST(after_an_hour_offline_two_thousand_messages_are_late_and_none_is_lost)
{
	give_first();
	know(good);
	for (uint64_t i = 0; i < 2000; i++) {
		struct cose_head head = head_of(i);
		head.time_ms -= 3600000;
		struct made m = make(good, false, head, topic);
		ck_assert_int_eq(take(&m, 0), SEALMQ_OK);
		ck_assert_int_eq(seen.verdict, SEALMQ_LATE);
	}
}
END_TEST

START_TEST(a_forged_high_number_leaves_the_window_unmoved)
{
	give_first();
	know(good);
	struct made first = make(good, false, head_of(0), topic), forged = make(good, false, head_of(1u << 30), topic), second = make(good, false, head_of(1), topic);
	forged.bytes[forged.len - 1] ^= 1;
	ck_assert_int_eq(take(&first, 0), SEALMQ_OK);
	ck_assert_int_eq(take(&forged, 0), SEALMQ_REFUSED);
	ck_assert_int_eq(take(&second, 0), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_LIVE);
}
END_TEST

START_TEST(from_the_future_is_refused)
{
	give_first();
	know(good);
	struct cose_head head = head_of(0);
	head.time_ms += 400000;
	struct made m = make(good, false, head, topic);
	ck_assert_int_eq(take(&m, 0), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "refused: from the future");
}
END_TEST

START_TEST(the_seventeenth_stream_is_refused)
{
	give_first();
	know(good);
	for (int i = 0; i <= 16; i++) {
		struct cose_head head = head_of(0);
		head.stream[7] = (uint8_t)i;
		struct made m = make(good, false, head, topic);
		ck_assert_int_eq(take(&m, 0), i < 16 ? SEALMQ_OK : SEALMQ_REFUSED);
	}
	ck_assert_uint_eq(sealmq_windows(h), 16);
}
END_TEST

START_TEST(without_a_clock_nothing_is_live)
{
	char why[256];
	sealmq_close(h);
	const struct sealmq_options o = { .certfile = pki_path("rsa.crt"), .keyfile = pki_path("rsa.key"), .cafile = pki_path("ca.crt"), .no_clock = 1 };
	ck_assert_int_eq(sealmq_open_member(&h, &o, why, sizeof why), SEALMQ_OK);
	give_first();
	struct made m = seal_own(0);
	ck_assert_uint_eq(parsed(&m).head.time_ms, 0);
	ck_assert_int_eq(take(&m, 0), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_LATE);
}
END_TEST

/* ---- senders */

START_TEST(an_unknown_sender_is_asked_for)
{
	char expected[64] = "$CERTS/sha256/";
	uint8_t fingerprint[32];
	give_first();
	struct made m = make(good, true, head_of(0), topic);
	cert_fingerprint(keypair_cert(good), fingerprint);
	for (int i = 0; i < 16; i++)
		snprintf(expected + 14 + 2 * i, 3, "%02x", fingerprint[i]);
	ck_assert_int_eq(take(&m, 0), SEALMQ_NEED_CERT);
	ck_assert_str_eq(sealmq_wanted(h), expected);
	know(good);
	ck_assert_int_eq(take(&m, SEALMQ_REQUIRE_SIGNATURE), SEALMQ_OK);
	ck_assert_str_eq(seen.sender, "good");
	ck_assert(seen.is_signed && seen.verdict == SEALMQ_LIVE && memcmp(seen.fingerprint, fingerprint, 32) == 0);
}
END_TEST

START_TEST(certificates_of_strangers_are_not_kept)
{
	struct keypair *stranger = pki_keypair("stranger");
	const struct cert *c = keypair_cert(stranger);
	ck_assert_int_eq(sealmq_take_cert(h, c->whole.p, der_len(c->whole)), SEALMQ_REFUSED);
	ck_assert_int_eq(sealmq_take_cert(h, "nonsense", 8), SEALMQ_REFUSED);
	give_first();
	struct made m = make(stranger, false, head_of(0), topic);
	ck_assert_int_eq(take(&m, 0), SEALMQ_NEED_CERT);
	keypair_free(stranger);
}
END_TEST

START_TEST(a_revoked_sender_is_believed_about_the_past_alone)
{
	give_first();
	know(revoked);
	struct made m = make(revoked, true, head_of(0), topic);
	ck_assert_int_eq(take(&m, 0), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "the sender: certificate revoked");
	ck_assert_int_eq(take(&m, SEALMQ_FROM_PAST), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_REVOKED_SINCE);
}
END_TEST

START_TEST(only_the_issuer_names_a_publisher)
{
	struct cose_head head = head_of(0);
	head.publisher = "pump7";
	head.publisher_len = 5;
	give_first();
	know(good);
	struct made by_broker = make(server, false, head, topic), by_member = make(good, false, head, topic);
	ck_assert_int_eq(take(&by_broker, 0), SEALMQ_OK);
	ck_assert_str_eq(seen.sender, "pump7");
	ck_assert(seen.by_broker);
	ck_assert_int_eq(take(&by_member, 0), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "a publisher is named by somebody else than the broker");
}
END_TEST

START_TEST(a_required_signature_must_be_there)
{
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1, .sign = SIGN_REQUIRED }, 1, server), SEALMQ_OK);
	know(good);
	struct made without = make(good, false, head_of(0), topic), with = make(good, true, head_of(1), topic), own = seal_own(0);
	ck_assert_int_eq(take(&without, 0), SEALMQ_REFUSED);
	ck_assert_int_eq(take(&with, 0), SEALMQ_OK);
	ck_assert_int_eq(take(&own, 0), SEALMQ_OK);
	ck_assert(seen.is_signed); /* unasked */
}
END_TEST

START_TEST(the_signature_option_refuses_what_is_not_signed)
{
	give_first();
	struct made m = seal_own(0), s = seal_own(SEALMQ_SIGN);
	ck_assert_int_eq(take(&m, SEALMQ_REQUIRE_SIGNATURE), SEALMQ_REFUSED);
	ck_assert_int_eq(take(&s, SEALMQ_REQUIRE_SIGNATURE), SEALMQ_OK);
}
END_TEST

START_TEST(a_stripped_signature_does_not_open)
{
	give_first();
	struct made m = seal_own(SEALMQ_SIGN);
	struct cose c = parsed(&m);
	ck_assert_int_eq(sealmq_open(h, topic, c.encrypt0.p, der_len(c.encrypt0), 0, plain, sizeof plain, &seen), SEALMQ_REFUSED);
}
END_TEST

START_TEST(no_flipped_byte_and_no_shorter_message_opens)
{
	give_first();
	know(good);
	struct made m = make(good, true, head_of(0), topic);
	for (size_t i = 0; i < m.len; i++) {
		m.bytes[i] ^= 0x41;
		ck_assert_int_ne(take(&m, SEALMQ_FROM_PAST), SEALMQ_OK);
		m.bytes[i] ^= 0x41;
	}
	for (size_t i = 0; i < m.len; i++)
		ck_assert_int_ne(sealmq_open(h, topic, m.bytes, i, SEALMQ_FROM_PAST, plain, sizeof plain, &seen), SEALMQ_OK);
	ck_assert_int_eq(take(&m, 0), SEALMQ_OK);
}
END_TEST

START_TEST(a_message_of_another_topic_does_not_open)
{
	give_first();
	know(good);
	struct made m = make(good, false, head_of(0), "plant/line2");
	ck_assert_int_eq(take(&m, 0), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "not authentic for this topic, key and sender");
	ck_assert_int_eq(sealmq_open(h, topic, "plain text", 10, 0, plain, sizeof plain, &seen), SEALMQ_NOT_SEALED);
}
END_TEST

/* Kid, stream and sender are part of the key: exchanging one of them for another that is as good gives nothing that opens. */
START_TEST(a_message_under_another_kid_stream_or_sender_does_not_open)
{
	static const char *const what[] = { "kid", "stream", "sender" };
	const struct grant both[] = { { .epoch = 1, .sign = SIGN_OPTIONAL }, { .epoch = 2, .sign = SIGN_OPTIONAL } };
	uint8_t other[3][16] = { "", "stream1", "" }, rsas[32];
	ck_assert_int_eq(give(both, 2, server), SEALMQ_OK);
	know(good);
	kid_of(2, other[0]);
	cert_fingerprint(keypair_cert(rsa), rsas);
	memcpy(other[2], rsas, 16);
	for (int i = 0; i < 3; i++) {
		struct made m = make(good, false, head_of((uint64_t)i), topic);
		struct cose c = parsed(&m);
		const uint8_t *now[] = { c.head.kid, c.head.stream, c.head.sender };
		size_t n = i == 2 ? 16 : 8, at = 0;
		while (memcmp(m.bytes + at, now[i], n) != 0)
			at++;
		memcpy(m.bytes + at, other[i], n);
		ck_assert_msg(take(&m, 0) == SEALMQ_REFUSED && strcmp(sealmq_reason(h), "not authentic for this topic, key and sender") == 0, "%s: %s", what[i],
		              sealmq_reason(h));
	}
}
END_TEST

/* The inner space is known: what is sealed for its topic under the outer one's key id does not pass, although the key is here. */
START_TEST(a_parents_key_id_is_refused_in_a_sub_space)
{
	uint8_t issuer[32];
	give_first();
	know(good);
	struct made m = make(good, false, head_of(0), topic);
	cert_fingerprint(keypair_cert(server), issuer);
	ck_assert_int_eq(sealmq_pin(h, "plant/line1", issuer, SEALMQ_BROKER, SEALMQ_SIGN_OFF, 0), SEALMQ_OK);
	ck_assert_int_eq(take(&m, 0), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "the key id is another key space's");
	size_t n;
	ck_assert_int_eq(sealmq_seal(h, topic, "x", 1, 0, plain, sizeof plain, &n), SEALMQ_NEED_KEYS);
}
END_TEST

START_TEST(a_stripped_signature_is_refused_where_one_is_required)
{
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1, .sign = SIGN_REQUIRED }, 1, server), SEALMQ_OK);
	struct made m = seal_own(SEALMQ_SIGN);
	struct cose c = parsed(&m);
	ck_assert_int_eq(sealmq_open(h, topic, c.encrypt0.p, der_len(c.encrypt0), 0, plain, sizeof plain, &seen), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "not signed, and the key space requires it");
}
END_TEST

/* Opens the member with other authorities and lists. */
static void reopen(const char *cafile, const char *crlfile)
{
	char why[256] = "";
	sealmq_close(h);
	const struct sealmq_options o = { .certfile = pki_path("rsa.crt"), .keyfile = pki_path("rsa.key"), .cafile = pki_path(cafile), .crlfile = pki_path(crlfile) };
	ck_assert_msg(sealmq_open_member(&h, &o, why, sizeof why) == SEALMQ_OK, "%s", why);
	give_first();
}

/* What a sender's certificate must be, signed or not: of an authority, over a known intermediate too, in its time, not revoked. */
START_TEST(the_senders_chain_dates_and_revocation_are_checked)
{
	struct keypair *via = pki_keypair("viainter"), *ended = NULL;
	uint8_t cert[8192], key[8192];
	const struct cert *c = keypair_cert(via);
	struct made m = make(via, true, head_of(0), topic);
	give_first();
	ck_assert_int_eq(sealmq_take_cert(h, c->whole.p, der_len(c->whole)), SEALMQ_REFUSED); /* the intermediate is not known */
	reopen("cas.pem", "both.crl");
	know(via);
	ck_assert_int_eq(take(&m, 0), SEALMQ_OK);
	ck_assert_str_eq(seen.sender, "viainter");
	reopen("cas.pem", "interrevoked.crl"); /* the intermediate is revoked, and with it all that it has signed */
	know(via);
	ck_assert_int_eq(take(&m, 0), SEALMQ_REFUSED);
	ck_assert_int_eq(take(&m, SEALMQ_FROM_PAST), SEALMQ_OK);
	ck_assert_int_eq(seen.verdict, SEALMQ_REVOKED_SINCE);
	size_t n = pki_read("ended.crt", cert, sizeof cert);
	ck_assert_int_eq(keypair_new(&ended, cert, n, key, pki_read("good.key", key, sizeof key)), ERR_OK);
	c = keypair_cert(ended);
	ck_assert_int_eq(sealmq_take_cert(h, c->whole.p, der_len(c->whole)), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "certificate expired");
	m = make(ended, true, head_of(0), topic);
	ck_assert_int_eq(take(&m, SEALMQ_FROM_PAST), SEALMQ_NEED_CERT);
	keypair_free(via);
	keypair_free(ended);
}
END_TEST

/* The algorithm follows from the sender's key, and no other is taken. */
START_TEST(ec_keys_sign_by_es256_and_rsa_keys_by_ps256)
{
	static const uint8_t es256[] = { 0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26 }, ps256[] = { 0xd2, 0x84, 0x44, 0xa1, 0x01, 0x38, 0x24 };
	give_first();
	know(good);
	struct made by_ec = make(good, true, head_of(0), topic), by_rsa = seal_own(SEALMQ_SIGN);
	ck_assert_mem_eq(by_ec.bytes, es256, sizeof es256);
	ck_assert_mem_eq(by_rsa.bytes, ps256, sizeof ps256);
	ck_assert_int_eq(take(&by_ec, SEALMQ_REQUIRE_SIGNATURE), SEALMQ_OK);
	ck_assert_int_eq(take(&by_rsa, SEALMQ_REQUIRE_SIGNATURE), SEALMQ_OK);
	by_ec.bytes[5] = 0x27; /* another algorithm of the same length of name */
	ck_assert_int_ne(take(&by_ec, SEALMQ_FROM_PAST), SEALMQ_OK);
}
END_TEST

/* ---- what a program keeps */

START_TEST(what_is_known_of_spaces_is_told_and_given_back)
{
	struct sealmq_space s;
	ck_assert_int_eq(sealmq_space_at(h, 0, &s), SEALMQ_INVALID);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 2, .sign = SIGN_REQUIRED, .mode = SEAL_OWNER }, 1, server), SEALMQ_OK);
	ck_assert_int_eq(sealmq_space_at(h, 0, &s), SEALMQ_OK);
	ck_assert(strcmp(s.name, "plant") == 0 && s.epoch == 2 && s.mode == SEALMQ_OWNER && s.sign == SEALMQ_SIGN_REQUIRED);
	teardown();
	setup();
	ck_assert_int_eq(sealmq_pin(h, s.name, s.issuer, s.mode, s.sign, s.epoch), SEALMQ_OK);
	free(s.name);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 1, .sign = SIGN_REQUIRED, .mode = SEAL_OWNER }, 1, server), SEALMQ_REFUSED);
	ck_assert_str_eq(sealmq_reason(h), "the epoch has gone down");
	ck_assert_int_eq(give(&(struct grant){ .epoch = 2, .sign = SIGN_REQUIRED }, 1, server), SEALMQ_REFUSED);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 3, .sign = SIGN_REQUIRED, .mode = SEAL_OWNER }, 1, good), SEALMQ_REFUSED);
	ck_assert_int_eq(give(&(struct grant){ .epoch = 2, .sign = SIGN_REQUIRED, .mode = SEAL_OWNER }, 1, server), SEALMQ_OK);
	ck_assert_int_eq(sealmq_space_at(h, 1, &s), SEALMQ_INVALID);
}
END_TEST

/* ---- streams, forks */

START_TEST(a_stream_is_new_at_each_connect_and_for_a_will)
{
	give_first();
	struct made a = seal_own(0), b = seal_own(0), w = seal_own(SEALMQ_WILL);
	ck_assert_int_eq(sealmq_connected(h), SEALMQ_OK);
	struct made c = seal_own(0);
	struct cose pa = parsed(&a), pb = parsed(&b), pw = parsed(&w), pc = parsed(&c);
	ck_assert(memcmp(pa.head.stream, pb.head.stream, 8) == 0 && pb.head.seq == pa.head.seq + 1);
	ck_assert(memcmp(pa.head.stream, pw.head.stream, 8) != 0 && memcmp(pa.head.stream, pc.head.stream, 8) != 0);
	ck_assert_uint_eq(pc.head.seq, 0);
}
END_TEST

static struct made seal_kept(const struct lib_place *at)
{
	struct made m;
	ck_assert_int_eq(lib_seal_kept(h, topic, at, "hello", 5, 0, m.bytes, sizeof m.bytes, &m.len), SEALMQ_OK);
	return m;
}

START_TEST(a_message_that_has_its_place_is_the_same_message_whenever_it_is_sealed)
{
	struct lib_place at = { .stream = "outbox0", .seq = (UINT64_C(1) << 32) + 5, .time_ms = clock_wall_ms() - 1000 };
	give_first();
	struct made a = seal_kept(&at);
	(void)seal_own(0);
	ck_assert_int_eq(sealmq_connected(h), SEALMQ_OK);
	struct made b = seal_kept(&at);
	ck_assert(a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0);
	const struct grant both[] = { { .epoch = 1, .sign = SIGN_OPTIONAL }, { .epoch = 2, .sign = SIGN_OPTIONAL } };
	ck_assert_int_eq(give(both, 2, server), SEALMQ_OK);
	struct made c = seal_kept(&at);
	struct cose pa = parsed(&a), pc = parsed(&c);
	ck_assert_int_ne(memcmp(pa.head.kid, pc.head.kid, 8), 0);
	ck_assert(memcmp(pa.head.stream, pc.head.stream, 8) == 0 && pa.head.seq == pc.head.seq && pa.head.time_ms == pc.head.time_ms);
	ck_assert_int_eq(take(&c, 0), SEALMQ_OK);
	ck_assert_uint_eq(seen.seq, at.seq);
}
END_TEST

/* In the child: 0 when the parent's handle is refused everywhere, and a new one has a stream of its own. */
static int child(const uint8_t *parents_stream)
{
	struct made m;
	char why[256];
	uint8_t sig[SEALMQ_SIGNATURE_MAX];
	size_t n;
	if (sealmq_seal(h, topic, "x", 1, 0, m.bytes, sizeof m.bytes, &m.len) != SEALMQ_FORKED || sealmq_open(h, topic, "x", 1, 0, plain, 1, &seen) != SEALMQ_FORKED ||
	    sealmq_connected(h) != SEALMQ_FORKED || sealmq_sign(h, "p", "x", 1, sig, &n) != SEALMQ_FORKED || sealmq_take_cert(h, "x", 1) != SEALMQ_FORKED)
		return 1;
	sealmq_close(h);
	if (open_as(&h, "rsa", why, sizeof why) != SEALMQ_OK)
		return 2;
	rsa = pki_keypair("rsa"); /* the parent's lie in memory that a child does not have */
	server = pki_keypair("server");
	give_first();
	m = seal_own(0);
	return memcmp(parsed(&m).head.stream, parents_stream, 8) == 0 ? 3 : 0;
}

START_TEST(a_forked_handle_is_refused_and_repeats_nothing)
{
	int status;
	give_first();
	struct made m = seal_own(0);
	uint8_t stream[8];
	memcpy(stream, parsed(&m).head.stream, 8);
	pid_t pid = fork();
	if (pid == 0)
		_exit(child(stream));
	ck_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
	ck_assert_int_eq(status, 0);
	m = seal_own(0);
	ck_assert_uint_eq(parsed(&m).head.seq, 1);
}
END_TEST

/* ---- the rest */

START_TEST(buffers_that_are_too_small_are_told)
{
	uint8_t small[64];
	size_t n;
	give_first();
	ck_assert_int_eq(sealmq_seal(h, topic, "hello", 5, 0, small, sizeof small, &n), SEALMQ_ROOM);
	struct made m = seal_own(0);
	ck_assert_int_eq(sealmq_open(h, topic, m.bytes, m.len, 0, small, 4, &seen), SEALMQ_ROOM);
	ck_assert_uint_ge(sealmq_sealed_size(h, 5), m.len);
	ck_assert_int_eq(sealmq_seal(h, "", "x", 1, 0, plain, sizeof plain, &n), SEALMQ_INVALID);
}
END_TEST

START_TEST(signatures_are_for_one_purpose)
{
	uint8_t sig[SEALMQ_SIGNATURE_MAX], own[32], other[32];
	size_t n;
	sealmq_fingerprint(h, own);
	cert_fingerprint(keypair_cert(good), other);
	ck_assert_int_eq(sealmq_sign(h, "receipt", "data", 4, sig, &n), SEALMQ_OK);
	ck_assert_int_eq(sealmq_verify(h, "receipt", "data", 4, own, sig, n), SEALMQ_OK);
	ck_assert_int_eq(sealmq_verify(h, "other", "data", 4, own, sig, n), SEALMQ_REFUSED);
	ck_assert_int_eq(sealmq_verify(h, "receipt", "Data", 4, own, sig, n), SEALMQ_REFUSED);
	ck_assert_int_eq(sealmq_verify(h, "receipt", "data", 4, other, sig, n), SEALMQ_NEED_CERT);
	know(good);
	ck_assert_int_eq(sealmq_verify(h, "receipt", "data", 4, other, sig, n), SEALMQ_REFUSED);
	ck_assert_int_eq(sealmq_sign(h, "", "data", 4, sig, &n), SEALMQ_INVALID);
}
END_TEST

START_TEST(files_that_are_wrong_are_named)
{
	char why[256];
	struct sealmq *x;
	struct sealmq_options o = { .certfile = pki_path("none.crt"), .keyfile = pki_path("rsa.key"), .cafile = pki_path("ca.crt") };
	ck_assert_int_eq(sealmq_open_member(&x, &o, why, sizeof why), SEALMQ_FILE);
	ck_assert_ptr_nonnull(strstr(why, "none.crt: cannot read"));
	o.certfile = pki_path("good.crt");
	ck_assert_int_eq(sealmq_open_member(&x, &o, why, sizeof why), SEALMQ_FILE);
	ck_assert_ptr_nonnull(strstr(why, "expected a PEM certificate and its unencrypted key"));
	o.certfile = pki_path("rsa.crt");
	o.cafile = pki_path("rsa.key");
	ck_assert_int_eq(sealmq_open_member(&x, &o, why, sizeof why), SEALMQ_FILE);
	ck_assert_ptr_nonnull(strstr(why, "rsa.key"));
	ck_assert_int_eq(sealmq_reload(h, why, sizeof why), SEALMQ_OK);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("lib");
	pki_create();
	server = pki_keypair("server");
	good = pki_keypair("good");
	rsa = pki_keypair("rsa");
	revoked = pki_keypair("revoked");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, without_keys_it_says_what_to_subscribe_to);
	tcase_add_test(t, an_envelope_opens_a_subtree_and_nothing_beside);
	tcase_add_test(t, envelopes_that_go_down_are_refused);
	tcase_add_test(t, pins_hold_before_the_first_envelope);
	tcase_add_test(t, a_new_epoch_is_used_at_once_and_the_old_one_still_opens);
	tcase_add_test(t, nothing_is_sealed_after_the_epochs_end);
	tcase_add_test(t, live_once_then_duplicate_and_past_by_the_brokers_word);
	tcase_add_test(t, without_windows_the_clocks_alone_decide);
	tcase_add_test(t, a_message_that_has_its_place_is_the_same_message_whenever_it_is_sealed);
	tcase_add_test(t, after_an_hour_offline_two_thousand_messages_are_late_and_none_is_lost);
	tcase_add_test(t, a_forged_high_number_leaves_the_window_unmoved);
	tcase_add_test(t, from_the_future_is_refused);
	tcase_add_test(t, the_seventeenth_stream_is_refused);
	tcase_add_test(t, without_a_clock_nothing_is_live);
	tcase_add_test(t, an_unknown_sender_is_asked_for);
	tcase_add_test(t, certificates_of_strangers_are_not_kept);
	tcase_add_test(t, a_revoked_sender_is_believed_about_the_past_alone);
	tcase_add_test(t, only_the_issuer_names_a_publisher);
	tcase_add_test(t, a_required_signature_must_be_there);
	tcase_add_test(t, the_signature_option_refuses_what_is_not_signed);
	tcase_add_test(t, a_stripped_signature_does_not_open);
	tcase_add_test(t, no_flipped_byte_and_no_shorter_message_opens);
	tcase_add_test(t, a_message_of_another_topic_does_not_open);
	tcase_add_test(t, a_message_under_another_kid_stream_or_sender_does_not_open);
	tcase_add_test(t, a_parents_key_id_is_refused_in_a_sub_space);
	tcase_add_test(t, a_stripped_signature_is_refused_where_one_is_required);
	tcase_add_test(t, the_senders_chain_dates_and_revocation_are_checked);
	tcase_add_test(t, ec_keys_sign_by_es256_and_rsa_keys_by_ps256);
	tcase_add_test(t, what_is_known_of_spaces_is_told_and_given_back);
	tcase_add_test(t, a_stream_is_new_at_each_connect_and_for_a_will);
	tcase_add_test(t, a_forked_handle_is_refused_and_repeats_nothing);
	tcase_add_test(t, buffers_that_are_too_small_are_told);
	tcase_add_test(t, signatures_are_for_one_purpose);
	tcase_add_test(t, files_that_are_wrong_are_named);
	int failed = run_case("libsealmq", t);
	keypair_free(server);
	keypair_free(good);
	keypair_free(rsa);
	keypair_free(revoked);
	return failed;
}
