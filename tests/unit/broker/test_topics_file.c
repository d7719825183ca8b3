/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading a topics_file. What is made of it: tests/e2e/test_topics_file.py. */
#include "broker/topics_file.h"
#include "tests/unit/base/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *said;

static struct topics_file *parse(const char *text)
{
    size_t len = 0;
    free(said);
    said = NULL;
    FILE *errors = open_memstream(&said, &len);
    ck_assert_ptr_nonnull(errors);
    struct topics_file *f = topics_file_parse(text, strlen(text), "topics", NULL, errors);
    ck_assert_int_eq(fclose(errors), 0);
    return f;
}

static void teardown(void)
{
    free(said);
    said = NULL;
}

START_TEST(every_key_is_read)
{
    struct topics_file *f = parse("# a comment\n"
                                  "topic plant/line 1   # its name has a space\n"
                                  "mode broker\nsign required\nowner alice\nnew_members from-join\nrotate_age 30d\nrotate_count 1000000\n"
                                  "history 1000\nhistory_age 7d\nhistory_bytes 64M\n"
                                  "member readwrite dev2\nmember read Carol Jones\nmember write dev1\n"
                                  "topic open\nmode open\nhistory 0\n");
    ck_assert_msg(f, "%s", said);
    ck_assert_str_eq(said, "");
    ck_assert_uint_eq(f->n_spaces, 2);
    const struct declared_space *s = topics_file_find(f, "plant/line 1", 12);
    ck_assert_ptr_eq(s, &f->spaces[0]);
    ck_assert_uint_eq(s->line, 2);
    ck_assert_int_eq(s->spec.mode, SPACE_BROKER);
    ck_assert_int_eq(s->spec.sign, SPACE_SIGN_REQUIRED);
    ck_assert_str_eq(s->spec.owner, "alice");
    ck_assert(s->spec.from_join);
    ck_assert_uint_eq(s->spec.rotate_age_s, 30 * 86400);
    ck_assert_uint_eq(s->spec.rotate_count, 1000000);
    ck_assert(s->spec.history.given && !s->spec.history.off);
    ck_assert_uint_eq(s->spec.history.count, 1000);
    ck_assert_uint_eq(s->spec.history.age_s, 7 * 86400);
    ck_assert_uint_eq(s->spec.history.bytes, 64 << 20);
    ck_assert_uint_eq(s->n_members, 3); /* by CN */
    ck_assert_str_eq(s->members[0].member.cn, "Carol Jones");
    ck_assert_uint_eq(s->members[0].member.access, SPACE_READ);
    ck_assert_str_eq(s->members[1].member.cn, "dev1");
    ck_assert_uint_eq(s->members[1].member.access, SPACE_WRITE);
    ck_assert_uint_eq(s->members[2].member.access, SPACE_READ | SPACE_WRITE);
    s = topics_file_find(f, "open", 4);
    ck_assert_int_eq(s->spec.mode, SPACE_OPEN);
    ck_assert(s->spec.history.given && s->spec.history.off);
    ck_assert_str_eq(s->spec.owner, "");
    ck_assert_ptr_null(topics_file_find(f, "plant", 5));
    ck_assert_ptr_null(topics_file_find(NULL, "plant", 5));
    topics_file_free(f);
}
END_TEST

START_TEST(what_is_left_out_is_as_in_createTopic)
{
    struct topics_file *f = parse("topic t\n");
    ck_assert_msg(f, "%s", said);
    const struct space_spec *s = &f->spaces[0].spec;
    ck_assert_int_eq(s->mode, SPACE_BROKER);
    ck_assert_int_eq(s->sign, SPACE_SIGN_OPTIONAL);
    ck_assert(!s->from_join && !s->history.given && s->rotate_age_s == 0 && s->rotate_count == 0);
    ck_assert_uint_eq(f->spaces[0].n_members, 0);
    topics_file_free(f);
    f = parse("\n# nothing\n");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(f->n_spaces, 0);
    topics_file_free(f);
}
END_TEST

