/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory at every place in turn, in what a client keeps: owners' spaces, exported keys, pins, journals, transcripts, receipts, the inbox. It is
 * said, what is on disk stays as it was, the next run goes on, and nothing leaks (LeakSanitizer). Linked with --wrap (Makefile). */
#include "base/pool.h"
#include "base/secmem.h"
#include "client/dedup.h"
#include "client/inbox_read.h"
#include "client/keyfile.h"
#include "client/outbox.h"
#include "client/owner_state.h"
#include "client/pins.h"
#include "client/proof.h"
#include "client/transcript.h"
#include "crypto/tls.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/crypto/vectors.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/memory.h>

/* 0: none fails; n: the n-th from now fails. */
static unsigned fail_at;
static bool failed_one;

static bool fails(void)
{
	if (fail_at == 0 || --fail_at > 0)
		return false;
	failed_one = true;
	return true;
}

#include "tests/unit/base/nomem.h" /* asks fails() */

/* cJSON is a shared library: its own calls are not wrapped. wolfSSL's failures are test_tls_nomem's matter: here it always gets memory. */
static void *json_malloc(size_t size) { return __wrap_malloc(size); }
static void *wolf_malloc(size_t size) { return __real_malloc(size); }
static void *wolf_realloc(void *p, size_t size) { return __real_realloc(p, size); }
static void wolf_free(void *p) { free(p); }

static char dir[FOLDER_MAX], path[64], error[512];
static struct keypair *ec, *rsa;
static uint8_t ec_fp[32], rsa_fp[32];
static uint64_t torn;

/* Each of these does one thing; what it has made is in the statics below. ERR_NOMEM: what was there before is there still. */
typedef enum err act_fn(void);

/* Fails each of f's allocations once, then none. said: it writes to error. unchanged (may be NULL) looks after each failure. */
static void at_each_allocation(const char *name, act_fn *f, bool said, void (*unchanged)(void))
{
	for (unsigned n = 1;; n++) {
		pool_drain(); /* what the pool kept would hide allocations */
		failed_one = false;
		error[0] = '\0';
		fail_at = n;
		enum err e = f();
		fail_at = 0;
		ck_assert_msg(n < 10000, "%s does not end", name);
		if (!failed_one) {
			ck_assert_msg(e == ERR_OK, "%s: %s (%s)", name, err_text(e), error);
			return;
		}
		bool clear = said ? e != ERR_OK && (strstr(error, "out of memory") || strstr(error, strerror(ENOMEM))) : e == ERR_NOMEM;
		ck_assert_msg(clear, "%s, allocation %u: expected out of memory, not: %s (%s)", name, n, err_text(e), error);
		if (unchanged)
			unchanged();
	}
}

static enum err of(const void *p) { return p ? ERR_OK : ERR_NOMEM; }

static void in_dir(const char *name) { snprintf(path, sizeof path, "%s/%s", dir, name); }

/* ---- owners */

static struct owner_space *space, *other;
static struct vault *vault;
static uint8_t *bytes;
static size_t len;
static const char *why;
static bool changed;

static const void *der_of_pair(struct keypair *k, size_t *n)
{
	*n = der_len(keypair_cert(k)->whole);
	return keypair_cert(k)->whole.p;
}

static enum err put_pair(const char *cn, struct keypair *k, unsigned access)
{
	size_t n;
	const void *der = der_of_pair(k, &n);
	return owner_put(space, cn, access, der, n, &changed);
}

static enum err new_space(void) { return of(space = owner_space_new("plant/line1", SIGN_REQUIRED, true)); }
static enum err put_new(void) { return put_pair("bob", rsa, MEMBER_READ); }
static enum err put_name(void) { return owner_put(space, "carl", MEMBER_READ, NULL, 0, &changed); }
static enum err put_other_certificate(void) { return put_pair("ann", ec, MEMBER_READ | MEMBER_WRITE); }
static enum err put_less(void) { return put_pair("ann", ec, MEMBER_READ); }
static enum err publish(void) { return owner_publish(space, ec, 1795173342); }
static enum err envelope(void) { return owner_envelope(space, owner_member(space, "bob"), rsa, &bytes, &len); }
static enum err format(void) { return owner_state_format(space, ec_fp, &bytes, &len); }
static enum err save(void) { return owner_state_save(vault, space, ec_fp, error); }

