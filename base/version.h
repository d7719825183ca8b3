/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The version of all parts: --version, the log, $SYS/broker/version, libsealmq. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define VERSION_NUMBER "0.1.0"

#endif
