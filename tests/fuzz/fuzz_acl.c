/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the ACL file and of decisions. Input: CN, client id, topic and the file, with 0xFF between (which no UTF-8 holds).
 * Checked: any file loads or is explained; the fast and the full search agree; a granted filter without wildcards is readable. */
#include "topics/acl.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t nothing[1];
	const uint8_t *p = len ? data : nothing;
	struct acl_subject s;
	size_t topic_len = 0, n = 0;
	char *messages = NULL;
	bool allowed[ACL_SUBSCRIBE + 1] = { false };
	s.cn = next_field(&p, &len, &s.cn_len);
	s.client_id = next_field(&p, &len, &s.client_id_len);
	const uint8_t *topic = next_field(&p, &len, &topic_len);
	FILE *f = open_memstream(&messages, &n);
	if (!f)
		return 0;
	struct acl *a = acl_parse((const char *)p, len, "fuzz.acl", f);
	(void)fflush(f);
	require(a || n > 0);
	for (unsigned access = ACL_READ; access <= ACL_SUBSCRIBE; access *= 2) {
		struct acl_reason why;
		allowed[access] = acl_allows(a, &s, (enum acl_access)access, topic, topic_len, NULL);
		require(acl_allows(a, &s, (enum acl_access)access, topic, topic_len, &why) == allowed[access] && why.allowed == allowed[access]);
		require((why.cause == ACL_BY_RULE) == (why.line != 0));
		char *text = strndup((const char *)topic, topic_len);
		if (text && strlen(text) == topic_len)
			require(acl_explain(a, &s, (enum acl_access)access, text, f) == allowed[access]);
		free(text);
	}
	bool literal = !memchr(topic, '+', topic_len) && !memchr(topic, '#', topic_len);
	if (literal && !(topic_len >= 7 && memcmp(topic, "$share/", 7) == 0))
		require(allowed[ACL_SUBSCRIBE] == allowed[ACL_READ]);
	require(fclose(f) == 0);
	free(messages);
	acl_unref(a);
	return 0;
}
