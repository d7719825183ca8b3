/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/procfile.h"

#include <stdio.h>
#include <stdlib.h>

bool procfile_two_numbers(const char *path, unsigned long *a, unsigned long *b)
{
	char line[256], *end, *end2;
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	bool read = fgets(line, sizeof line, f) != NULL;
	fclose(f);
	if (!read)
		return false;
	*a = strtoul(line, &end, 10);
	*b = strtoul(end, &end2, 10);
	return end != line && end2 != end;
}
