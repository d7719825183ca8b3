# SPDX-License-Identifier: GPL-3.0-or-later
# sealmq. `make run` and `make test` install what they need; `make` alone only builds.
#
#   MODE=release|debug|asan|tsan   what to build, under build/<mode>/ (default release)
#   V=1 shows commands   WERROR=1 makes warnings errors   CFLAGS, LDFLAGS are appended   WOLFSSL_PREFIX=dir uses another wolfSSL
#   CROSS=aarch64-linux-gnu-       compiles for another machine, under build/aarch64/
MODE ?= release
MACHINE := $(or $(firstword $(subst -, ,$(CROSS))),$(shell uname -m))
BUILD := build$(if $(CROSS),/$(MACHINE))
O := $(BUILD)/$(MODE)
WOLFSSL_PREFIX ?= $(BUILD)/wolfssl
OBJCOPY ?= objcopy
ifneq ($(CROSS),)
CC := $(CROSS)gcc
AR := $(CROSS)ar
LD := $(CROSS)ld
OBJCOPY := $(CROSS)objcopy
endif
PREFIX ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
Q := $(if $(filter 1,$(V)),,@)
say = @$(if $(filter 1,$(V)),:,printf '  %-5s %s\n' $(1) $(2))

# ---- what is built: a folder that does not exist yet is an empty one
FOLDERS := base mqtt topics crypto conf store broker client
MAIN := $(wildcard broker/main.c client/main.c)
SRC := $(filter-out $(MAIN),$(wildcard $(FOLDERS:=/*.c)))
TESTS := $(wildcard $(FOLDERS:%=tests/unit/%/test_*.c))
LIB := $(O)/libsealmq-internal.a
OBJ := $(SRC:%.c=$(O)/%.o)
PROG := $(O)/sealmqd $(O)/sealmq
# libsealmq: client/lib*.c with what they need of base/ and crypto/, as position-independent code.
SHARED := $(O)/libsealmq.so.0
STATIC := $(O)/libsealmq.a
TEST_PROGS := $(TESTS:%.c=$(O)/%)
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS := $(FUZZ:%=$(O)/tests/fuzz/replay_%)

# ---- flags (the user's come last)
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wformat=2 -Wundef -Wcast-qual -Wpointer-arith -Wwrite-strings -Wimplicit-fallthrough -Wnull-dereference -fno-common \
	$(if $(filter 1,$(WERROR)),-Werror)
HARDEN := -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 \
	$(if $(filter x86_64,$(MACHINE)),-fcf-protection=full) $(if $(filter aarch64,$(MACHINE)),-mbranch-protection=standard)
# gcc's -Wnull-dereference reports the branches that the sanitizers themselves insert.
SAN := -O1 -fno-omit-frame-pointer -Wno-null-dereference
MODE_release := -O2 -DNDEBUG $(HARDEN)
MODE_debug := -O1 $(HARDEN)
MODE_asan := $(SAN) -fsanitize=address,undefined -fno-sanitize-recover=undefined
MODE_tsan := $(SAN) -fsanitize=thread
MODE_fuzz := $(SAN) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
ifeq ($(MODE_$(MODE)),)
$(error MODE=$(MODE): expected release, debug, asan or tsan)
endif
MACHINE_FLAGS := -std=c11 -g -fPIE $(MODE_$(MODE))
ALL_CFLAGS := $(MACHINE_FLAGS) $(WARN) -D_GNU_SOURCE -I. -isystem $(WOLFSSL_PREFIX)/include $(CFLAGS)
ALL_LDFLAGS := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(LDFLAGS)
LIBS := -L$(WOLFSSL_PREFIX)/lib -lwolfssl -lev -llmdb -lcjson -lpthread -lm $(LDLIBS)

.PHONY: all compile run test unit corpus interop script-tests spec e2e check asan tsan fuzz lint layers install clean deps-run deps-test FORCE
.DELETE_ON_ERROR:
.SECONDARY:
all: $(LIB) $(PROG) $(SHARED) $(STATIC) link
# Everything there is to compile, tests included; nothing is run.
compile: $(LIB) $(PROG) $(SHARED) $(STATIC) $(TEST_PROGS) $(REPLAYS)

# build/sealmqd and build/sealmq are the programs last asked for.
.PHONY: link
link: $(PROG)
	$(Q)for p in sealmqd sealmq; do ln -sfn $(MODE)/$$p $(BUILD)/$$p; done

$(O)/sealmqd: $(O)/broker/main.o $(LIB)
$(O)/sealmq: $(O)/client/main.o $(LIB)
$(O)/sealmq: PROG_LIBS := -lmosquitto -lreadline
$(PROG):
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(PROG_LIBS) $(LIBS)

$(LIB): $(OBJ)
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D); rm -f $@; $(AR) rcs $@ $^

$(O)/%.o: %.c $(O)/.flags | wolfssl
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D); $(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# libsealmq.so exports sealmq_* alone; libsealmq.a is one object in which all other names are local, so that a program may bring
# its own wolfSSL. Where the system's wolfSSL had to be taken, it is not inside.
LIB_PARTS := $(patsubst %.c,$(O)/pic/%.o,$(wildcard client/lib*.c))
LIB_REST := $(patsubst %.c,$(O)/pic/%.o,$(wildcard base/*.c crypto/*.c))
WOLF_INSIDE = $(wildcard $(WOLFSSL_PREFIX)/lib/libwolfssl.a)
$(O)/pic/%.o: %.c $(O)/.flags | wolfssl
	$(call say,PIC,$<)
	$(Q)mkdir -p $(@D); $(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -fno-semantic-interposition -MMD -MP -c -o $@ $<
$(O)/pic/rest.a: $(LIB_REST)
	$(Q)rm -f $@; $(AR) rcs $@ $^
$(SHARED): $(LIB_PARTS) $(O)/pic/rest.a client/sealmq.map
	$(call say,LD,$@)
	$(Q)$(CC) $(filter-out -fPIE,$(ALL_CFLAGS)) -shared $(filter-out -pie,$(ALL_LDFLAGS)) -Wl,-soname,$(@F) -Wl,--version-script=client/sealmq.map \
	-o $@ $(LIB_PARTS) $(O)/pic/rest.a -L$(WOLFSSL_PREFIX)/lib -lwolfssl -lcjson -lpthread -lm && ln -sfn $(@F) $(O)/libsealmq.so
$(STATIC): $(LIB_PARTS) $(O)/pic/rest.a
	$(call say,AR,$@)
	$(Q)rm -f $@; $(LD) -r -o $(O)/pic/sealmq.o $(LIB_PARTS) $(O)/pic/rest.a $(WOLF_INSIDE) && \
	$(OBJCOPY) -w --keep-global-symbol='sealmq_*' $(O)/pic/sealmq.o && $(AR) rcs $@ $(O)/pic/sealmq.o

# A test_<x>_nomem defines these and makes each allocation of ours fail in turn.
$(O)/tests/unit/%_nomem: WRAP := -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup -Wl,--wrap=strndup \
	-Wl,--wrap=pages_alloc -Wl,--wrap=secmem_alloc
$(O)/tests/unit/client/%: PROG_LIBS := -lmosquitto
$(O)/tests/%: $(O)/tests/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(WRAP) -o $@ $^ $$(pkg-config --libs check) $(PROG_LIBS) $(LIBS)

$(O)/tests/fuzz/replay_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/replay.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# Other flags or another wolfSSL, other objects.
$(O)/.flags: FORCE | wolfssl
	@mkdir -p $(@D); { echo '$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)'; cat $(WOLFSSL_PREFIX)/.built 2>/dev/null; } >$@.now; \
	cmp -s $@.now $@ || cp $@.now $@

# A wolfSSL given by WOLFSSL_PREFIX is taken as it is.
.PHONY: wolfssl
wolfssl:
ifeq ($(WOLFSSL_PREFIX),$(BUILD)/wolfssl)
	$(Q)CROSS=$(CROSS) scripts/build-wolfssl.sh $(WOLFSSL_PREFIX)
endif

# ---- running and testing
deps-run:
	$(Q)scripts/install-deps.sh build run
deps-test:
	$(Q)scripts/install-deps.sh build test
run: deps-run
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/run.sh

# The recipes' order matters (install, then build), hence the second make; and the third: of what is run nothing else runs beside it.
test: deps-test
	$(Q)$(MAKE) $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) --no-print-directory compile
	$(Q)$(MAKE) --no-print-directory check
# Every kind runs even when one before it failed.
check: all $(TEST_PROGS) $(REPLAYS)
	$(Q)rc=0; for t in unit corpus interop script-tests spec e2e count crash; do $(MAKE) --no-print-directory $$t || rc=1; done; exit $$rc
unit: $(TEST_PROGS)
	$(Q)scripts/run-unit.sh $(MODE) $(TEST_PROGS)
# What a fuzzer once found, again, without one.
corpus: $(REPLAYS)
	$(Q)rc=0; for f in $(FUZZ); do scripts/run-replay.sh $(MODE) $$f || rc=1; done; exit $$rc
# A second implementation of the formats.
interop: $(SHARED) $(STATIC) $(PROG)
	$(Q)scripts/run-pytest.sh $(MODE) tests/interop
script-tests:
	$(Q)scripts/run-pytest.sh $(MODE) tests/scripts
e2e: $(if $(wildcard tests/e2e/node/package.json),build/node/.stamp)
spec e2e: $(PROG) $(STATIC)
	$(Q)scripts/run-pytest.sh $(MODE) tests/$@

# Where npm's registry cannot be reached, the tests with MQTT.js fail and the others run.
# Counts of calls, bytes and instructions: of a release build.
.PHONY: count
count: $(PROG) build/count.so
	$(Q)scripts/run-pytest.sh $(MODE) tests/count

build/node/.stamp: $(wildcard tests/e2e/node/package*.json)
	$(call say,NPM,$(@D))
	$(Q)rm -rf $(@D); mkdir -p $(@D); cp $^ $(@D); cd $(@D) && \
	if npm ci --loglevel=error --no-audit --no-fund </dev/null >npm.log 2>&1; then touch .stamp; \
	else cat npm.log; echo "warning: MQTT.js could not be installed; its tests will fail" >&2; fi

asan tsan: deps-test
	$(Q)rc=0; for t in unit corpus spec e2e; do $(MAKE) --no-print-directory MODE=$@ $$t || rc=1; done; exit $$rc

# libFuzzer, hence clang. FUZZ_SECONDS for each; what is found lands in build/fuzz, and in tests/fuzz/corpus by hand.
FUZZ_SECONDS ?= 60
fuzz:
	$(Q)scripts/install-deps.sh build fuzz
	$(Q)$(MAKE) --no-print-directory MODE=fuzz CC=clang fuzz-all
.PHONY: fuzz-all
fuzz-all: $(FUZZ:%=build/fuzz/fuzz_%)
	$(Q)scripts/run-fuzz.sh $(FUZZ_SECONDS) $(FUZZ)
build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

lint:
	$(Q)scripts/install-deps.sh build test lint
	$(Q)MAKE=$(MAKE) WOLFSSL_PREFIX=$(WOLFSSL_PREFIX) CC=$(CC) scripts/lint.sh
layers:
	$(Q)scripts/check-layers.sh

# kill -9 and power cuts, N of each kind, of the store and of a broker under load: docs/store.md.
.PHONY: crash
crash: $(PROG) $(O)/tests/crash/store_crash build/powercut.so
	$(Q)SEALMQD=$(O)/sealmqd POWERCUT=build/powercut.so tests/crash/run.sh $(O)/tests/crash/store_crash $(or $(N),20)
# A broker and sealmq's --outbox and --dedup, killed at random and cut off from each other: each line exactly once. SEED=… repeats a run.
.PHONY: crash-exact
crash-exact: $(PROG)
	$(Q)SEALMQD=$(O)/sealmqd PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/crash/exact_crash.py -n $(or $(N),100) $(if $(SEED),-s $(SEED))
# What forgets unsynced writes, or slows syncs down, in a program that it is preloaded into. Without fortify: it defines libc's names.
build/powercut.so: tests/crash/powercut.c tests/crash/powercut.h
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D); $(CC) -std=c11 -g -O2 -fPIC -shared -fno-builtin -U_FORTIFY_SOURCE $(WARN) -D_GNU_SOURCE -I. -o $@ $<

# Each clause of tests/mutants/mutants.txt broken in turn: its named test must notice.
.PHONY: mutants
mutants: deps-test wolfssl
	$(Q)tests/mutants/run.py --jobs $(shell nproc)

# ---- benchmarks: bench/README.md. BENCH_ARGS is passed on (make bench BENCH_ARGS='--only p2p-q0-64').
.PHONY: bench bench-quick bench-tools
bench bench-quick:
	$(Q)scripts/install-deps.sh build bench
	$(Q)$(MAKE) --no-print-directory MODE=release all bench-tools
	$(Q)/usr/bin/python3 bench/run.py $(if $(filter bench-quick,$@),--quick) $(BENCH_ARGS)
bench-tools: build/mqload build/powercut.so
# The load generator: OpenSSL, and nothing of the broker's.
build/mqload: bench/mqload.c
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D); $(CC) -std=c11 -O2 -g $(WARN) -D_GNU_SOURCE -o $@ $< -lssl -lcrypto -lpthread

# What sealing costs: bench/formats.c, bench/library.c.
.PHONY: bench-formats
bench-formats: all $(O)/bench/formats $(O)/bench/library
	$(Q)$(O)/bench/formats && $(O)/bench/library
$(O)/bench/formats $(O)/bench/library: $(O)/bench/%: $(O)/bench/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# What counts allocations and system calls of a running program: bench/count/README.md. Without fortify: it defines libc's names.
COUNT := $(wildcard bench/count/*.c)
build/count.so: $(COUNT) $(wildcard bench/count/*.h)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D); $(CC) -std=c11 -g -O2 -fPIC -shared -fno-builtin -U_FORTIFY_SOURCE $(WARN) -D_GNU_SOURCE -I. -o $@ $(COUNT) -ldl

# ---- manual pages: two are written (docs/man), two are made of what docs/ says
.PHONY: man
man: $(O)/man/sealmq.conf.5 $(O)/man/sealmq-formats.7
$(O)/man/sealmq.conf.5: docs/configuration.md scripts/md-to-man.sh
	$(Q)mkdir -p $(@D) && scripts/md-to-man.sh $< sealmq.conf 5 "configuration of the MQTT broker sealmqd" >$@
$(O)/man/sealmq-formats.7: docs/formats.md scripts/md-to-man.sh
	$(Q)mkdir -p $(@D) && scripts/md-to-man.sh $< sealmq-formats 7 "key tree, envelopes, sealed messages and stored records of sealmq" >$@

# A broker, members and a stranger on a sealed topic, each step with its command.
.PHONY: demo
demo: deps-run
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/demo.sh

# ---- the rest
# The administrator's sealmq.conf is never overwritten.
install: all man
	$(Q)d='$(DESTDIR)'; p="$$d$(PREFIX)"; e="$$d$(SYSCONFDIR)/sealmq"; \
	install -d "$$p/sbin" "$$p/bin" "$$p/include" "$$p/lib/pkgconfig" "$$p/share/sealmq" "$$p/share/doc/sealmq" "$$p/lib/systemd/system" "$$e" && \
	install -m 755 $(O)/sealmqd "$$p/sbin/sealmqd" && \
	install -m 755 $(O)/sealmq "$$p/bin/sealmq" && \
	install -m 644 client/sealmq.h "$$p/include/sealmq.h" && \
	install -m 644 $(STATIC) $(SHARED) "$$p/lib/" && ln -sfn $(notdir $(SHARED)) "$$p/lib/libsealmq.so" && \
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(shell sed -n 's/^.define VERSION_NUMBER "\(.*\)"/\1/p' base/version.h)|; s|@PRIVATE@|$(if $(WOLF_INSIDE),,-lwolfssl)|' \
		client/sealmq.pc.in >"$$p/lib/pkgconfig/sealmq.pc" && \
	install -m 755 scripts/generate-certs.sh "$$p/share/sealmq/generate-certs.sh" && \
	install -m 644 README.md LICENSE "$$p/share/doc/sealmq/" && \
	sed 's|\(persistence_location\) data |\1 /var/lib/sealmq |; s|data/master.key|/var/lib/sealmq/master.key|' conf/sealmq.conf \
		>"$$e/sealmq.conf.sample" && \
	install -d "$$p/share/man/man1" "$$p/share/man/man5" "$$p/share/man/man7" "$$p/share/man/man8" && \
	install -m 644 docs/man/sealmq.1 "$$p/share/man/man1/" && install -m 644 docs/man/sealmqd.8 "$$p/share/man/man8/" && \
	install -m 644 $(O)/man/sealmq.conf.5 "$$p/share/man/man5/" && install -m 644 $(O)/man/sealmq-formats.7 "$$p/share/man/man7/" && \
	{ test -e "$$e/sealmq.conf" || install -m 644 "$$e/sealmq.conf.sample" "$$e/sealmq.conf"; } && \
	sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' conf/sealmqd.service >"$$p/lib/systemd/system/sealmqd.service"

clean:
	$(Q)rm -rf build/release build/debug build/asan build/tsan build/fuzz build/lint build/sealmqd build/sealmq build/mqload

-include $(OBJ:.o=.d) $(MAIN:%.c=$(O)/%.d) $(wildcard $(O)/pic/*/*.d) $(TEST_PROGS:=.d) $(wildcard $(O)/tests/fuzz/*.d)