/* What a space was before something was tried with it. */
static struct { size_t members, epochs; uint32_t epoch; uint64_t list; } before;

static void remember(void)
{
	before.members = space->n_members;
	before.epochs = space->n_epochs;
	before.epoch = owner_current(space)->number;
	before.list = space->list_number;
}

static void same_space(void)
{
	ck_assert(space->n_members == before.members && space->n_epochs == before.epochs && owner_current(space)->number == before.epoch &&
	          space->list_number == before.list);
	for (size_t i = 0; i < space->n_members; i++)
		ck_assert(space->members[i].cn && (!space->members[i].der || space->members[i].der_len > 0));
}

static void change_space(const char *name, act_fn *f)
{
	remember();
	at_each_allocation(name, f, false, same_space);
	ck_assert(changed || space->list_number > before.list);
}

static enum err parse(void)
{
	other = NULL;
	why = "";
	enum err e = owner_state_parse(&other, bytes, len, &why);
	snprintf(error, sizeof error, "%s", why);
	return e;
}

static enum err load(void) { return owner_state_load(vault, "plant/line1", &other, error); }

static enum err open_vault(void) { return of(vault = vault_open(OWNER_VAULT, ec, error)); }

/* The file is the one of list number 0, or there is none yet. */
static void still_the_old_state(void)
{
	enum err e = owner_state_load(vault, "plant/line1", &other, error);
	ck_assert(e == ERR_NOT_FOUND || (e == ERR_OK && other->list_number < space->list_number));
	if (e == ERR_OK)
		owner_space_free(other);
}

START_TEST(an_owners_space_changes_whole_or_not_at_all)
{
	at_each_allocation("owner_space_new", new_space, false, NULL);
	ck_assert_int_eq(put_pair("ann", rsa, MEMBER_READ | MEMBER_WRITE), ERR_OK);
	space->created = true;
	change_space("a new member", put_new);
	change_space("a member without a certificate", put_name);
	change_space("another certificate", put_other_certificate);
	change_space("less access", put_less);
	change_space("owner_publish", publish);
	remember();
	at_each_allocation("owner_envelope", envelope, false, same_space);
	free(bytes);
	at_each_allocation("owner_state_format", format, false, same_space);
	at_each_allocation("owner_state_parse", parse, true, NULL);
	ck_assert_uint_eq(other->n_members, space->n_members);
	owner_space_free(other);
	secmem_free(bytes);
	at_each_allocation("vault_open", open_vault, true, NULL);
	for (int i = 0; i < 2; i++) {
		space->list_number++;
		at_each_allocation("owner_state_save", save, true, still_the_old_state);
	}
	at_each_allocation("owner_state_load", load, true, NULL);
	ck_assert_uint_eq(other->list_number, space->list_number);
	owner_space_free(other);
	owner_space_free(space);
	vault_close(vault);
}
END_TEST

/* ---- exported keys, lists of members */

static struct trust *trust;
static uint8_t *content;
static size_t content_len;

static enum err export(void)
{
	struct keyfile_lock lock = { .password = NULL };
	lock.recipient = der_of_pair(rsa, &lock.recipient_len);
	return keyfile_make(&lock, rsa, "content", 7, &bytes, &len);
}

static enum err import(void)
{
	why = "";
	enum err e = keyfile_open(bytes, len, NULL, 0, rsa, trust, &content, &content_len, &why);
	snprintf(error, sizeof error, "%s", why);
	return e;
}

START_TEST(keys_are_exported_and_imported_whole_or_not_at_all)
{
	at_each_allocation("keyfile_make", export, false, NULL);
	at_each_allocation("keyfile_open", import, true, NULL);
	ck_assert(content_len == 7 && memcmp(content, "content", 7) == 0);
	secmem_free(content);
	free(bytes);
}
END_TEST

