/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libsealmq's handle: opening, closing, and what it says about itself. */
#include "client/sealmq.h"

#include "base/version.h"

const char *sealmq_version(void)
{
	return VERSION_NUMBER;
}
