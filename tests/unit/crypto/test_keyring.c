/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Key sets as JSON, and which of them a member takes. */
#include "crypto/keyring.h"

#include "base/secmem.h"
#include "tests/unit/crypto/vectors.h"

static const uint8_t me[32] = "fingerprint of this very member", issuer[32] = "fingerprint of the issuer, here", other[32] = "fingerprint of somebody else ...";
static struct keyring *ring;
static const char *why;

static void set_up(void)
{
	ring = keyring_new(me);
	ck_assert_ptr_nonnull(ring);
}

static void tear_down(void)
{
	keyring_free(ring);
}

/* An epoch of a space, granted by filter; its kid and key follow from the epoch and the space. */
static struct keyset_entry entry(const char *space, const char *filter, uint32_t epoch)
{
	struct keyset_entry e = { .kid = { (uint8_t)strlen(space), 1, 2, 3, 4, 5, 6, (uint8_t)epoch }, .filter = filter, .filter_len = strlen(filter),
		                  .space = space, .space_len = strlen(space), .epoch = epoch, .mode = SEAL_BROKER, .sign = SIGN_OPTIONAL,
		                  .issued_s = 1795173342, .not_after_s = 1800000000 };
	uint8_t root[32] = { (uint8_t)epoch, (uint8_t)strlen(space) };
	ck_assert_int_eq(keytree_grant(root, space, e.space_len, filter, e.filter_len, e.key), ERR_OK);
	memcpy(e.issuer, issuer, 32);
	memcpy(e.recipient, me, 32);
	return e;
}

static struct keyset *through_json(const struct keyset_entry *entries, size_t n)
{
	char *json;
	size_t len;
	struct keyset *set = NULL;
	ck_assert_int_eq(keyset_format(entries, n, &json, &len), ERR_OK);
	ck_assert_msg(keyset_parse(&set, json, len, &why) == ERR_OK, "%s", why);
	secmem_free(json);
	return set;
}

/* NULL when taken. */
static const char *take_for(const struct keyset_entry *entries, size_t n, const uint8_t *signer, const char *topic)
{
	struct keyset *set = through_json(entries, n);
	enum err e = keyring_take(ring, set, signer, topic, strlen(topic), &why);
	ck_assert((e == ERR_OK) == (why == NULL));
	secmem_free(set);
	return why;
}

static const char *take(struct keyset_entry e)
{
	return take_for(&e, 1, issuer, "");
}

START_TEST(json_holds_what_was_put_in)
{
	struct keyset_entry in[] = { entry("a\"\\\x01" "\xc3\xa4", "a\"\\\x01" "\xc3\xa4/b/#", 1), entry("", "#", 4294967295u), entry("", "/#", 7) };
	in[1].mode = SEAL_OWNER;
	in[1].sign = SIGN_REQUIRED;
	in[2].sign = SIGN_OFF;
	in[2].not_after_s = 0;
	struct keyset *set = through_json(in, 3);
	ck_assert_uint_eq(set->n, 3);
	for (size_t i = 0; i < 3; i++) {
		const struct keyset_entry *a = &in[i], *b = &set->entries[i];
		ck_assert_mem_eq(a->kid, b->kid, 8);
		ck_assert_mem_eq(a->key, b->key, 32);
		ck_assert_mem_eq(a->issuer, b->issuer, 32);
		ck_assert_mem_eq(a->recipient, b->recipient, 32);
		ck_assert(a->filter_len == b->filter_len && memcmp(a->filter, b->filter, a->filter_len) == 0);
		ck_assert(a->space_len == b->space_len && memcmp(a->space, b->space, a->space_len) == 0);
		ck_assert(a->epoch == b->epoch && a->mode == b->mode && a->sign == b->sign && a->issued_s == b->issued_s && a->not_after_s == b->not_after_s);
	}
	secmem_free(set);
}
END_TEST

