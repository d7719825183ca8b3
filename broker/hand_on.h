/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a persistent member of shared subscriptions leaves unacknowledged in the store when its session ends: QoS 1 messages that came by a
 * group go to another member of it, QoS 2 never. The queue is read page by page and then given up; a crash meanwhile begins anew. Owner
 * loop (of the session; loop 0 for those that a start finds). */
#ifndef BROKER_HAND_ON_H
#define BROKER_HAND_ON_H

#include "broker/loop.h"

/* The store has been told to end the session of that number, and to keep its queue. */
void hand_on_start(struct loop *l, store_session number);

#endif