static struct memberlist *list;

static enum err make_list(void)
{
	const struct memberlist_entry entries[] = { { .cn = "ann", .cn_len = 3, .access = 3, .since = 1 }, { .cn = "bob", .cn_len = 3, .access = 3, .since = 2 } };
	const struct memberlist head = { .space = "s", .space_len = 1, .number = 1, .epoch = 5 };
	return memberlist_make(&head, entries, 2, ec, &bytes, &len);
}

static enum err parse_list(void)
{
	enum err e = memberlist_parse(&list, bytes, len, &why);
	snprintf(error, sizeof error, "%s", why ? why : "");
	return e;
}

START_TEST(lists_of_members)
{
	at_each_allocation("memberlist_make", make_list, false, NULL);
	at_each_allocation("memberlist_parse", parse_list, true, NULL);
	pool_free(list);
	pool_free(bytes);
}
END_TEST

/* ---- pins */

static struct pins pins;
static size_t removed;
static uint32_t pinned_epoch;

static enum err add_pins(void)
{
	char broker[] = "host:8883", member[] = "ann", space_name[] = "plant", second[] = "lab";
	struct pin two[] = { { .broker = broker, .member = member, .space = space_name, .mode = 1, .epoch = pinned_epoch },
		{ .broker = broker, .member = member, .space = second, .mode = 2, .epoch = pinned_epoch, .list = 4 } };
	return pins_add(path, &(struct pins){ two, 2 }, error);
}

static enum err read_pins(void) { return pins_read(&pins, path, error); }
static enum err remove_pins(void) { return pins_remove(path, "host:8883", "lab", &removed, error); }

static void still_the_old_pins(void)
{
	ck_assert_msg(pins_read(&pins, path, error) == ERR_OK, "%s", error);
	ck_assert(pins.n == (pinned_epoch > 1 ? 2 : 0) && (pins.n == 0 || pins.items[0].epoch < pinned_epoch));
	pins_free(&pins);
}

static void still_two_pins(void)
{
	ck_assert_int_eq(pins_read(&pins, path, error), ERR_OK);
	ck_assert_uint_eq(pins.n, 2);
	pins_free(&pins);
}

START_TEST(pins_are_replaced_whole_or_not_at_all)
{
	in_dir("pins");
	for (pinned_epoch = 1; pinned_epoch <= 2; pinned_epoch++)
		at_each_allocation("pins_add", add_pins, true, still_the_old_pins);
	at_each_allocation("pins_read", read_pins, true, NULL);
	ck_assert(pins.n == 2 && pins.items[0].epoch == 2);
	pins_free(&pins);
	at_each_allocation("pins_remove", remove_pins, true, still_two_pins);
	ck_assert_uint_eq(removed, 1);
}
END_TEST

/* ---- journals */

static struct outbox *outbox;
static struct dedup *account;
static unsigned messages;

static const char *count(void *arg, const struct outbox_message *m)
{
	(void)arg;
	messages += m->len == 1;
	return NULL;
}

static enum err open_outbox(void)
{
	messages = 0;
	return of(outbox = outbox_open(path, "t", ec, count, NULL, &torn, error, sizeof error));
}

static enum err add_message(void)
{
	struct outbox_message m = { .bytes = (const uint8_t *)"x", .len = 1, .qos = 1 };
	return outbox_add(outbox, &m, 1);
}

static enum err commit_messages(void) { return outbox_commit(outbox); }
static enum err finish_outbox(void) { return outbox_finish(outbox); }

