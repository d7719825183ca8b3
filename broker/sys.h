/* SPDX-License-Identifier: GPL-3.0-or-later */
/* $SYS/broker/…: mosquitto's names and meanings, published by loop 0. */
#ifndef BROKER_SYS_H
#define BROKER_SYS_H

#include "broker/loop.h"

void sys_start(struct loop *l);  /* loop 0, before its thread starts */
void sys_follow(struct loop *l); /* owner loop: sys_interval may have changed */

#endif
