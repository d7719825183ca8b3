/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq version. */
#include "client/cmd.h"
#include "client/sealmq.h"

#include <mosquitto.h>
#include <stdio.h>

int cmd_version(int argc, char **argv)
{
	int major, minor, revision;
	(void)argc, (void)argv;
	mosquitto_lib_version(&major, &minor, &revision);
	printf("sealmq %s (libmosquitto %d.%d.%d)\n", sealmq_version(), major, minor, revision);
	return EXIT_DONE;
}
