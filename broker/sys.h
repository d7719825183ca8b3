/* SPDX-License-Identifier: GPL-3.0-or-later */
/* $SYS/broker/…: mosquitto's names and meanings, published by loop 0. */
#ifndef BROKER_SYS_H
#define BROKER_SYS_H

#include "broker/loop.h"

void sys_start(struct loop *l); /* before the loop's thread starts */

#endif
