/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libsealmq: sealed messages for any MQTT client. Bytes go in and bytes come out; nothing here opens a socket, starts a thread or waits.
 * What the bytes are: sealmq-formats(7). How it stands beside an MQTT library: the examples.
 *
 * A handle is one member of key spaces: its certificate, keys, stream, the senders that it knows, its replay windows. One thread at a
 * time may use a handle; different handles may be used at once. After fork() the child opens a handle of its own: on its parent's every
 * call returns SEALMQ_FORKED (keys are not copied into it), and sealmq_close does nothing.
 *
 * A client's way, with its own MQTT library (each time that it has connected: sealmq_connected first):
 *
 *   to publish on T     subscribe to $KEYS/T; refused (0x80): T is not sealed for this client, publish plain.
 *                       Each PUBLISH that arrives on $KEYS/…: sealmq_take_keys. Then sealmq_seal, and publish the result on $SEALED/T.
 *   to receive from T   the same, and subscribe to $SEALED/T. Each PUBLISH on $SEALED/…: sealmq_open.
 *   SEALMQ_NEED_KEYS    subscribe to what sealmq_wanted names, give what arrives to sealmq_take_keys, and call again.
 *   SEALMQ_NEED_CERT    the same with sealmq_take_cert.
 *
 * Text is UTF-8 and NUL-terminated. A topic is its name as MQTT has it, without $SEALED/. Lengths are in bytes, times since 1970. Pointers
 * that are not said to be NULL must not be. Unless said otherwise a function returns a sealmq_err, and has changed nothing when that is not
 * SEALMQ_OK. */
#ifndef SEALMQ_H
#define SEALMQ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SEALMQ_MUST_CHECK __attribute__((warn_unused_result))
#define SEALMQ_API __attribute__((visibility("default")))
#else
#define SEALMQ_MUST_CHECK
#define SEALMQ_API
#endif

enum sealmq_err {
	SEALMQ_OK = 0,
	SEALMQ_NOMEM,      /* an allocation failed */
	SEALMQ_INVALID,    /* an argument breaks a rule: no topic, too long … */
	SEALMQ_ROOM,       /* the output buffer is too small */
	SEALMQ_FILE,       /* a file cannot be read, or is not what it should be */
	SEALMQ_FORKED,     /* the handle is the parent process's */
	SEALMQ_NOT_SEALED, /* the bytes are no sealed message at all */
	SEALMQ_NEED_KEYS,  /* no key for the topic, for this message's epoch, or none that may still be sealed under: sealmq_wanted */
	SEALMQ_NEED_CERT,  /* the sender's certificate is not known: sealmq_wanted */
	SEALMQ_REFUSED,    /* not authentic, not allowed, not for us: sealmq_reason */
};

/* The library's version, "0.1.0". */
SEALMQ_API const char *sealmq_version(void);
/* A short text for an error; never NULL. */
SEALMQ_API const char *sealmq_err_text(enum sealmq_err e);

/* ---- a member */

struct sealmq;

struct sealmq_options {
	const char *certfile;  /* PEM; the first certificate of the file is the member's */
	const char *keyfile;   /* PEM, unencrypted; RSA of 2048 to 4096 bits (envelopes need it), or P-256 */
	const char *cafile;    /* PEM: the authorities that issue members and brokers */
	const char *crlfile;   /* PEM: revocation lists; NULL: revocation is not checked */
	size_t windows_max;    /* replay windows, about 250 bytes each; at the limit new streams are refused. 0: 65536 */
	int no_clock;          /* other than 0: this machine does not know the time. No message is `live` then, and none is sent with a time */
};

/* SEALMQ_FILE, SEALMQ_NOMEM: error (error_len bytes, at least 1) says what of which file is wrong. */
SEALMQ_API enum sealmq_err sealmq_open_member(struct sealmq **out, const struct sealmq_options *o, char *error, size_t error_len) SEALMQ_MUST_CHECK;
/* Wipes keys. NULL is fine. */
SEALMQ_API void sealmq_close(struct sealmq *h);
/* Reads cafile and crlfile again; every sender known is then judged by them. SEALMQ_FILE: nothing has changed, error as above. */
SEALMQ_API enum sealmq_err sealmq_reload(struct sealmq *h, char *error, size_t error_len) SEALMQ_MUST_CHECK;
/* The member's own common name and the SHA-256 of its certificate. */
SEALMQ_API const char *sealmq_cn(const struct sealmq *h);
SEALMQ_API void sealmq_fingerprint(const struct sealmq *h, uint8_t out[32]);

