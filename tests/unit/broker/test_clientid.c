/* SPDX-License-Identifier: GPL-3.0-or-later */
/* clientid_pattern: what fits an identity. */
#include "broker/clientid.h"
#include "conf/parse.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

static bool fits(const char *lines, const char *cn, const char *client_id)
{
    struct conf *c = conf_parse(lines, strlen(lines), "x.conf", NULL);
    struct identity *id = identity_new(cn, strlen(cn));
    ck_assert(c && id);
    bool is = clientid_fits(c, id, client_id, strlen(client_id));
    identity_unref(id);
    conf_free(c);
    return is;
}

#define TLS "cafile a\ncertfile b\nkeyfile c\n"
#define PATTERN(p) TLS "clientid_pattern " p "\n"

START_TEST(without_a_pattern_every_client_id_fits)
{
    ck_assert(fits(TLS, "pump7", "anything"));
}
END_TEST

START_TEST(the_cn_stands_where_the_pattern_says)
{
    ck_assert(fits(PATTERN("%u"), "pump7", "pump7"));
    ck_assert(!fits(PATTERN("%u"), "pump7", "pump70"));
    ck_assert(!fits(PATTERN("%u"), "pump7", "pump"));
    ck_assert(!fits(PATTERN("%u"), "pump7", ""));
    ck_assert(fits(PATTERN("%u-*"), "pump7", "pump7-"));
    ck_assert(fits(PATTERN("%u-*"), "pump7", "pump7-gauge"));
    ck_assert(!fits(PATTERN("%u-*"), "pump7", "pump7"));
    ck_assert(!fits(PATTERN("%u-*"), "pump7", "pump8-gauge"));
    ck_assert(fits(PATTERN("id:%u:%u"), "a", "id:a:a"));
    ck_assert(!fits(PATTERN("id:%u:%u"), "a", "id:a:b"));
}
END_TEST

START_TEST(stars_stand_for_any_text)
{
    ck_assert(fits(PATTERN("*"), "x", "anything"));
    ck_assert(fits(PATTERN("*-%u"), "x", "a-b-x"));
    ck_assert(!fits(PATTERN("*-%u"), "x", "a-b-xx"));
    ck_assert(fits(PATTERN("a*b*c"), "x", "a--b--b--c"));
    ck_assert(fits(PATTERN("a*b*c"), "x", "abc"));
    ck_assert(!fits(PATTERN("a*b*c"), "x", "ac"));
    ck_assert(!fits(PATTERN("a*b*bc"), "x", "abc")); /* the same b cannot stand for two */
    ck_assert(fits(PATTERN("a**c"), "x", "abc"));
    ck_assert(!fits(PATTERN("a*a"), "x", "a"));
}
END_TEST

START_TEST(a_cn_is_taken_as_it_is)
{
    ck_assert(fits(PATTERN("%u-*"), "*", "*-1"));
    ck_assert(!fits(PATTERN("%u-*"), "*", "pump7-1"));
    ck_assert(fits(PATTERN("%u-*"), "%u", "%u-1"));
}
END_TEST

START_TEST(of_several_patterns_one_is_enough)
{
    const char lines[] = TLS "clientid_pattern %u\nclientid_pattern %u/*\n";
    ck_assert(fits(lines, "pump7", "pump7"));
    ck_assert(fits(lines, "pump7", "pump7/x"));
    ck_assert(!fits(lines, "pump7", "pump7-x"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("clientid");
    TCase *t = tcase_create("patterns");
    tcase_add_test(t, without_a_pattern_every_client_id_fits);
    tcase_add_test(t, the_cn_stands_where_the_pattern_says);
    tcase_add_test(t, stars_stand_for_any_text);
    tcase_add_test(t, a_cn_is_taken_as_it_is);
    tcase_add_test(t, of_several_patterns_one_is_enough);
    suite_add_tcase(s, t);
    return run_suite(s);
}
