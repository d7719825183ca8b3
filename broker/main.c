/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmqd: command line, privileges, signals. The main thread waits for signals; loops and the store have their own. */
#include "base/clock.h"
#include "base/log.h"
#include "base/siphash.h"
#include "base/textfile.h"
#include "broker/audit.h"
#include "broker/audit_log.h"
#include "base/version.h"
#include "broker/listener.h"
#include "broker/reload.h"
#include "broker/validity.h"
#include "broker/topics_file.h"
#include "broker/vault.h"
#include "broker/watch.h"
#include "mqtt/mqtt.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define VERSION_TEXT "sealmqd " VERSION_NUMBER

struct arguments {
	const char *config;
	int port; /* 0: as configured */
	bool check, verbose, check_store, rotate_key;
	const char *backup; /* to this directory */
	const char *explain[3]; /* CN, access, topic */
};

static void usage(FILE *out)
{
	fputs("usage: sealmqd [-c FILE] [-p PORT] [-v] [--check-config | --explain-acl CN read|write|subscribe TOPIC]\n"
	      "  -c FILE         configuration (mosquitto's dialect); without it a TLS listener on 8883 with certs/\n"
	      "  -p PORT         port of the first listener\n"
	      "  -v              log everything, to stderr too\n"
	      "  --check-config  read the configuration and the files it names, say what is wrong, exit\n"
	      "  --check-store   verify the store (the broker must not be running), say what it holds, exit; changes nothing\n"
	      "  --backup DIR    copy the store to a new directory, also while the broker runs, exit\n"
	      "  --rotate-master-key  a new master key (the broker must not be running), exit\n"
	      "  --explain-acl   print whether this client may, and the line of the acl_file that decides; exit\n"
	      "  --version, -h\n",
	      out);
}

/* 0 to go on; else exit with *status. */
static int parse(int argc, char **argv, struct arguments *a, int *status)
{
	*status = 0;
	for (int i = 1; i < argc && argv[i]; i++) {
		const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
			usage(stdout);
			return 1;
		}
		if (strcmp(option, "--version") == 0) {
			puts(VERSION_TEXT);
			return 1;
		}
		if (strcmp(option, "--check-config") == 0) {
			a->check = true;
		} else if (strcmp(option, "--check-store") == 0) {
			a->check_store = true;
		} else if (strcmp(option, "--rotate-master-key") == 0) {
			a->rotate_key = true;
		} else if (strcmp(option, "--backup") == 0 && value) {
			a->backup = value;
			i++;
		} else if (strcmp(option, "--explain-acl") == 0 && argc - i > 3) {
			for (int k = 0; k < 3; k++)
				a->explain[k] = argv[++i];
		} else if (strcmp(option, "-v") == 0) {
			a->verbose = true;
		} else if (strcmp(option, "-c") == 0 && value) {
			a->config = value;
			i++;
		} else if (strcmp(option, "-p") == 0 && value) {
			char *end;
			long port = strtol(value, &end, 10);
			i++;
			if (*end || port < 1 || port > 65535) {
				fprintf(stderr, "sealmqd: -p %s: expected a port, 1 to 65535\n", value);
				*status = 2;
				return 1;
			}
			a->port = (int)port;
		} else {
			fprintf(stderr, "sealmqd: %s: unknown or incomplete option\n", option);
			usage(stderr);
			*status = 2;
			return 1;
		}
	}
	return 0;
}

/* One datagram to systemd (sd_notify(3)), if it asked for one. */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (!path || !*path || strlen(path) >= sizeof a.sun_path)
		return;
	memcpy(a.sun_path, path, strlen(path));
	if (path[0] == '@')
		a.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* A manager that does not read must not keep us from SIGTERM. */
	const struct timeval most = {.tv_sec = 1};
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a, len) < 0)
		log_warning("cannot notify the service manager: %s", strerror(errno));
	close(fd);
}

static bool is_readable(const struct conf *c, const char *path)
{
	if (!path || access(path, R_OK) == 0)
		return true;
	log_error("%s: user %s cannot read it: %s", path, c->user, strerror(errno));
	return false;
}

