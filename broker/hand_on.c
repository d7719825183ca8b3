/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/hand_on.h"

#include "base/log.h"
#include "base/pool.h"
#include "broker/publish.h"

#define PAGE_ENTRIES 512U
#define PAGE_BYTES (1024U * 1024)

struct job {
	struct store_op op; /* the page that is asked for; at last the end */
	store_session number;
	uint64_t handed, left; /* messages: to others, and for want of others to nobody */
};

static void free_job(struct store_op *op)
{
	pool_free(op);
}

static void ask(struct loop *l, struct job *j, uint64_t after);

/* All of it has been submitted; the queue may go. */
static void end(struct loop *l, struct job *j)
{
	if (j->handed + j->left > 0)
		log_notice("session %u has ended: %llu messages of its shared subscriptions went to other members; for %llu there was none", j->number,
		           (unsigned long long)j->handed, (unsigned long long)j->left);
	j->op = (struct store_op){.verb = STORE_SESSION_END, .free_op = free_job};
	j->op.u.session.number = j->number;
	store_submit(l->broker->store, &j->op);
}

/* The group is known by its mark, among those that match the topic now. */
static bool to_another(struct loop *l, const struct store_entry *e)
{
	struct match *mt = match_cache_get(l->cache, msg_topic(e->msg), e->msg->topic_len);
	for (uint32_t i = 0; mt && i < mt->n_groups; i++)
		if (share_mark(mt->groups[i]) == e->share)
			return publish_to_group(l, e->msg, mt->groups[i], 0, 0);
	return false;
}

static void on_page(struct store_op *op, void *owner)
{
	struct job *j = (struct job *)op;
	struct loop *l = owner;
	struct store_entry *entries = op->u.page.entries;
	uint32_t n = op->u.page.n_entries;
	uint64_t last = n > 0 ? entries[n - 1].record : 0;
	bool more = op->result == ERR_OK && !op->u.page.end && n > 0;
	loop_answered(l);
	for (uint32_t i = 0; i < n; i++) {
		if (entries[i].share && entries[i].qos == 1 && entries[i].msg) {
			bool taken = to_another(l, &entries[i]);
			j->handed += taken;
			j->left += !taken;
		}
		msg_unref(entries[i].msg);
	}
	pool_free(entries);
	if (op->result != ERR_OK && op->result != ERR_NOT_FOUND) {
		log_error("what session %u left cannot be read, and goes to other members after a restart: %s", j->number, err_text(op->result));
		pool_free(j);
	} else if (more) { /* read behind the commit of what was just published: that paces it */
		ask(l, j, last);
	} else {
		end(l, j);
	}
}

static void ask(struct loop *l, struct job *j, uint64_t after)
{
	j->op = (struct store_op){.verb = STORE_PAGE, .done = on_page};
	j->op.u.page.session = j->number;
	j->op.u.page.after = after;
	j->op.u.page.max_entries = PAGE_ENTRIES;
	j->op.u.page.max_bytes = PAGE_BYTES;
	loop_submit(l, &j->op);
}

void hand_on_start(struct loop *l, store_session number)
{
	struct job *j = pool_alloc(sizeof *j);
	if (!j) {
		log_error("out of memory: what session %u left goes to other members after a restart", number);
		return;
	}
	*j = (struct job){.number = number};
	ask(l, j, 0);
}
