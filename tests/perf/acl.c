/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a decision of the access rules costs with 10, 1,000 and 100,000 of them. Prints figures and asserts none.
 *     make build/release/tests/perf/acl && build/release/tests/perf/acl
 * The rules are of five shapes; each question has one rule that allows it, whatever the number of the others. */
#include "base/siphash.h"
#include "topics/acl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUESTIONS 1000000u

static double now_ns(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* One rule of each shape, the i-th; and what it allows. */
struct shape {
	const char *name;
	void (*rule)(FILE *f, unsigned i);
	void (*question)(unsigned i, char cn[static 32], char topic[static 64]);
};

static void of_users(FILE *f, unsigned i) { (void)fprintf(f, "user dev%u\ntopic readwrite site/dev%u/#\n", i, i); }
static void ask_users(unsigned i, char cn[static 32], char topic[static 64])
{
	(void)snprintf(cn, 32, "dev%u", i);
	(void)snprintf(topic, 64, "site/dev%u/temperature", i);
}

static void of_one_user(FILE *f, unsigned i) { (void)fprintf(f, "%stopic readwrite site/room%u/+\n", i == 0 ? "user server\n" : "", i); }
static void ask_one_user(unsigned i, char cn[static 32], char topic[static 64])
{
	(void)snprintf(cn, 32, "server");
	(void)snprintf(topic, 64, "site/room%u/temperature", i);
}

static void of_denials(FILE *f, unsigned i)
{
	(void)fprintf(f, "%stopic deny site/room%u/secret\n", i == 0 ? "user server\ntopic readwrite site/#\n" : "", i);
}

static void of_wildcards(FILE *f, unsigned i) { (void)fprintf(f, "%stopic readwrite +/room%u/#\n", i == 0 ? "user server\n" : "", i); }

static void of_patterns(FILE *f, unsigned i) { (void)fprintf(f, "pattern readwrite site/room%u/%%u/#\n", i); }
static void ask_patterns(unsigned i, char cn[static 32], char topic[static 64])
{
	(void)snprintf(cn, 32, "dev%u", i);
	(void)snprintf(topic, 64, "site/room%u/dev%u/temperature", i, i);
}

static const struct shape shapes[] = {
	{ "one rule for each user", of_users, ask_users },
	{ "all rules for one user", of_one_user, ask_one_user },
	{ "one allows, all others deny", of_denials, ask_one_user },
	{ "all begin with +", of_wildcards, ask_one_user },
	{ "patterns with %u", of_patterns, ask_patterns },
};

static struct acl *make(const struct shape *s, unsigned n)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		abort();
	for (unsigned i = 0; i < n; i++)
		s->rule(f, i);
	(void)fclose(f);
	struct acl *a = acl_parse(text, len, s->name, stderr);
	free(text);
	if (!a)
		abort();
	return a;
}

/* Questions about 64 of the rules, so that it is the decision which is measured and not the memory of 100,000 different ones. */
static double measure(const struct shape *s, const struct acl *a, unsigned n, enum acl_access access)
{
	static char cns[64][32], topics[64][64];
	unsigned allowed = 0;
	for (unsigned i = 0; i < 64; i++)
		s->question((unsigned)((uint64_t)i * 2654435761u % n), cns[i], topics[i]);
	double start = now_ns();
	for (unsigned i = 0; i < QUESTIONS; i++) {
		const char *cn = cns[i % 64], *topic = topics[i % 64];
		struct acl_subject who = { .cn = (const uint8_t *)cn, .cn_len = strlen(cn), .client_id = (const uint8_t *)"c", .client_id_len = 1 };
		allowed += acl_allows(a, &who, access, (const uint8_t *)topic, strlen(topic), NULL);
	}
	double ns = (now_ns() - start) / QUESTIONS;
	if (allowed != QUESTIONS)
		abort();
	return ns;
}

int main(void)
{
	static const unsigned sizes[] = { 10, 1000, 100000 };
	siphash_init();
	printf("ns per decision     %10s %10s %10s rules\n", "10", "1,000", "100,000");
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (unsigned access = ACL_WRITE; access <= ACL_SUBSCRIBE; access += ACL_SUBSCRIBE - ACL_WRITE) {
			printf("%-28s %s", shapes[i].name, access == ACL_WRITE ? "publish  " : "subscribe");
			for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
				struct acl *a = make(&shapes[i], sizes[k]);
				printf(" %8.0f", measure(&shapes[i], a, sizes[k], (enum acl_access)access));
				acl_unref(a);
			}
			putchar('\n');
		}
	return EXIT_SUCCESS;
}
