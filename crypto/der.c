/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The strict DER reader. Owns nothing; any thread. */
#include "crypto/der.h"

#include <string.h>

bool der_equal(struct der d, const void *bytes, size_t len)
{
	return der_len(d) == len && (len == 0 || memcmp(d.p, bytes, len) == 0);
}

/* Length octets in their shortest form, at most three (16 MiB is far beyond anything read here). */
static bool take_length(struct der *d, size_t *len)
{
	if (der_empty(*d))
		return false;
	uint8_t first = *d->p++;
	if (first < 0x80) {
		*len = first;
		return true;
	}
	size_t n = first & 0x7fu;
	if (n == 0 || n > 3 || der_len(*d) < n) /* 0: indefinite, which is BER */
		return false;
	size_t v = 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | *d->p++;
	if (v < 0x80 || (n > 1 && v >> (8 * (n - 1)) == 0))
		return false;
	*len = v;
	return true;
}

bool der_take_any(struct der *d, unsigned *tag, struct der *content, struct der *whole)
{
	size_t len = 0;
	const uint8_t *start = d->p;
	if (der_empty(*d) || (*d->p & 0x1f) == 0x1f)
		return false;
	*tag = *d->p++;
	if (!take_length(d, &len) || der_len(*d) < len)
		return false;
	*content = der_of(d->p, len);
	d->p += len;
	if (whole)
		*whole = der_of(start, (size_t)(d->p - start));
	return true;
}

bool der_take_whole(struct der *d, unsigned tag, struct der *content, struct der *whole)
{
	unsigned found = 0;
	return der_next_is(*d, tag) && der_take_any(d, &found, content, whole);
}

bool der_take(struct der *d, unsigned tag, struct der *content)
{
	return der_take_whole(d, tag, content, NULL);
}

bool der_take_unsigned(struct der *d, struct der *magnitude)
{
	struct der v;
	if (!der_take(d, DER_INTEGER, &v) || der_empty(v) || (v.p[0] & 0x80))
		return false;
	if (der_len(v) > 1 && v.p[0] == 0) {
		if (!(v.p[1] & 0x80))
			return false;
		v.p++;
	}
	*magnitude = v;
	return true;
}

bool der_take_small(struct der *d, uint8_t *value)
{
	struct der v;
	if (!der_take_unsigned(d, &v) || der_len(v) != 1)
		return false;
	*value = v.p[0];
	return true;
}

static bool two_digits(const uint8_t *p, unsigned min, unsigned max, unsigned *out)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*out = (unsigned)(p[0] - '0') * 10 + (unsigned)(p[1] - '0');
	return *out >= min && *out <= max;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that start in March. */
static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
	int64_t years = m > 2 ? y : y - 1;
	unsigned month = m > 2 ? m - 3 : m + 9;
	return 365 * years + years / 4 - years / 100 + years / 400 + (153 * month + 2) / 5 + d - 1 - 719468;
}

static unsigned days_in_month(unsigned y, unsigned m)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	return days[m - 1] + (m == 2 && leap ? 1u : 0u);
}

bool der_take_time(struct der *d, int64_t *seconds)
{
	unsigned tag = 0, century, year, month, day, hour, minute, second;
	struct der t;
	if (!der_take_any(d, &tag, &t, NULL))
		return false;
	if (tag == DER_GENERALIZED_TIME && der_len(t) == 15) {
		if (!two_digits(t.p, 0, 99, &century))
			return false;
		t.p += 2;
	} else if (tag == DER_UTC_TIME && der_len(t) == 13) {
		century = t.p[0] >= '5' ? 19 : 20;
	} else {
		return false;
	}
	if (!two_digits(t.p, 0, 99, &year) || !two_digits(t.p + 2, 1, 12, &month) || !two_digits(t.p + 4, 1, 31, &day) ||
	    !two_digits(t.p + 6, 0, 23, &hour) || !two_digits(t.p + 8, 0, 59, &minute) || !two_digits(t.p + 10, 0, 59, &second) ||
	    t.p[12] != 'Z')
		return false;
	year += century * 100;
	if (day > days_in_month(year, month))
		return false;
	*seconds = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
	return true;
}