/* A file that the dropped privileges cannot read would fail the next reload: say so now. */
static bool files_readable(const struct conf *c)
{
	bool good = is_readable(c, c->path) && is_readable(c, c->acl_file) && is_readable(c, c->topics_file);
	for (size_t i = 0; i < c->n_listeners; i++) {
		const struct conf_listener *l = &c->listeners[i];
		const char *files[] = {l->keyfile, l->certfile, l->cafile, l->crlfile};
		for (size_t k = 0; k < sizeof files / sizeof *files; k++)
			good = good && is_readable(c, files[k]);
	}
	return good;
}

/* A core, or a debugger of the same user, would see keys. */
static void forbid_cores(void)
{
	const struct rlimit none = {0, 0};
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0);
}

static bool drop_privileges(const struct conf *c)
{
	if (geteuid() != 0)
		return true;
	if (!c->user) {
		log_warning("running as root: set 'user' to drop privileges after start");
		return true;
	}
	const struct passwd *p = getpwnam(c->user);
	if (!p) {
		log_error("user %s: there is no such user", c->user);
		return false;
	}
	if (p->pw_uid == 0)
		return true;
	if (initgroups(c->user, p->pw_gid) != 0 || setgid(p->pw_gid) != 0 || setuid(p->pw_uid) != 0) {
		log_error("user %s: cannot drop privileges: %s", c->user, strerror(errno));
		return false;
	}
	forbid_cores(); /* the kernel has forgotten it with the change of user */
	return files_readable(c);
}

static bool write_pid_file(const char *path)
{
	if (!path)
		return true;
	FILE *f = fopen(path, "we");
	if (f && fprintf(f, "%d\n", getpid()) > 0 && fclose(f) == 0)
		return true;
	log_error("pid_file %s: cannot write: %s", path, strerror(errno));
	return false;
}

static void log_ready(const struct broker *b)
{
	char ports[256] = "";
	size_t n = 0;
	for (size_t i = 0; i < b->n_listeners && n < sizeof ports - 64; i++) {
		const struct conf_listener *l = &b->policy->conf->listeners[i];
		n += (size_t)snprintf(ports + n, sizeof ports - n, "%s%s%s%u (%s)", i ? ", " : "", l->address ? l->address : "",
		                      l->address ? " port " : "port ", l->port, l->plaintext ? "plain text" : "mutual TLS");
	}
	log_notice(VERSION_TEXT " ready: %s, %u loop%s, up to %u connections", ports, b->n_loops, b->n_loops == 1 ? "" : "s",
	           b->policy->max_connections);
}

/* The configuration with what the command line says over it; NULL: what is wrong was printed to errors. */
static struct conf *load_conf(const struct arguments *a, FILE *errors)
{
	struct conf *c = conf_load(a->config, errors);
	if (!c)
		return NULL;
	if (a->port)
		c->listeners[0].port = (uint16_t)a->port;
	if (a->verbose) {
		c->log.level_mask = LOG_ERROR | LOG_WARNING | LOG_NOTICE | LOG_INFO | LOG_DEBUG;
		c->log.to_stderr = true;
	}
	return c;
}

static struct conf *load_again(void *arg, FILE *errors)
{
	return load_conf(arg, errors);
}

/* What the main thread looks after while the loops run. */
struct keeper {
	struct broker *broker;
	struct arguments *arguments;
	struct watch watch;
	struct validity_watch *validity;
	uint64_t tell_ms; /* monotonic: when the dates of certificates are looked at next */
};

static void reload_files(struct keeper *k, const char *cause)
{
	char state[64];
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
	notify(state);
	watch_start(&k->watch, k->broker->policy->conf);
	reload(k->broker, cause, load_again, k->arguments);
	watch_loaded(&k->watch, k->broker->policy->conf);
	k->tell_ms = 0;
	notify("READY=1");
}

