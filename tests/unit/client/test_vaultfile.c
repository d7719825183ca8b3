/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is sealed under an identity's own key: opened by it alone, in its own place alone; files are replaced as a whole. */
#include "client/vaultfile.h"

#include "base/pool.h"
#include "base/secmem.h"
#include "crypto/ownseal.h"
#include "crypto/tls.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/crypto/vectors.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[FOLDER_MAX], error[VAULT_ERROR_MAX];
static struct keypair *ec, *rsa;

START_TEST(what_the_second_implementation_has_sealed_opens)
{
	cJSON *json = vectors_load_file("tests/vectors/owner.json"), *v;
	cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(json, "own")) {
		struct hex id = hex_of(v, "id"), purpose = hex_of(v, "purpose"), plain = hex_of(v, "plain"), sealed = hex_of(v, "sealed");
		struct ownseal_key k;
		uint8_t out[512];
		ck_assert_int_eq(ownseal_key_of(strcmp(text_of(v, "key"), "ec") == 0 ? ec : rsa, &k), ERR_OK);
		ck_assert_mem_eq(k.id, id.p, sizeof k.id);
		ck_assert_uint_eq(sealed.len, plain.len + OWNSEAL_OVERHEAD);
		ck_assert_int_eq(ownseal_open(&k, purpose.p, purpose.len, sealed.p, sealed.len, out), ERR_OK);
		ck_assert_mem_eq(out, plain.p, plain.len);
	}
	cJSON_Delete(json);
	hex_free_all();
}
END_TEST

START_TEST(bytes_open_only_whole_and_for_their_purpose)
{
	struct ownseal_key k, other;
	uint8_t sealed[5 + OWNSEAL_OVERHEAD], again[sizeof sealed], out[64];
	ck_assert_int_eq(ownseal_key_of(rsa, &k), ERR_OK);
	ck_assert_int_eq(ownseal_key_of(ec, &other), ERR_OK);
	ck_assert_int_eq(ownseal_seal(&k, "owner/a", 7, "hello", 5, sealed), ERR_OK);
	ck_assert_int_eq(ownseal_seal(&k, "owner/a", 7, "hello", 5, again), ERR_OK);
	ck_assert_mem_ne(sealed + 22, again + 22, sizeof sealed - 22); /* a salt is never used twice */
	ck_assert_int_eq(ownseal_open(&k, "owner/a", 7, sealed, sizeof sealed, out), ERR_OK);
	ck_assert_mem_eq(out, "hello", 5);
	ck_assert_int_eq(ownseal_open(&k, "owner/b", 7, sealed, sizeof sealed, out), ERR_CORRUPT);
	ck_assert_int_eq(ownseal_open(&other, "owner/a", 7, sealed, sizeof sealed, out), ERR_REFUSED);
	for (size_t i = 0; i < sizeof sealed; i++) {
		ck_assert_int_ne(ownseal_open(&k, "owner/a", 7, sealed, i, out), ERR_OK);
		sealed[i] ^= 1;
		ck_assert_int_ne(ownseal_open(&k, "owner/a", 7, sealed, sizeof sealed, out), ERR_OK);
		sealed[i] ^= 1;
	}
	other = k;
	memset(other.secret, 7, sizeof other.secret); /* the same public id, another secret */
	ck_assert_int_eq(ownseal_open(&other, "owner/a", 7, sealed, sizeof sealed, out), ERR_CORRUPT);
}
END_TEST

static mode_t mode_of(const char *path)
{
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_mode & 0777;
}

static char *in_folder(const struct vault *v, const char *name)
{
	static char path[2][512];
	static int i;
	i = !i;
	snprintf(path[i], sizeof path[i], "%s/%s", vault_folder(v), name);
	return path[i];
}

static void expect(struct vault *v, const char *name, const char *text)
{
	uint8_t *content = NULL;
	size_t len;
	ck_assert_msg(vault_read(v, name, &content, &len, error) == ERR_OK, "%s", error);
	ck_assert_uint_eq(len, strlen(text));
	ck_assert_mem_eq(content, text, len);
	secmem_free(content);
}

