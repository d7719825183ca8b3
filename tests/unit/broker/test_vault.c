/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small values as the store keeps them: sealed with their name. What else the vault does: tests/e2e/test_keys_store.py, test_durable.py. */
#include "broker/vault.h"

#include "crypto/record.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

#define NAME "space/0123456789abcdef"

static char dir[FOLDER_MAX], key_file[96];
static struct conf conf;
static struct vault *vault;
static struct store *store;

static void setup(void)
{
    char error[256] = "";
    folder_make(dir);
    snprintf(key_file, sizeof key_file, "%s/master.key", dir);
    conf = (struct conf){.store_dir = dir, .store_max_size = 16 << 20};
    vault = vault_new(&conf, error, sizeof error);
    ck_assert_msg(vault, "%s", error);
    const struct store_options o = {.dir = dir, .max_size = conf.store_max_size, .crypto = vault_crypto(vault)};
    store = store_open(&o, error, sizeof error);
    ck_assert_msg(store, "%s", error);
    ck_assert_int_eq(vault_unlock(vault, store, error, sizeof error), ERR_OK);
}

static void teardown(void)
{
    store_close(store);
    vault_free(vault);
    folder_remove(dir);
}

START_TEST(a_value_opens_under_its_name_alone)
{
    static const char text[] = "who is a member";
    size_t len = 0, plain_len = 0;
    uint8_t *plain = NULL, *sealed = vault_seal_value(vault, NAME, text, sizeof text, &len);
    ck_assert_ptr_nonnull(sealed);
    ck_assert_uint_eq(len, sizeof text + RECORD_OVERHEAD);
    ck_assert_ptr_null(memmem(sealed, len, text, 6));
    ck_assert_int_eq(vault_open_value(vault, NAME, sealed, len, &plain, &plain_len), ERR_OK);
    ck_assert_uint_eq(plain_len, sizeof text);
    ck_assert_mem_eq(plain, text, sizeof text);
    free(plain);
    ck_assert_int_eq(vault_open_value(vault, "space/0123456789abcdee", sealed, len, &plain, &plain_len), ERR_CORRUPT);
    ck_assert_ptr_null(plain);
    free(sealed);
}
END_TEST

START_TEST(no_change_of_a_value_passes)
{
    size_t len = 0, plain_len = 0;
    uint8_t *plain = NULL, *sealed = vault_seal_value(vault, NAME, "abc", 3, &len);
    ck_assert_ptr_nonnull(sealed);
    for (size_t i = 0; i < len; i++) {
        sealed[i] ^= 0x10;
        ck_assert_int_eq(vault_open_value(vault, NAME, sealed, len, &plain, &plain_len), ERR_CORRUPT);
        sealed[i] ^= 0x10;
        ck_assert_int_eq(vault_open_value(vault, NAME, sealed, i, &plain, &plain_len), ERR_CORRUPT);
    }
    ck_assert_int_eq(vault_open_value(vault, NAME, sealed, len, &plain, &plain_len), ERR_OK);
    free(plain);
    free(sealed);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vault");
    TCase *t = tcase_create("values");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_value_opens_under_its_name_alone);
    tcase_add_test(t, no_change_of_a_value_passes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
