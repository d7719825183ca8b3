/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory at every place of every command in turn: what the registrar has in memory and what the store has stay the same, the
 * next command works, and nothing leaks (LeakSanitizer). Commands run on the spot, before loops and store have threads. Linked with --wrap
 * (Makefile). */
#include "base/pages.h"
#include "base/pool.h"
#include "broker/broker.h"
#include "broker/registrar_int.h"
#include "conf/parse.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/base/suite.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 0: none fails; n: the n-th from now fails, of this thread. */
static _Thread_local unsigned fail_at;
static _Thread_local bool failed_one;

static bool fails(void)
{
    if (fail_at == 0 || --fail_at > 0)
        return false;
    failed_one = true;
    return true;
}

#include "tests/unit/base/nomem.h" /* asks fails() */

static void *json_malloc(size_t size) /* cJSON is a shared library: its own calls are not wrapped */
{
    return __wrap_malloc(size);
}

static char dir[FOLDER_MAX];
static struct broker *b;
static struct identity *boss;

static void setup(void)
{
    char text[512];
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = json_malloc, .free_fn = free});
    folder_make(dir);
    snprintf(text, sizeof text, "topic_admin boss\nthreads 1\nsys_interval 0\nlog_dest none\nstore_dir %s\nstore_max_size 16M\nlistener 2 127.0.0.1\n"
             "cafile tests/vectors/ca.crt\ncertfile tests/vectors/rsa.crt\nkeyfile tests/vectors/rsa.key\n", dir);
    struct conf *c = conf_parse(text, strlen(text), "conf", stderr);
    ck_assert_ptr_nonnull(c);
    b = broker_new(c, stderr);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(log_start(&b->policy->conf->log), ERR_OK);
    boss = identity_new("boss", 4);
    ck_assert_ptr_nonnull(boss);
}

static void teardown(void)
{
    identity_unref(boss);
    log_stop();
    broker_free(b);
    folder_remove(dir);
    pool_drain();
    cJSON_InitHooks(NULL);
}

/* The answer's text, for free(); NULL: out of memory. at: which allocation fails. */
static char *run(const char *command, unsigned at)
{
    char json[1024];
    int len = snprintf(json, sizeof json, "{\"commands\":[%s]}", command);
    pool_drain(); /* what the pool kept would hide allocations */
    failed_one = false;
    fail_at = at;
    char *answer = control_run(b->registrar, boss, (const uint8_t *)json, (size_t)len);
    fail_at = 0;
    return answer;
}

static void must(const char *command)
{
    char *answer = run(command, 0);
    ck_assert_msg(answer && !strstr(answer, "\"error\""), "%s: %s", command, answer ? answer : "out of memory");
    free(answer);
}

/* ---- memory and store agree ---- */

static size_t seen;

static enum err compare(void *arg, const char *name, const void *sealed, size_t len)
{
    uint8_t *text = NULL;
    struct space *s = NULL;
    (void)arg;
    ck_assert_int_eq(vault_open_value(b->vault, name, sealed, len, &text, &len), ERR_OK);
    ck_assert_int_eq(keyspace_decode(text, len, b->vault, &s), ERR_OK);
    const struct space *is = space_map_get(b->registrar->map, s->spec.name, s->spec.name_len);
    ck_assert_msg(is != NULL, "%s is in the store alone", s->spec.name);
    ck_assert_uint_eq(s->spec.id, is->spec.id);
    ck_assert_uint_eq(s->spec.n_epochs, is->spec.n_epochs);
    for (size_t i = 0; i < s->spec.n_epochs; i++)
        ck_assert_mem_eq(s->spec.epochs[i].root, is->spec.epochs[i].root, SPACE_KEY_LEN);
    ck_assert_uint_eq(s->spec.n_members, is->spec.n_members);
    for (size_t i = 0; i < s->spec.n_members; i++) {
        ck_assert_str_eq(s->spec.members[i].cn, is->spec.members[i].cn);
        ck_assert_uint_eq(s->spec.members[i].access, is->spec.members[i].access);
        ck_assert_uint_eq(s->spec.members[i].since, is->spec.members[i].since);
    }
    ck_assert_uint_eq(s->spec.history.count, is->spec.history.count);
    space_unref(s);
    free(text);
    seen++;
    return ERR_OK;
}

static void agree(void)
{
    seen = 0;
    ck_assert_int_eq(store_meta_each(b->store, KEYSPACE_STORE_PREFIX, compare, NULL), ERR_OK);
    ck_assert_uint_eq(seen, space_map_count(b->registrar->map));
    ck_assert_ptr_eq(b->spaces, b->registrar->map);
}

