/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/access.h"

#include "topics/topic.h"

#include <string.h>

static bool starts_with(struct mqtt_bytes b, const char *prefix)
{
    size_t n = strlen(prefix);
    return b.len >= n && memcmp(b.p, prefix, n) == 0;
}

static bool is(struct mqtt_bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.p, text, b.len) == 0;
}

bool access_publish(const struct identity *id, struct mqtt_bytes topic)
{
    (void)id;
    return topic.p[0] != '$' || is(topic, "$SYS/health");
}

bool access_subscribe(const struct identity *id, struct mqtt_bytes filter)
{
    (void)id;
    struct topic_share share;
    if (!topic_share_parse(filter.p, filter.len, &share))
        return false;
    struct mqtt_bytes inner = {share.filter, share.filter_len};
    return inner.p[0] != '$' || starts_with(inner, "$SYS/");
}