START_TEST(files_are_kept_private_and_for_their_identity)
{
	struct vault *v = vault_open("owner", rsa, error);
	uint8_t *content;
	size_t len;
	ck_assert_msg(v != NULL, "%s", error);
	ck_assert_int_eq(vault_read(v, "a", &content, &len, error), ERR_NOT_FOUND);
	ck_assert_int_eq(vault_write(v, "a", "first", 5, error), ERR_OK);
	expect(v, "a", "first");
	ck_assert_int_eq(vault_write(v, "a", "", 0, error), ERR_OK);
	expect(v, "a", "");
	ck_assert_int_eq(vault_write(v, "a", "secret text", 11, error), ERR_OK);
	ck_assert_uint_eq(mode_of(vault_folder(v)), 0700);
	ck_assert_uint_eq(mode_of(in_folder(v, "a")), 0600);
	char *bytes = read_text(in_folder(v, "a"), &len);
	ck_assert_ptr_null(memmem(bytes, len, "secret", 6));
	free(bytes);
	ck_assert_int_eq(rename(in_folder(v, "a"), in_folder(v, "b")), 0);
	ck_assert_int_eq(vault_read(v, "b", &content, &len, error), ERR_CORRUPT);
	ck_assert_ptr_nonnull(strstr(error, "put in another file's place"));
	ck_assert_int_eq(rename(in_folder(v, "b"), in_folder(v, "a")), 0);
	vault_close(v);

	char copy[512], path[600];
	struct vault *other = vault_open("owner", ec, error);
	ck_assert_msg(other != NULL, "%s", error);
	v = vault_open("owner", rsa, error); /* another identity's is another folder */
	ck_assert_ptr_nonnull(v);
	snprintf(copy, sizeof copy, "cp %s %s", in_folder(v, "a"), in_folder(other, "a"));
	ck_assert_int_eq(system(copy), 0);
	ck_assert_int_eq(vault_read(other, "a", &content, &len, error), ERR_REFUSED);
	snprintf(path, sizeof path, "%s", in_folder(v, "a"));
	FILE *f = fopen(path, "we");
	ck_assert(f && fputs("something else of some length, which is more than the seventy bytes of a head", f) >= 0 && fclose(f) == 0);
	ck_assert_int_eq(vault_read(v, "a", &content, &len, error), ERR_INVALID);
	ck_assert_int_eq(vault_remove(v, "a", error), ERR_OK);
	ck_assert_int_eq(vault_remove(v, "a", error), ERR_NOT_FOUND);
	for (size_t i = 0; i < 5; i++)
		ck_assert_int_eq(vault_write(v, (const char *[]){ "", ".x", "a/b", "../x", "A" }[i], "", 0, error), ERR_INVALID);
	vault_close(v);
	vault_close(other);
}
END_TEST

static bool collect(void *arg, const char *name)
{
	strcat(strcat(arg, name), " ");
	return strcmp(name, "three") != 0;
}

START_TEST(files_are_listed_in_order_without_what_a_crash_left)
{
	struct vault *v = vault_open("list", rsa, error);
	char names[64] = "";
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(vault_write(v, (const char *[]){ "two", "one", "three" }[i], "x", 1, error), ERR_OK);
	FILE *f = fopen(in_folder(v, "one.new"), "we");
	ck_assert(f && fclose(f) == 0);
	ck_assert_int_eq(vault_each(v, collect, names, error), ERR_OK);
	ck_assert_str_eq(names, "one three ");
	vault_close(v);
}
END_TEST

/* A writer that is killed at any moment leaves the old content or the new. */
START_TEST(a_killed_writer_leaves_a_whole_file)
{
	enum { ROUNDS = 12, SIZE = 200000 };
	char *big = malloc(SIZE);
	ck_assert_ptr_nonnull(big);
	struct vault *v = vault_open("killed", ec, error);
	memset(big, 'x', SIZE);
	ck_assert_int_eq(vault_write(v, "f", big, SIZE, error), ERR_OK);
	vault_close(v);
	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) { /* secrets are not inherited: it loads its own */
			struct keypair *own = vectors_keypair("ec");
			struct vault *w = vault_open("killed", own, error);
			for (unsigned char c = 'a'; w; c = c == 'z' ? 'a' : (unsigned char)(c + 1)) {
				memset(big, c, SIZE);
				if (vault_write(w, "f", big, SIZE, error) != ERR_OK)
					break;
			}
			_exit(1);
		}
		usleep(3000u + 1700u * (unsigned)i);
		int status;
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		v = vault_open("killed", ec, error); /* the lock is gone with its process */
		uint8_t *content = NULL;
		size_t len;
		ck_assert_msg(vault_read(v, "f", &content, &len, error) == ERR_OK, "round %d: %s", i, error);
		ck_assert_uint_eq(len, SIZE);
		ck_assert_mem_eq(content, content + 1, len - 1); /* of one writing */
		secmem_free(content);
		vault_close(v);
	}
	free(big);
}
END_TEST

static void set_up(void)
{
	ec = vectors_keypair("ec");
	rsa = vectors_keypair("rsa");
}

int main(void)
{
	folder_make(dir);
	if (tls_init() != ERR_OK || setenv("XDG_DATA_HOME", dir, 1) != 0)
		return 1;
	TCase *t = tcase_create("all");
	tcase_add_unchecked_fixture(t, set_up, NULL);
	tcase_add_test(t, what_the_second_implementation_has_sealed_opens);
	tcase_add_test(t, bytes_open_only_whole_and_for_their_purpose);
	tcase_add_test(t, files_are_kept_private_and_for_their_identity);
	tcase_add_test(t, files_are_listed_in_order_without_what_a_crash_left);
	tcase_add_test(t, a_killed_writer_leaves_a_whole_file);
	int failed = run_case("vaultfile", t);
	keypair_free(ec);
	keypair_free(rsa);
	folder_remove(dir);
	tls_cleanup();
	pool_drain();
	return failed;
}
