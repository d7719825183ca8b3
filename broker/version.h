/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The version, as --version, the log and $SYS/broker/version tell it. */
#ifndef BROKER_VERSION_H
#define BROKER_VERSION_H

#define VERSION_NUMBER "0.1.0"

#endif
