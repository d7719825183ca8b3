/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How near an end is. What is said about it: tests/e2e/test_certificates.py. */
#include "broker/validity.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>

#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

START_TEST(an_end_comes_nearer_in_steps)
{
    ck_assert_int_eq(validity_of(INT64_MAX, NOW), VALIDITY_FAR);
    ck_assert_int_eq(validity_of(NOW + 30 * DAY + 1, NOW), VALIDITY_FAR);
    ck_assert_int_eq(validity_of(NOW + 30 * DAY, NOW), VALIDITY_MONTH);
    ck_assert_int_eq(validity_of(NOW + 7 * DAY + 1, NOW), VALIDITY_MONTH);
    ck_assert_int_eq(validity_of(NOW + 7 * DAY, NOW), VALIDITY_WEEK);
    ck_assert_int_eq(validity_of(NOW, NOW), VALIDITY_WEEK); /* its last second counts [RFC 5280 4.1.2.5] */
    ck_assert_int_eq(validity_of(NOW - 1, NOW), VALIDITY_OVER);
    ck_assert_int_eq(validity_of(INT64_MIN, 0), VALIDITY_OVER);
}
END_TEST

START_TEST(days_are_rounded_down)
{
    ck_assert_int_eq(validity_days(NOW, NOW), 0);
    ck_assert_int_eq(validity_days(NOW + DAY - 1, NOW), 0);
    ck_assert_int_eq(validity_days(NOW + DAY, NOW), 1);
    ck_assert_int_eq(validity_days(NOW - 1, NOW), -1);
    ck_assert_int_eq(validity_days(NOW - DAY, NOW), -1);
    ck_assert_int_eq(validity_days(NOW - DAY - 1, NOW), -2);
}
END_TEST

START_TEST(a_time_is_written_in_utc)
{
    char text[VALIDITY_TEXT];
    ck_assert_str_eq(validity_text(0, text), "1970-01-01T00:00:00Z");
    ck_assert_str_eq(validity_text(NOW, text), "2027-01-15T08:00:00Z");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("validity");
    TCase *t = tcase_create("dates");
    tcase_add_test(t, an_end_comes_nearer_in_steps);
    tcase_add_test(t, days_are_rounded_down);
    tcase_add_test(t, a_time_is_written_in_utc);
    suite_add_tcase(s, t);
    return run_suite(s);
}
