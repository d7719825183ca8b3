/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Owns nothing. */
#include "crypto/json.h"

#include "base/textbytes.h"

#include <errno.h>
#include <string.h>

/* cJSON does not say why it has returned nothing; malloc() does. */
enum err json_parse(const void *text, size_t len, const char **end, cJSON **out)
{
	errno = 0;
	*out = cJSON_ParseWithLengthOpts(text, len, end, 0);
	return *out ? ERR_OK : errno == ENOMEM ? ERR_NOMEM : ERR_INVALID;
}

const char *json_text(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

bool json_whole(const cJSON *object, const char *name, uint64_t max, uint64_t *out)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > (double)max)
		return false;
	*out = (uint64_t)item->valuedouble;
	return (double)*out == item->valuedouble;
}

bool json_is_hash(const cJSON *value, uint8_t out[static 32])
{
	const char *text = cJSON_GetStringValue(value);
	return text && hex_get(text, strlen(text), out, 32);
}

bool json_hash(const cJSON *object, const char *name, uint8_t out[static 32])
{
	return json_is_hash(cJSON_GetObjectItemCaseSensitive(object, name), out);
}
