/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of types and reasons. */
#include "mqtt/mqtt.h"

#include "tests/unit/mqtt/guard.h"

/* Every reason code that MQTT 5.0 lists in 2.4, with our one internal code. */
static const uint16_t reasons[] = {
	0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86,
	0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x91, 0x92, 0x93, 0x94, 0x95,
	0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2, 0x100,
};

START_TEST(each_reason_has_its_own_text)
{
	const size_t count = sizeof reasons / sizeof reasons[0];
	for (size_t i = 0; i < count; i++) {
		const char *text = mqtt_reason_text((enum mqtt_reason)reasons[i]);
		ck_assert_str_ne(text, "unknown reason");
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(text, mqtt_reason_text((enum mqtt_reason)reasons[k]));
	}
	size_t known = 0;
	for (unsigned code = 0; code < 0x200; code++)
		known += strcmp(mqtt_reason_text((enum mqtt_reason)code), "unknown reason") != 0;
	ck_assert_uint_eq(known, count);
}
END_TEST

START_TEST(types_have_their_names)
{
	ck_assert_str_eq(mqtt_type_name(MQTT_CONNECT), "CONNECT");
	ck_assert_str_eq(mqtt_type_name(MQTT_PUBCOMP), "PUBCOMP");
	ck_assert_str_eq(mqtt_type_name(MQTT_UNSUBSCRIBE), "UNSUBSCRIBE");
	ck_assert_str_eq(mqtt_type_name(MQTT_DISCONNECT), "DISCONNECT");
	ck_assert_str_eq(mqtt_type_name(MQTT_AUTH), "AUTH");
	ck_assert_str_eq(mqtt_type_name((enum mqtt_type)0), "reserved");
	ck_assert_str_eq(mqtt_type_name((enum mqtt_type)16), "reserved");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mqtt/mqtt");
	TCase *tc = tcase_create("names");
	tcase_add_test(tc, each_reason_has_its_own_text);
	tcase_add_test(tc, types_have_their_names);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