#define SPACE "\"topic\":\"t\""
#define CREATE "{\"command\":\"createTopic\"," SPACE ",\"history\":{\"count\":5},\"members\":[{\"cn\":\"a\"},{\"cn\":\"b\",\"access\":\"read\"}]}"
#define JOIN "{\"command\":\"createTopic\"," SPACE ",\"newMembers\":\"from-join\",\"members\":[{\"cn\":\"a\"}]}"
#define DELETE "{\"command\":\"deleteTopic\"," SPACE "}"

static const struct {
    const char *before, *command;
} cases[] = {
    {NULL, CREATE},
    {CREATE, DELETE},
    {CREATE, "{\"command\":\"addMembers\"," SPACE ",\"members\":[{\"cn\":\"c\"},{\"cn\":\"b\"}]}"},
    {JOIN, "{\"command\":\"addMembers\"," SPACE ",\"members\":[{\"cn\":\"c\"}]}"},
    {CREATE, "{\"command\":\"removeMember\"," SPACE ",\"cn\":\"a\"}"},
    {CREATE, "{\"command\":\"rotateKey\"," SPACE "}"},
    {CREATE, "{\"command\":\"setHistory\"," SPACE ",\"history\":{\"count\":9}}"},
    {CREATE, "{\"command\":\"getTopic\"," SPACE "}"},
    {CREATE, "{\"command\":\"listTopics\",\"correlationData\":\"x\"}"},
};

static bool exists(void)
{
    return space_map_get(b->registrar->map, "t", 1) != NULL;
}

START_TEST(a_command_without_memory_leaves_memory_and_store_alike)
{
    unsigned n = 1, refused = 0;
    for (;; n++) {
        if (cases[_i].before)
            must(cases[_i].before);
        char *answer = run(cases[_i].command, n);
        bool good = answer && !strstr(answer, "\"error\""), failed = failed_one;
        if (!good && answer)
            ck_assert_msg(strstr(answer, "out of memory") || strstr(answer, "expected {"), "%s", answer);
        refused += !good;
        free(answer);
        agree();
        if (exists())
            must(DELETE);
        agree();
        if (!failed)
            break;
    }
    ck_assert_uint_gt(n, 10);
    ck_assert_uint_gt(refused, 5);
}
END_TEST

/* ---- what a topics_file declares ---- */

static void declares(const char *text)
{
    topics_file_free(b->policy->topics);
    b->policy->topics = topics_file_parse(text, strlen(text), "topics", NULL, stderr);
    ck_assert_ptr_nonnull(b->policy->topics);
}

START_TEST(a_declaration_without_memory_is_made_at_the_next_try)
{
    static const char *const files[] = {"topic t\nmember read a\nmember write b\n", "topic t\nmember read a\nhistory 7\nmember write c\n"};
    for (unsigned n = 1; n < 1000; n++) {
        for (size_t i = 0; i < 2; i++) {
            declares(files[i]);
            pool_drain();
            failed_one = false;
            fail_at = n;
            declare_all(b->registrar);
            fail_at = 0;
            agree();
            bool failed = failed_one;
            declare_all(b->registrar);
            ck_assert(!b->registrar->pending && exists());
            ck_assert_uint_eq(space_map_get(b->registrar->map, "t", 1)->spec.n_epochs, i + 1); /* not turned twice */
            agree();
            if (!failed && i == 1)
                return;
        }
        declares("# nothing\n");
        must(DELETE);
    }
    ck_abort_msg("it did not end");
}
END_TEST

START_TEST(a_topics_file_is_refused_whole_without_memory)
{
    static const char text[] = "topic t\nowner o\nmember read a\nmember_certificate write tests/vectors/rsa.crt\ntopic u\nmode open\n";
    FILE *null = fopen("/dev/null", "w");
    ck_assert_ptr_nonnull(null);
    for (unsigned n = 1; n < 1000; n++) {
        failed_one = false;
        fail_at = n;
        struct topics_file *f = topics_file_parse(text, sizeof text - 1, "topics", NULL, null);
        fail_at = 0;
        topics_file_free(f);
        if (!failed_one) {
            ck_assert_ptr_nonnull(f);
            fclose(null);
            return;
        }
    }
    ck_abort_msg("it did not end");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/registrar_nomem");
    TCase *t = tcase_create("commands");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_command_without_memory_leaves_memory_and_store_alike, 0, sizeof cases / sizeof *cases);
    tcase_add_test(t, a_declaration_without_memory_is_made_at_the_next_try);
    tcase_add_test(t, a_topics_file_is_refused_whole_without_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
