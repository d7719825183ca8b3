/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The sealmq program: finds the command. One thread. */
#include "client/cmd.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{ "audit", cmd_audit, "verify an audit log" },
	{ "pub", cmd_pub, "publish" },
	{ "sub", cmd_sub, "subscribe and print" },
	{ "chat", cmd_chat, "a conversation on a sealed topic" },
	{ "send", cmd_send, "a message to one other, who may be away" },
	{ "inbox", cmd_inbox, "what others have sent" },
	{ "topic", cmd_topic, "create and manage key spaces: members, keys, history" },
	{ "key", cmd_key, "open an envelope" },
	{ "receipt", cmd_receipt, "sign for a transcript, or check one" },
	{ "version", cmd_version, "print the version" },
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void usage(FILE *to)
{
	fputs("usage: sealmq COMMAND [OPTION]...\n\n", to);
	for (int i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].what);
	fputs("\nsealmq COMMAND --help tells about one command; so does sealmq(1).\n", to);
}

static int run(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0);
	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		return cmd_version(argc - 1, argv + 1);
	if (argc > 1 && !help)
		fprintf(stderr, "sealmq: there is no command '%s'\n\n", argv[1]);
	usage(help ? stdout : stderr);
	return help ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	(void)signal(SIGPIPE, SIG_IGN); /* a write that fails says so itself */
	int status = run(argc, argv);
	/* What standard output could not take was not delivered. */
	if (fflush(stdout) != 0 && status == EXIT_DONE) {
		perror("sealmq: standard output");
		status = EXIT_FAILED;
	}
	return status;
}