START_TEST(an_outbox_takes_messages_whole_or_not_at_all)
{
	in_dir("outbox");
	at_each_allocation("outbox_open, a new one", open_outbox, true, NULL);
	at_each_allocation("outbox_add", add_message, false, NULL);
	ck_assert_uint_eq(outbox_taken(outbox), 1);
	at_each_allocation("outbox_commit", commit_messages, false, NULL);
	outbox_close(outbox);
	at_each_allocation("outbox_open", open_outbox, true, NULL);
	ck_assert_uint_eq(messages, 1);
	ck_assert_int_eq(outbox_delivered(outbox, 1), ERR_OK);
	at_each_allocation("outbox_finish", finish_outbox, false, NULL);
	outbox_close(outbox);
	ck_assert_int_eq(open_outbox(), ERR_OK);
	ck_assert_uint_eq(outbox_first(outbox), 1);
	outbox_close(outbox);
}
END_TEST

static uint64_t next_seq;

static struct dedup_id id_of(uint64_t seq)
{
	return (struct dedup_id){ .sender = "ann", .topic = "t", .stream = "stream0", .seq = seq, .time_ms = 7 };
}

static enum err open_account(void) { return of(account = dedup_open(path, "t", NULL, ec, 5, &torn, error, sizeof error)); }

static enum err add_seen(void)
{
	const struct dedup_id id = id_of(next_seq);
	return dedup_add(account, &id, NULL, 0);
}

static enum err commit_seen(void) { return dedup_commit(account); }
static enum err finish_account(void) { return dedup_finish(account); }

static bool was_seen(uint64_t seq)
{
	const struct dedup_id id = id_of(seq);
	uint64_t missing;
	return dedup_judge(account, &id, &missing) == DEDUP_SEEN;
}

static void not_seen(void) { ck_assert(!was_seen(next_seq)); }

START_TEST(an_account_notes_numbers_whole_or_not_at_all)
{
	in_dir("account");
	at_each_allocation("dedup_open, a new one", open_account, true, NULL);
	for (next_seq = 2; next_seq < 20; next_seq += 2) /* a range each */
		at_each_allocation("dedup_add", add_seen, false, not_seen);
	at_each_allocation("dedup_commit", commit_seen, false, NULL);
	dedup_close(account);
	at_each_allocation("dedup_open", open_account, true, NULL);
	for (uint64_t seq = 1; seq < 20; seq++)
		ck_assert(was_seen(seq) == (seq % 2 == 0));
	at_each_allocation("dedup_finish", finish_account, false, NULL);
	dedup_close(account);
	ck_assert_int_eq(open_account(), ERR_OK);
	ck_assert(was_seen(18) && !was_seen(19));
	dedup_close(account);
}
END_TEST

/* ---- transcripts and receipts */

#define NOW UINT64_C(1795180000000) /* the certificates of tests/vectors are valid then */
static struct transcript *transcript;
static struct transcript_scan scanned;
static struct proof proof;
static uint8_t sealed[2048];
static size_t sealed_len;
static char *receipt;
static uint64_t kept;

static enum err open_transcript(void) { return of(transcript = transcript_open(path, ec_fp, NOW, error, sizeof error)); }

static enum err keep(void)
{
	size_t n;
	const void *der = der_of_pair(rsa, &n);
	return transcript_add(transcript, "t", NOW, "live", der, n, sealed, sealed_len);
}

static enum err scan(void)
{
	FILE *f = fopen(path, "re"); /* Check's own allocations would fail as well: no assertion in here */
	if (!f)
		return ERR_IO;
	enum err e = transcript_scan(&scanned, f, NULL, NULL, NULL);
	fclose(f);
	if (e != ERR_OK)
		transcript_scan_free(&scanned);
	return e;
}

static void still_as_many(void)
{
	ck_assert_int_eq(scan(), ERR_OK);
	ck_assert(scanned.messages == kept && scanned.torn_len == 0);
	transcript_scan_free(&scanned);
}

static enum err sign(void) { return receipt_make(&scanned, 1, NOW + 1, ec, &receipt); }

static enum err check(void)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return ERR_IO;
	enum err e = proof_check(&proof, receipt, strlen(receipt), "receipt", f, "transcript", trust);
	fclose(f);
	snprintf(error, sizeof error, "%s", proof.error);
	proof_free(&proof);
	return e;
}

