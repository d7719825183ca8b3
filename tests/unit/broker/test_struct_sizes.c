/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What there is many of stays small. A bound may be raised in a commit that says what the bytes buy; tests/count measures what
 * a connection, a session and a subscription cost altogether. */
#include "base/msg.h"
#include "broker/conn.h"
#include "broker/session.h"
#include "tests/unit/base/suite.h"

_Static_assert(sizeof(struct conn) <= 384, "one per connection");
_Static_assert(sizeof(struct session) <= 360, "one per session, its client id behind it");
_Static_assert(sizeof(struct identity) <= 80, "one per connection, its CN behind it");
_Static_assert(sizeof(struct entry) <= 32, "one per message and receiver");
_Static_assert(sizeof(struct msg) <= 40, "in front of each topic and payload");
_Static_assert(sizeof(struct target) <= 16, "one per match of a PUBLISH");

START_TEST(an_idle_connection_and_its_session_are_under_a_kilobyte)
{
	ck_assert_uint_le(sizeof(struct conn) + sizeof(struct session) + sizeof(struct identity), 1024);
}
END_TEST

SUITE_MAIN("struct_sizes", an_idle_connection_and_its_session_are_under_a_kilobyte)