/* Returns the milliseconds until it wants to be called again. */
static uint64_t keep(struct keeper *k)
{
	if (k->broker->policy->conf->reload_on_change && watch_changed(&k->watch, k->broker->policy->conf))
		reload_files(k, "reload_on_change");
	policy_retire(&k->broker->retired, NULL);
	const struct policy *p = k->broker->policy;
	uint64_t now_ms = clock_mono_ms();
	if (now_ms >= k->tell_ms)
		k->tell_ms = now_ms + 1000ULL * validity_tell(k->validity, p, (int64_t)(clock_wall_ms() / 1000));
	uint64_t left_ms = k->tell_ms - now_ms;
	return p->conf->reload_on_change && left_ms > WATCH_INTERVAL_MS ? WATCH_INTERVAL_MS : left_ms;
}

/* SIGHUP reloads; SIGTERM and SIGINT end. */
static void wait_for_end(struct keeper *k, const sigset_t *signals)
{
	for (;;) {
		uint64_t wait_ms = keep(k);
		const struct timespec wait = {.tv_sec = (time_t)(wait_ms / 1000), .tv_nsec = (long)(wait_ms % 1000) * 1000000};
		int sig = sigtimedwait(signals, NULL, &wait);
		if (sig < 0)
			continue;
		if (sig != SIGHUP) {
			log_notice("stopping: %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
			return;
		}
		reload_files(k, "SIGHUP");
	}
}

/* Takes c. */
static struct broker *make_broker(struct conf *c)
{
	char *text = NULL, error[512];
	size_t len;
	FILE *errors = open_memstream(&text, &len);
	if (!errors) {
		conf_free(c);
		return NULL;
	}
	struct broker *b = broker_new(c, errors);
	if (b && broker_listen(b, error, sizeof error) != ERR_OK) {
		(void)fprintf(errors, "%s\n", error);
		broker_free(b);
		b = NULL;
	}
	(void)fclose(errors);
	reload_report(text);
	free(text);
	return b;
}

/* Takes c. */
static int run(struct conf *c, struct arguments *a, const sigset_t *signals)
{
	int status = EXIT_FAILURE;
	struct keeper keeper = {.arguments = a, .validity = validity_watch_new(c->n_listeners)};
	watch_start(&keeper.watch, c);
	char error[512];
	struct broker *b = make_broker(c);
	if (!b || !keeper.validity) {
		broker_free(b);
		validity_watch_free(keeper.validity);
		return status;
	}
	keeper.broker = b;
	c = b->policy->conf;
	if (!write_pid_file(c->pid_file) || !drop_privileges(c))
		goto out;
	if (audit_log_start(c, error, sizeof error) != ERR_OK) { /* as the user who will rotate it */
		log_error("%s", error);
		goto out;
	}
	audit_event(AUDIT_STARTED, &(struct audit_who){0}, VERSION_TEXT, AUDIT_PAIRS(AUDIT_PAIR("file", c->path ? c->path : "", c->path ? strlen(c->path) : 0)));
	if (broker_start(b) != ERR_OK) {
		log_error("cannot start the threads");
		goto out;
	}
	log_ready(b);
	notify("READY=1");
	wait_for_end(&keeper, signals);
	notify("STOPPING=1");
	broker_stop(b);
	audit_event(AUDIT_STOPPED, &(struct audit_who){0}, "", AUDIT_NO_PAIRS);
	status = EXIT_SUCCESS;
out:
	audit_log_stop();
	c = b->policy->conf;
	if (c->pid_file)
		unlink(c->pid_file);
	broker_free(b);
	validity_watch_free(keeper.validity);
	return status;
}

/* Addresses, certificates and keys are part of a configuration that loads. */
static bool check_listener(const struct conf *c, size_t i)
{
	char error[512];
	const struct conf_listener *l = &c->listeners[i];
	if (listener_check(l, error, sizeof error) != ERR_OK) {
		fprintf(stderr, "%s:%u: listener %s\n", c->path ? c->path : "defaults", l->line, error);
		return false;
	}
	if (l->plaintext)
		return true;
	struct tls_ctx *ctx = policy_load_tls(c, i, stderr);
	bool good = ctx != NULL;
	tls_ctx_unref(ctx);
	return good;
}

static bool check_topics_file(const struct conf *c)
{
	struct trust *trust = policy_load_trust(c);
	struct topics_file *f = c->topics_file ? topics_file_load(c->topics_file, trust, stderr) : NULL;
	bool good = !c->topics_file || f;
	topics_file_free(f);
	trust_free(trust);
	return good;
}

static int check(const struct conf *c)
{
	char error[512];
	int status = EXIT_SUCCESS;
	for (size_t i = 0; i < c->n_listeners; i++)
		if (!check_listener(c, i))
			status = EXIT_FAILURE;
	struct acl *acl = c->acl_file ? acl_load(c->acl_file, stderr) : NULL;
	if (c->acl_file && !acl)
		status = EXIT_FAILURE;
	acl_unref(acl);
	if (!check_topics_file(c))
		status = EXIT_FAILURE;
	if (audit_log_check(c, error, sizeof error) != ERR_OK) {
		fprintf(stderr, "%s\n", error);
		status = EXIT_FAILURE;
	}
	if (status == EXIT_SUCCESS)
		puts("configuration is good");
	return status;
}

static int on_store(const struct conf *c, const struct arguments *a)
{
	char error[512] = "";
	enum err e;
	if (c->store == CONF_STORE_MEMORY) {
		fputs("sealmqd: the configuration says 'store memory': there is no store on disk\n", stderr);
		return EXIT_FAILURE;
	}
	if (a->check_store)
		e = vault_check_store(c, stdout);
	else if (a->rotate_key)
		e = vault_rotate(c, error, sizeof error);
	else
		e = store_backup(c->store_dir, a->backup, error, sizeof error);
	if (e != ERR_OK)
		fprintf(stderr, "sealmqd: %s\n", *error ? error : err_text(e));
	else if (a->backup)
		printf("%s: copied to %s; the master key is not in it, keep that too\n", c->store_dir, a->backup);
	else if (a->rotate_key)
		puts("the store's keys are wrapped under a new master key");
	return e == ERR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int explain(const struct conf *c, const char *const what[3])
{
	static const struct {
		const char *name;
		enum acl_access access;
	} accesses[] = {{"read", ACL_READ}, {"write", ACL_WRITE}, {"subscribe", ACL_SUBSCRIBE}};
	struct acl_subject s = {.cn = (const uint8_t *)what[0], .cn_len = strlen(what[0])};
	size_t i = 0, len = strlen(what[2]);
	while (i < 3 && strcmp(accesses[i].name, what[1]) != 0)
		i++;
	if (i == 3) {
		fprintf(stderr, "sealmqd: --explain-acl: %s: expected read, write or subscribe\n", what[1]);
		return 2;
	}
	if (len == 0 || len > MQTT_STRING_MAX || !text_utf8_valid(what[2], len) || (i < 2 && strpbrk(what[2], "+#"))) {
		fprintf(stderr, "sealmqd: --explain-acl: '%s': expected a topic%s\n", what[2], i < 2 ? " without wildcards" : " filter");
		return 2;
	}
	struct acl *acl = c->acl_file ? acl_load(c->acl_file, stderr) : NULL;
	if (c->acl_file && !acl)
		return EXIT_FAILURE;
	acl_explain(acl, &s, accesses[i].access, what[2], stdout);
	acl_unref(acl);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct arguments a = {0};
	int status;
	if (parse(argc, argv, &a, &status))
		return status;
	struct conf *c = load_conf(&a, stderr);
	if (!c)
		return EXIT_FAILURE;

	sigset_t signals; /* blocked before any thread starts */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	forbid_cores();
	siphash_init();
	if (tls_init() != ERR_OK) {
		fputs("sealmqd: the TLS library cannot be initialised\n", stderr);
		status = EXIT_FAILURE;
	} else if (a.check) {
		status = check(c);
	} else if (a.check_store || a.rotate_key || a.backup) {
		status = on_store(c, &a);
	} else if (a.explain[0]) {
		status = explain(c, a.explain);
	} else if (log_start(&c->log) != ERR_OK) {
		fprintf(stderr, "sealmqd: log_dest: cannot open the log: %s\n", strerror(errno));
		status = EXIT_FAILURE;
	} else {
		status = run(c, &a, &signals);
		c = NULL;
		log_stop();
	}
	tls_cleanup();
	conf_free(c);
	return status;
}