static void seal_one(void)
{
	static const uint8_t key[32] = "the content key of this test....";
	struct cose_head h = { .kid = "kid-kid", .stream = "stream0", .seq = 1, .time_ms = NOW };
	memcpy(h.sender, rsa_fp, COSE_SENDER_LEN);
	ck_assert_int_eq(cose_seal(&h, "t", 1, key, "hello", 5, rsa, sealed, &sealed_len), ERR_OK);
}

START_TEST(a_transcript_is_never_called_changed_for_lack_of_memory)
{
	in_dir("transcript");
	seal_one();
	at_each_allocation("transcript_open, a new one", open_transcript, true, NULL);
	for (kept = 0; kept < 3; kept++)
		at_each_allocation("transcript_add", keep, false, still_as_many);
	transcript_close(transcript);
	at_each_allocation("transcript_open", open_transcript, true, still_as_many);
	transcript_close(transcript);
	at_each_allocation("transcript_scan", scan, false, NULL);
	at_each_allocation("receipt_make", sign, false, NULL);
	transcript_scan_free(&scanned);
	at_each_allocation("proof_check", check, true, NULL);
	free(receipt);
}
END_TEST

/* ---- the inbox */

static struct inbox_read *inbox;
static uint8_t shown[INBOX_HASH_LEN];

static enum err open_inbox(void) { return of(inbox = inbox_read_open(path, NOW, error, sizeof error)); }
static enum err mark(void) { return inbox_read_mark(inbox, shown, NOW); }

START_TEST(an_inbox_forgets_nothing)
{
	in_dir("inbox");
	at_each_allocation("inbox_read_open, a new one", open_inbox, true, NULL);
	for (unsigned i = 0; i < 200; i++) { /* the table grows */
		shown[0] = (uint8_t)i;
		at_each_allocation("inbox_read_mark", mark, false, NULL);
	}
	inbox_read_close(inbox);
	at_each_allocation("inbox_read_open", open_inbox, true, NULL);
	for (unsigned i = 0; i < 200; i++) {
		shown[0] = (uint8_t)i;
		ck_assert_int_eq(inbox_read_look(inbox, shown), INBOX_READ);
	}
	inbox_read_close(inbox);
}
END_TEST

static void set_up(void)
{
	ec = vectors_keypair("ec");
	rsa = vectors_keypair("rsa");
	cert_fingerprint(keypair_cert(ec), ec_fp);
	cert_fingerprint(keypair_cert(rsa), rsa_fp);
	trust = trust_new(&(struct tls_options){ .cafile = "tests/vectors/ca.crt" }, error, sizeof error);
	ck_assert_msg(trust != NULL, "%s", error);
}

int main(void)
{
	folder_make(dir);
	if (tls_init() != ERR_OK || wolfSSL_SetAllocators(wolf_malloc, wolf_free, wolf_realloc) != 0 || setenv("XDG_DATA_HOME", dir, 1) != 0)
		return 1;
	cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = json_malloc, .free_fn = free });
	TCase *t = tcase_create("all");
	tcase_add_unchecked_fixture(t, set_up, NULL);
	tcase_add_test(t, an_owners_space_changes_whole_or_not_at_all);
	tcase_add_test(t, keys_are_exported_and_imported_whole_or_not_at_all);
	tcase_add_test(t, lists_of_members);
	tcase_add_test(t, pins_are_replaced_whole_or_not_at_all);
	tcase_add_test(t, an_outbox_takes_messages_whole_or_not_at_all);
	tcase_add_test(t, an_account_notes_numbers_whole_or_not_at_all);
	tcase_add_test(t, a_transcript_is_never_called_changed_for_lack_of_memory);
	tcase_add_test(t, an_inbox_forgets_nothing);
	int failed = run_case("client, no memory", t);
	trust_free(trust);
	keypair_free(ec);
	keypair_free(rsa);
	folder_remove(dir);
	tls_cleanup();
	pool_drain();
	return failed;
}