/* Why the last call on the handle returned SEALMQ_REFUSED, SEALMQ_NOT_SEALED or SEALMQ_INVALID, in words. Until the next call. */
SEALMQ_API const char *sealmq_reason(const struct sealmq *h);
/* After SEALMQ_NEED_KEYS or SEALMQ_NEED_CERT: the topic to subscribe to, "$KEYS/plant/line1" or "$CERTS/sha256/…". Until the next call. */
SEALMQ_API const char *sealmq_wanted(const struct sealmq *h);

/* ---- keys */

enum sealmq_mode { SEALMQ_BROKER = 1, SEALMQ_OWNER = 2 };
enum sealmq_policy { SEALMQ_SIGN_OFF = 0, SEALMQ_SIGN_OPTIONAL = 1, SEALMQ_SIGN_REQUIRED = 2 };

/* Fixes who may issue a key space's keys (SHA-256 of its certificate), and the least mode, signature policy and epoch that are accepted, before the first
 * envelope comes. Without it the first envelope decides. Space: the topic at its root, "" for all. SEALMQ_REFUSED: it is known otherwise. */
SEALMQ_API enum sealmq_err sealmq_pin(struct sealmq *h, const char *space, const uint8_t issuer[32], enum sealmq_mode mode, enum sealmq_policy sign,
                                      uint32_t epoch) SEALMQ_MUST_CHECK;
/* The same for a key space of mode owner: its owner's list of members has at least that number (sealmq_space), and so there is one. */
SEALMQ_API enum sealmq_err sealmq_pin_list(struct sealmq *h, const char *space, uint64_t number) SEALMQ_MUST_CHECK;
/* Takes the payload of a PUBLISH on $KEYS/<topic>: an envelope. All its keys are taken or none. topic: what was asked for, NULL for anything. */
SEALMQ_API enum sealmq_err sealmq_take_keys(struct sealmq *h, const char *topic, const void *envelope, size_t len) SEALMQ_MUST_CHECK;

struct sealmq_space {
	char *name;              /* the topic at its root; free() it */
	uint8_t issuer[32];      /* SHA-256 of the certificate that signs its envelopes */
	enum sealmq_mode mode;
	enum sealmq_policy sign;
	uint32_t epoch;          /* the newest that is known */
	uint64_t not_after_s;    /* nobody seals under that epoch later; 0: no end */
	uint64_t members;        /* the number of its owner's newest list of members; 0: none is known */
};
/* What rules the topic: its innermost key space. SEALMQ_NEED_KEYS: none is known. */
SEALMQ_API enum sealmq_err sealmq_space_of(struct sealmq *h, const char *topic, struct sealmq_space *out) SEALMQ_MUST_CHECK;

/* The i-th key space that is known, from 0, in no particular order: what a program keeps, and gives to sealmq_pin when it starts again, so that a former
 * issuer, mode or epoch is refused then, too. SEALMQ_INVALID: there are not so many. */
SEALMQ_API enum sealmq_err sealmq_space_at(struct sealmq *h, size_t i, struct sealmq_space *out) SEALMQ_MUST_CHECK;

/* ---- other members */

/* Takes the payload of a PUBLISH on $CERTS/…: a certificate in DER. Only one that the authorities vouch for is kept. */
SEALMQ_API enum sealmq_err sealmq_take_cert(struct sealmq *h, const void *cert, size_t len) SEALMQ_MUST_CHECK;
/* The certificate (DER) that was taken whose SHA-256 begins with these bytes: *cert of *len bytes, until the handle is closed. SEALMQ_NEED_CERT. */
SEALMQ_API enum sealmq_err sealmq_cert(struct sealmq *h, const uint8_t fingerprint[16], const void **cert, size_t *len) SEALMQ_MUST_CHECK;

/* ---- sending */

/* A new stream: to be called each time that the client has connected. (Opening a handle begins one, too.) */
SEALMQ_API enum sealmq_err sealmq_connected(struct sealmq *h);

