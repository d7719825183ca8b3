/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/reload.h"

#include "base/log.h"

#include <string.h>

void reload_report(const char *text)
{
    while (text && *text) {
        const char *end = strchrnul(text, '\n');
        bool warning = memmem(text, (size_t)(end - text), ": warning: ", 11) != NULL;
        log_write(warning ? LOG_WARNING : LOG_ERROR, "%.*s", (int)(end - text), text);
        text = *end ? end + 1 : end;
    }
}
