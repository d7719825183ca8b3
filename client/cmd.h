/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The commands of the sealmq program: one file each, client/cmd_<name>.c; client/main.c has the table. */
#ifndef CLIENT_CMD_H
#define CLIENT_CMD_H

/* Exit statuses that every command uses. */
enum {
	EXIT_DONE = 0,       /* all that was asked for has happened */
	EXIT_FAILED = 1,     /* it has not; the reason is on standard error */
	EXIT_USAGE = 2,      /* the command line or the configuration is wrong; nothing was done */
	EXIT_REFUSED = 3,    /* some message was refused (not authentic, not allowed …); all others were handled */
	EXIT_KEPT = 4,       /* pub --outbox: all was taken and is on disk; not all is delivered yet */
	EXIT_LOST = 5,       /* sub --dedup: messages are missing that the broker does not have any more */
	EXIT_TIMEOUT = 27,   /* -W has run out, as mosquitto_sub has it */
};

/* argv[0] is the command's name. Returns an exit status. */
int cmd_audit(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_inbox(int argc, char **argv);
int cmd_pub(int argc, char **argv);
int cmd_receipt(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_sub(int argc, char **argv);
int cmd_topic(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_version(int argc, char **argv);

#endif