START_TEST(json_has_the_documented_form)
{
	struct keyset_entry e = entry("", "a/#", 2);
	char *json;
	size_t len;
	memset(e.key, 0xff, 32);
	ck_assert_int_eq(keyset_format(&e, 1, &json, &len), ERR_OK);
	static const char expect[] =
		"{\"keys\":[{\"kty\":\"oct\",\"key_ops\":[\"deriveKey\"],\"kid\":\"AAECAwQFBgI\",\"k\":\"__________________________________________8\","
		"\"sealmq\":{\"filter\":\"a/#\",\"space\":\"\",\"epoch\":2,\"mode\":\"broker\",\"sign\":\"optional\",\"issuer\":\""
		"66696e6765727072696e74206f6620746865206973737565722c206865726500\",\"recipient\":\""
		"66696e6765727072696e74206f6620746869732076657279206d656d62657200\",\"issued\":1795173342,\"not_after\":1800000000}}]}";
	ck_assert_uint_eq(len, sizeof expect - 1);
	ck_assert_mem_eq(json, expect, len);
	secmem_free(json);
}
END_TEST

/* Replaces the first occurrence of a in the JSON by b: what the reader says. */
static const char *altered(const char *a, const char *b)
{
	struct keyset_entry e = entry("", "a/#", 2);
	char *json, text[2048];
	size_t len;
	struct keyset *set = NULL;
	ck_assert_int_eq(keyset_format(&e, 1, &json, &len), ERR_OK);
	json[len] = '\0';
	char *at = strstr(json, a);
	ck_assert_msg(at != NULL, "%s", a);
	int n = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - json), json, b, at + strlen(a));
	secmem_free(json);
	if (keyset_parse(&set, text, (size_t)n, &why) == ERR_OK)
		secmem_free(set);
	return why;
}