static const struct {
    const char *text, *error;
} wrong[] = {
    {"mode open\n", "topics:1: mode: expected a 'topic NAME' line before it\n"},
    {"topic\n", "topics:1: topic: no value; expected a topic name without '+' and '#', not beginning with '$', of at most 65527 bytes and 200 levels\n"},
    {"topic a/+\n", "topics:1: topic: \"a/+\"; expected a topic name without"},
    {"topic a#b\n", "topics:1: topic: \"a#b\"; expected a topic name without"},
    {"topic $SYS/a\n", "topics:1: topic: \"$SYS/a\"; expected"},
    {"topic a\ntopic b\ntopic a\n", "topics:3: topic: \"a\" is declared twice; the first is in line 1\n"},
    {"topic a\nmode secret\n", "topics:2: mode: \"secret\"; expected open, broker or owner\n"},
    {"topic a\nmode aVeryLongWordIndeed\n", "topics:2: mode: \"aVeryLongWordIndeed\"; expected"},
    {"topic a\nsign yes\n", "topics:2: sign: \"yes\"; expected off, optional or required\n"},
    {"topic a\nsign off\nsign off\n", "topics:3: sign: given twice; the first is in line 2\n"},
    {"topic a\nmode owner\n", "topics:1: mode: owner needs a line 'owner CN': who makes the keys\n"},
    {"topic a\nowner a/b\n", "topics:2: owner: \"a/b\"; expected a common name of 1 to 256 bytes\n"},
    {"topic a\nnew_members none\n", "topics:2: new_members: \"none\"; expected see-past or from-join\n"},
    {"topic a\nmode open\nnew_members from-join\n", "topics:1: new_members: from-join is not for the mode open\n"},
    {"topic a\nmode open\nrotate_count 5\n", "topics:1: rotate_count: not for the mode open\n"},
    {"topic a\nmode owner\nowner x\nrotate_age 1h\n", "topics:1: rotate_age: not for the mode owner\n"},
    {"topic a\nrotate_age soon\n", "topics:2: rotate_age: \"soon\"; expected seconds, as a number"},
    {"topic a\nrotate_count 0\n", "topics:2: rotate_count: \"0\"; expected a number of messages from 1\n"},
    {"topic a\nhistory -1\n", "topics:2: history: \"-1\"; expected a number of messages (0: keep none)\n"},
    {"topic a\nhistory_bytes x\n", "topics:2: history_bytes: \"x\"; expected a size"},
    {"topic a\nmember dev1\n", "topics:2: member: \"dev1\"; expected read, write or readwrite, then a common name of 1 to 256 bytes\n"},
    {"topic a\nmember read\n", "topics:2: member: \"read\"; expected"},
    {"topic a\nmember all dev1\n", "topics:2: member: \"all dev1\"; expected"},
    {"topic a\nmember read a/b\n", "topics:2: member: \"a/b\"; expected"},
    {"topic a\nmember read d\nmember write d\n", "topics:3: member: \"d\" is a member already\n"},
    {"topic a\nmember_certificate read\n", "topics:2: member_certificate: \"read\"; expected read, write or readwrite, then the path of a certificate in PEM\n"},
    {"topic a\nmember_certificate read /no/such\n", "topics:2: member_certificate: cannot be read\n"},
    {"topic a\nmember_certificate read /dev/null\n", "topics:2: member_certificate: /dev/null: expected one certificate in PEM\n"},
    {"topic a\ncolour red\n", "topics:2: \"colour\": unknown key; expected topic, mode, sign, owner,"},
};

START_TEST(what_is_wrong_is_said_with_its_line_and_what_was_expected)
{
    struct topics_file *f = parse(wrong[_i].text);
    ck_assert_msg(!f, "%s: was taken", wrong[_i].text);
    ck_assert_msg(strstr(said, wrong[_i].error) != NULL, "%s: said '%s'", wrong[_i].text, said);
}
END_TEST

START_TEST(all_that_is_wrong_is_said)
{
    ck_assert_ptr_null(parse("topic $x\nmode no\ntopic b\nmember q\ntopic c\nmember read ok\n"));
    ck_assert_str_ne(said, "");
    ck_assert(strstr(said, "topics:1:") && strstr(said, "topics:2:") && strstr(said, "topics:4:"));
}
END_TEST

START_TEST(a_certificate_names_its_member)
{
    struct topics_file *f = parse("topic a\nmember_certificate write tests/vectors/rsa.crt\n");
    ck_assert_msg(f, "%s", said);
    const struct declared_member *m = &f->spaces[0].members[0];
    ck_assert(m->member.pinned && m->der && m->der_len > 0);
    ck_assert_uint_eq(m->member.cn_len, strlen(m->member.cn));
    ck_assert_uint_eq(m->member.access, SPACE_WRITE);
    topics_file_free(f);
}
END_TEST

START_TEST(an_ec_certificate_is_for_open_spaces_alone)
{
    ck_assert_ptr_null(parse("topic a\nmember_certificate read tests/vectors/ec.crt\n"));
    ck_assert_msg(strstr(said, "topics:2: member_certificate: CN ") && strstr(said, "an EC key cannot receive an envelope"), "%s", said);
    struct topics_file *f = parse("topic a\nmember_certificate read tests/vectors/ec.crt\nmode open\n");
    ck_assert_msg(f, "%s", said);
    topics_file_free(f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("topics_file");
    TCase *t = tcase_create("lines");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, every_key_is_read);
    tcase_add_test(t, what_is_left_out_is_as_in_createTopic);
    tcase_add_loop_test(t, what_is_wrong_is_said_with_its_line_and_what_was_expected, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(t, all_that_is_wrong_is_said);
    tcase_add_test(t, a_certificate_names_its_member);
    tcase_add_test(t, an_ec_certificate_is_for_open_spaces_alone);
    suite_add_tcase(s, t);
    return run_suite(s);
}