enum {
	SEALMQ_SIGN = 1, /* sign it; done unasked where the key space requires it */
	SEALMQ_WILL = 2, /* it is a will: it gets a stream of its own */
};
/* A length that suffices for sealing len bytes. */
SEALMQ_API size_t sealmq_sealed_size(const struct sealmq *h, size_t len);
/* Seals a payload for the topic into out (out_cap bytes, sealmq_sealed_size suffices; not overlapping plain), *out_len bytes. To send it again, send the
 * same bytes; seal again only when its epoch has ended. SEALMQ_NEED_KEYS. */
SEALMQ_API enum sealmq_err sealmq_seal(struct sealmq *h, const char *topic, const void *plain, size_t len, unsigned flags, void *out, size_t out_cap,
                                       size_t *out_len) SEALMQ_MUST_CHECK;
/* Whether a sealed message is of the epoch under which sealmq_seal would seal now: 1 or 0. Otherwise it has to be sealed again before it is sent. */
SEALMQ_API int sealmq_is_current(struct sealmq *h, const char *topic, const void *message, size_t len);

/* ---- receiving */

enum sealmq_verdict {
	SEALMQ_LIVE = 0,      /* new, and made within the last five minutes: the only one to act upon unasked */
	SEALMQ_LATE,          /* new and authentic, but older, or one side has no clock */
	SEALMQ_PAST,          /* retained or from the history */
	SEALMQ_DUPLICATE,     /* seen before: acknowledge it, and do nothing */
	SEALMQ_REVOKED_SINCE, /* from the past; its sender's certificate has been revoked meanwhile */
};
/* "live", "late", "past", "duplicate", "revoked-since"; never NULL. */
SEALMQ_API const char *sealmq_verdict_text(enum sealmq_verdict v);

enum {
	SEALMQ_FROM_PAST = 1,         /* RETAIN is set, or it comes from the history */
	SEALMQ_REQUIRE_SIGNATURE = 2, /* refuse what its sender has not signed, whatever the key space says */
	SEALMQ_OWN_WINDOWS = 4,       /* the caller recognises duplicates itself, by stream and seq, over restarts: only the clocks are asked */
};

struct sealmq_message {
	enum sealmq_verdict verdict;
	const char *sender;          /* CN of who made it: the certificate's; or, when the broker has sealed for a plain client, that client's. Until
	                              * the next call */
	uint8_t fingerprint[32];     /* SHA-256 of the certificate that sealed it */
	int by_broker;               /* sealed by the broker for a plain client: the sender's name is the broker's word */
	int is_signed;               /* and the signature is the sender's */
	uint32_t epoch;
	uint8_t kid[8], stream[8];
	uint64_t seq;                /* in its stream */
	uint64_t time_ms;            /* by the sender's clock; 0: it has none */
	size_t len;                  /* of the payload */
};
/* Opens a message of the topic into plain (cap bytes; len suffices). Everything in docs/formats.md 4.3 is checked in its order; only a message that passes
 * changes the replay windows. SEALMQ_NOT_SEALED, SEALMQ_NEED_KEYS, SEALMQ_NEED_CERT, SEALMQ_REFUSED. */
SEALMQ_API enum sealmq_err sealmq_open(struct sealmq *h, const char *topic, const void *message, size_t len, unsigned flags, void *plain, size_t cap,
                                       struct sealmq_message *out) SEALMQ_MUST_CHECK;

/* ---- signatures of other bytes (receipts, documents): docs/formats.md 4.5 */

#define SEALMQ_SIGNATURE_MAX 512u
/* Signs len bytes for a purpose (1 to 64 printable ASCII characters; a signature for one purpose is none for another) with the member's key. */
SEALMQ_API enum sealmq_err sealmq_sign(struct sealmq *h, const char *purpose, const void *data, size_t len, uint8_t signature[SEALMQ_SIGNATURE_MAX],
                                       size_t *signature_len) SEALMQ_MUST_CHECK;
/* Whether it is the signature of the member with that fingerprint (its first 16 bytes suffice), whose certificate is trusted now. SEALMQ_NEED_CERT,
 * SEALMQ_REFUSED. */
SEALMQ_API enum sealmq_err sealmq_verify(struct sealmq *h, const char *purpose, const void *data, size_t len, const uint8_t signer[16],
                                         const void *signature, size_t signature_len) SEALMQ_MUST_CHECK;

/* ---- replay state */

/* How many replay windows are kept (at most windows_max). */
SEALMQ_API size_t sealmq_windows(const struct sealmq *h);

#ifdef __cplusplus
}
#endif

#endif