START_TEST(json_that_breaks_a_rule_is_refused)
{
	static const char *const bad[][2] = {
		{ "{\"keys\"", "{\"keyz\"" }, { "]}", "]} x" }, { "\"oct\"", "\"RSA\"" }, { "deriveKey", "sign" }, { "[\"deriveKey\"]", "[\"deriveKey\",\"sign\"]" },
		{ "\"kid\":\"", "\"kid\":\"A" }, { "\"kid\":\"AAECAwQFBgI\"", "\"kid\":\"AAECAwQFBgJ\"" }, { "\"k\":\"", "\"k\":\"=" },
		{ "\"kid\":\"AAECAwQFBgI\"", "\"kid\":\"AAECAwQFBg\"" }, { "\"kid\":\"AAECAwQFBgI\"", "\"kid\":\"AAECAwQFBgI=\"" },
		{ "\"kid\":", "\"kid\":\"AAECAwQFBgI\",\"kid\":" }, { "\"epoch\":2", "\"epoch\":2,\"epoch\":3" }, { "\"epoch\":2", "\"epoch\":0" },
		{ "\"epoch\":2", "\"epoch\":-1" }, { "\"epoch\":2", "\"epoch\":1.5" }, { "\"epoch\":2", "\"epoch\":4294967296" }, { "\"epoch\":2", "\"epoch\":\"2\"" },
		{ "\"epoch\":2", "\"epoch\":1e999" }, { "broker", "open" }, { "optional", "maybe" }, { "a/#", "a/+" }, { "a/#", "$SYS/#" }, { "a/#", "" },
		{ "\"space\":\"\"", "\"space\":\"b\"" }, { "\"space\":\"\"", "\"space\":\"#\"" }, { "\"space\":\"\"", "\"space\":null" },
		{ "\"issuer\":\"6", "\"issuer\":\"" }, { "\"issuer\":\"6", "\"issuer\":\"g" }, { "\"recipient\"", "\"to\"" }, { "\"sealmq\"", "\"other\"" },
		{ "\"issued\":1795173342", "\"issued\":1e18" }, { "\"not_after\":1800000000", "\"not_after\":-5" }, { "\"keys\":[", "\"keys\":[[],"},
		{ "a/#", "a\\u0000/#" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(altered(bad[i][0], bad[i][1]) != NULL, "%s -> %s was accepted", bad[i][0], bad[i][1]);
	ck_assert_ptr_null(altered("\"kty\"", "\"use\":\"enc\",\"kty\"")); /* unknown members are nobody's business */
	ck_assert_ptr_null(altered("\"filter\"", "\"new\":{\"x\":1},\"filter\""));
	ck_assert_ptr_null(altered("a/#", "a\\\\u0000/#")); /* a backslash and a word */
	struct keyset *set;
	ck_assert_int_eq(keyset_parse(&set, "{\"keys\":[]}", 11, &why), ERR_INVALID);
	ck_assert_int_eq(keyset_parse(&set, "", 0, &why), ERR_INVALID);
}
END_TEST

START_TEST(json_cut_or_flipped_anywhere_is_survived)
{
	struct keyset_entry e = entry("", "a/#", 2);
	char *json;
	size_t len;
	struct keyset *set;
	ck_assert_int_eq(keyset_format(&e, 1, &json, &len), ERR_OK);
	for (size_t i = 0; i < len; i++) {
		char *exact = malloc(i + 1);
		ck_assert_ptr_nonnull(exact);
		memcpy(exact, json, i);
		ck_assert_int_eq(keyset_parse(&set, exact, i, &why), ERR_INVALID);
		free(exact);
		for (unsigned bit = 0; bit < 8; bit++) {
			json[i] = (char)(json[i] ^ (char)(1u << bit));
			if (keyset_parse(&set, json, len, &why) == ERR_OK)
				secmem_free(set); /* a byte of a key or a number may be another: the envelope authenticates */
			json[i] = (char)(json[i] ^ (char)(1u << bit));
		}
	}
	secmem_free(json);
}
END_TEST

START_TEST(entries_that_break_a_rule_are_not_written)
{
	struct keyset_entry many[KEYSET_EPOCHS_MAX + 1], e;
	char *json;
	size_t len;
	for (size_t i = 0; i <= KEYSET_EPOCHS_MAX; i++)
		many[i] = entry("", "#", (uint32_t)i + 1);
	ck_assert_int_eq(keyset_format(many, KEYSET_EPOCHS_MAX + 1, &json, &len), ERR_INVALID);
	ck_assert_int_eq(keyset_format(many, 0, &json, &len), ERR_INVALID);
	ck_assert_int_eq(keyset_format(many, KEYSET_EPOCHS_MAX, &json, &len), ERR_OK);
	ck_assert_uint_le(len, 65536); /* fits an envelope */
	secmem_free(json);
	e = entry("", "a", 1), e.epoch = 0;
	ck_assert_int_eq(keyset_format(&e, 1, &json, &len), ERR_INVALID);
	e = entry("", "a", 1), e.filter = "+";
	ck_assert_int_eq(keyset_format(&e, 1, &json, &len), ERR_INVALID);
	e = entry("", "a", 1), e.space = "b", e.space_len = 1;
	ck_assert_int_eq(keyset_format(&e, 1, &json, &len), ERR_INVALID);
}
END_TEST

static enum err find(const char *topic, const struct keyset_entry *of)
{
	struct keyring_key k;
	uint8_t expect[32];
	enum err e = keyring_find(ring, topic, strlen(topic), of->kid, &k);
	if (e == ERR_OK) {
		ck_assert_int_eq(keytree_topic_of_grant(of->key, of->filter, of->filter_len, topic, strlen(topic), expect), ERR_OK);
		ck_assert_mem_eq(k.topic_key, expect, 32);
		ck_assert_uint_eq(k.epoch, of->epoch);
	}
	return e;
}

START_TEST(keys_are_found_by_topic_and_kid)
{
	struct keyset_entry e[] = { entry("a", "a/#", 1), entry("a", "a/#", 2) };
	struct keyring_key k;
	ck_assert_ptr_null(take_for(e, 2, issuer, "a/b"));
	ck_assert_int_eq(find("a/b", &e[0]), ERR_OK);
	ck_assert_int_eq(find("a", &e[1]), ERR_OK);
	ck_assert_int_eq(find("b", &e[1]), ERR_NOT_FOUND);
	struct keyset_entry unknown = entry("a", "a/#", 3);
	ck_assert_int_eq(find("a/b", &unknown), ERR_NOT_FOUND);
	ck_assert_int_eq(keyring_current(ring, "a/b", 3, 1795173342, &k), ERR_OK);
	ck_assert_uint_eq(k.epoch, 2);
	ck_assert_int_eq(keyring_current(ring, "b", 1, 1795173342, &k), ERR_NOT_FOUND);
	ck_assert_int_eq(keyring_current(ring, "a/b", 3, 1800000001, &k), ERR_REFUSED); /* not_after has passed */
	ck_assert_ptr_null(take(entry("a", "a/#", 3)));
	ck_assert_int_eq(find("a/b", &unknown), ERR_OK);
	ck_assert_int_eq(find("a/b", &e[0]), ERR_OK); /* old epochs still open the past */
}
END_TEST

START_TEST(the_innermost_space_rules)
{
	struct keyset_entry outer = entry("a", "a/#", 1), inner = entry("a/b", "a/b/#", 1);
	struct keyring_key k;
	ck_assert_ptr_null(take(outer));
	ck_assert_int_eq(find("a/b/c", &outer), ERR_OK);
	ck_assert_ptr_null(take(inner));
	ck_assert_int_eq(find("a/b/c", &outer), ERR_REFUSED); /* a parent space's kid for a topic of the inner one */
	ck_assert_int_eq(find("a/b/c", &inner), ERR_OK);
	ck_assert_int_eq(find("a/c", &outer), ERR_OK);
	ck_assert_int_eq(keyring_current(ring, "a/b/c", 5, 1795173342, &k), ERR_OK);
	ck_assert_mem_eq(k.kid, inner.kid, 8);
}
END_TEST

START_TEST(what_is_for_others_or_by_others_is_refused)
{
	struct keyset_entry e = entry("a", "a/#", 1);
	memcpy(e.recipient, other, 32);
	ck_assert_str_eq(take(e), "the keys are for somebody else");
	e = entry("a", "a/#", 1);
	ck_assert_str_eq(take_for(&e, 1, other, ""), "the issuer is not the signer");
	ck_assert_str_eq(take_for(&e, 1, issuer, "b"), "the filter does not cover the topic asked for");
	ck_assert_str_eq(take_for(&e, 1, issuer, "#"), "the filter does not cover the topic asked for");
	ck_assert_ptr_null(take_for(&e, 1, issuer, "a/b/#"));
	e = entry("a", "a/#", 2);
	memcpy(e.issuer, other, 32);
	ck_assert_str_eq(take_for(&e, 1, other, ""), "the space is pinned to another issuer");
	struct keyset_entry both[] = { entry("a", "a/#", 3), entry("b", "b/#", 1) };
	ck_assert_str_eq(take_for(both, 2, issuer, ""), "the keys are of several spaces");
}
END_TEST

START_TEST(epoch_mode_and_sign_never_go_down)
{
	struct keyset_entry e = entry("a", "a/#", 5);
	e.mode = SEAL_OWNER;
	ck_assert_ptr_null(take(e));
	ck_assert_ptr_null(take(e)); /* the same again, as after a reconnect */
	e = entry("a", "a/#", 4), e.mode = SEAL_OWNER;
	ck_assert_str_eq(take(e), "the epoch has gone down");
	e = entry("a", "a/#", 6);
	ck_assert_str_eq(take(e), "the mode has gone down");
	e = entry("a", "a/#", 6), e.mode = SEAL_OWNER, e.sign = SIGN_OFF;
	ck_assert_str_eq(take(e), "the signature policy has gone down");
	e = entry("a", "a/#", 6), e.mode = SEAL_OWNER, e.sign = SIGN_REQUIRED;
	ck_assert_ptr_null(take(e));
	struct keyset_entry with_past[] = { entry("a", "a/#", 7), entry("a", "a/#", 1) }; /* an old epoch, under the rules of its time */
	with_past[0].mode = SEAL_OWNER, with_past[0].sign = SIGN_REQUIRED;
	ck_assert_ptr_null(take_for(with_past, 2, issuer, ""));
	struct keyring_key k;
	ck_assert_int_eq(keyring_current(ring, "a", 1, 1795173342, &k), ERR_OK);
	ck_assert_uint_eq(k.epoch, 7);
}
END_TEST

START_TEST(a_known_kid_keeps_its_key)
{
	struct keyset_entry e = entry("a", "a/#", 1), same = e;
	ck_assert_ptr_null(take(e));
	same.key[0] ^= 1;
	ck_assert_str_eq(take(same), "a known key id comes with another key");
	struct keyset_entry elsewhere = entry("b", "b/#", 1);
	memcpy(elsewhere.kid, e.kid, 8);
	ck_assert_str_eq(take(elsewhere), "a known key id is used for another space or epoch");
	struct keyset_entry later = entry("a", "a/#", 2);
	memcpy(later.kid, e.kid, 8);
	ck_assert_str_eq(take(later), "a known key id is used for another space or epoch");
	struct keyset_entry wider = entry("a", "a", 1); /* another filter of the same epoch has another key, and the same kid */
	ck_assert_ptr_null(take(wider));
	struct keyset_entry twice[] = { entry("c", "c/#", 1), entry("c", "c/#", 1) };
	ck_assert_str_eq(take_for(twice, 2, issuer, ""), "an epoch comes twice");
	twice[1].kid[0] ^= 1;
	ck_assert_str_eq(take_for(twice, 2, issuer, ""), "key ids and epochs do not match");
}
END_TEST

START_TEST(pins_from_configuration_come_first)
{
	struct keyset_entry e = entry("a", "a/#", 1);
	ck_assert_int_eq(keyring_pin(ring, "a", 1, issuer, SEAL_OWNER, SIGN_REQUIRED, 0), ERR_OK);
	ck_assert_int_eq(keyring_pin(ring, "a", 1, issuer, SEAL_OWNER, SIGN_REQUIRED, 0), ERR_OK);
	ck_assert_int_eq(keyring_pin(ring, "a", 1, other, SEAL_OWNER, SIGN_REQUIRED, 0), ERR_EXISTS);
	ck_assert_str_eq(take(e), "the mode has gone down");
	e.mode = SEAL_OWNER;
	ck_assert_str_eq(take(e), "the signature policy has gone down");
	e.sign = SIGN_REQUIRED;
	ck_assert_ptr_null(take(e));
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("all");
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, json_holds_what_was_put_in);
	tcase_add_test(t, json_has_the_documented_form);
	tcase_add_test(t, json_that_breaks_a_rule_is_refused);
	tcase_add_test(t, json_cut_or_flipped_anywhere_is_survived);
	tcase_add_test(t, entries_that_break_a_rule_are_not_written);
	tcase_add_test(t, keys_are_found_by_topic_and_kid);
	tcase_add_test(t, the_innermost_space_rules);
	tcase_add_test(t, what_is_for_others_or_by_others_is_refused);
	tcase_add_test(t, epoch_mode_and_sign_never_go_down);
	tcase_add_test(t, a_known_kid_keeps_its_key);
	tcase_add_test(t, pins_from_configuration_come_first);
	return run_case("keyring", t);
}
