# cpd. `make demo` runs a small region on this machine; `make check` runs every test.
# V=1 shows commands; BUILD=dir builds elsewhere; SAN=address,undefined sanitizes; WERROR=1 for CI.

CC      ?= gcc
BUILD   ?= build
# Debian's own, which sees Debian's modules.
PYTHON  ?= /usr/bin/python3
# As many at once as there are cores, unless told.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
        -Wcast-qual -Wwrite-strings -Wundef -Wvla $(if $(WERROR),-Werror)
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
OPT  ?= -O2 -g
ifdef SAN
OPT    := -O1 -g
HARDEN := -fPIE
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer
endif
CFLAGS_ALL  = -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) $(HARDEN) $(SANFLAGS) -I. -I$(BUILD)/gen -MMD -MP $(CFLAGS)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now $(SANFLAGS) $(LDFLAGS)
Q := $(if $(V),,@)
SAY = $(if $(V),@:,@printf '  %-8s %s\n')

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

# ---------------------------------------------------------------- sources
GEN       := proto/cpd proto/body proto/record
GEN_C     := $(GEN:%=$(BUILD)/gen/%.pb-c.c)
GEN_H     := $(GEN:%=$(BUILD)/gen/%.pb-c.h)
PROTO_C   := $(addprefix proto/,$(addsuffix .c,\
             arena body body_path body_rules checkwords courier custody directory directory_update error frame kind \
             leaf link link_receive link_send message presence receipt sealed text trailer tree types wire))
CRYPTO_C  := $(addprefix crypto/,$(addsuffix .c,\
             anchor authority backup claim code courier crypto identity keyfile kit passphrase person region seal sealed_kit secret sign vault verify))
STORE_C   := $(addprefix store/,$(addsuffix .c,\
             batch check copy depth file key migrate pages read salvage store value writer))
RELAY_C   := $(addprefix daemon/relay/,$(addsuffix .c,\
             accept body carry map operate origin queue quota receipts relay route stall))
ROLE_C    := $(addprefix daemon/role/,$(addsuffix .c,\
             role))
DAEMON_C  := $(addprefix daemon/,$(addsuffix .c,\
             address api api_admin api_check api_courier api_events api_guard api_journal api_message api_metrics api_order api_sealed api_self api_status bearer_call \
             bearer_router bearer_selftest bearer_zmq body_json clock config config_show credentials log main node node_author node_courier node_courier_write \
             node_directory node_effects node_emergency node_gather node_journal node_links node_load node_query \
             node_claim node_draft node_reissue node_retention node_seal node_send node_space node_stall node_turn node_updates node_vault send_window space_watch verify_pool zap zmq_pump))
CPCTL_C   := $(addprefix daemon/cpctl/,$(addsuffix .c,\
             act admission arguments backup check claim client clock conf courier directory doctor doctor_local enrol enrol_csv export fields file help inbox main node output owner passphrase path person program \
             progress queue region registry restore send sheet show status stick trace unseal verbs watch))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
GEN_O     := $(GEN_C:$(BUILD)/gen/%.c=$(BUILD)/obj/gen/%.o)
LIBPROTO  := $(BUILD)/libproto.a
LIBCRYPTO := $(BUILD)/libcpdcrypto.a
LIBSTORE  := $(BUILD)/libstore.a
LIBRELAY  := $(BUILD)/librelay.a
LIBROLE   := $(BUILD)/librole.a
LIBS_ALL  := $(LIBRELAY) $(LIBROLE) $(LIBSTORE) $(LIBCRYPTO) $(LIBPROTO)

DAEMON_LIBS = -levent -levent_pthreads -lzmq -ljansson -lsystemd -linih -llmdb -lsodium -lprotobuf-c -lpthread
CPCTL_LIBS  = -lcsv -lqrencode -lcurl -ljansson -lsodium -lprotobuf-c -lpthread

all: $(BUILD)/cpd $(BUILD)/cpctl

$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h: %.proto
	@mkdir -p $(BUILD)/gen
	$(SAY) PROTOC $<
	$(Q)protoc-c --c_out=$(BUILD)/gen --proto_path=. $<

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c | $(GEN_H)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CFLAGS_ALL) -Wno-pedantic -c -o $@ $<

$(BUILD)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

define archive
$(1): $(2)
	$$(SAY) AR $$@
	$$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(eval $(call archive,$(LIBPROTO),$(call obj,$(PROTO_C)) $(GEN_O)))
$(eval $(call archive,$(LIBCRYPTO),$(call obj,$(CRYPTO_C))))
$(eval $(call archive,$(LIBSTORE),$(call obj,$(STORE_C))))
$(eval $(call archive,$(LIBRELAY),$(call obj,$(RELAY_C))))
$(eval $(call archive,$(LIBROLE),$(call obj,$(ROLE_C))))

$(BUILD)/cpd: $(call obj,$(DAEMON_C)) $(LIBS_ALL)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(DAEMON_LIBS)

$(BUILD)/cpctl: $(call obj,$(CPCTL_C)) $(LIBCRYPTO) $(LIBPROTO)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(CPCTL_LIBS)

# ---------------------------------------------------------------- tests
UNIT_C := $(wildcard test/unit/test_*.c)
UNIT   := $(UNIT_C:%.c=$(BUILD)/%)
# A unit test links what it needs: archives are searched, so unused folders cost nothing. Tests of the
# shell need its objects too.
SHELL_O   := $(filter-out $(BUILD)/obj/daemon/main.o,$(call obj,$(DAEMON_C)))
LIBSHELL  := $(BUILD)/libshell.a
$(eval $(call archive,$(LIBSHELL),$(SHELL_O)))
$(BUILD)/test/unit/test_%: $(BUILD)/obj/test/unit/test_%.o $(LIBS_ALL) $(LIBSHELL)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(LIBSHELL) $(LIBS_ALL) -Wl,--end-group -lcmocka $(DAEMON_LIBS)

-include test/sim/sim.mk
-include test/bench/bench.mk
-include test/crash/crash.mk
-include test/fuzz/fuzz.mk
-include test/soak/soak.mk
-include test/sanitize/sanitize.mk

# Installs what is missing (apt), says what; nothing where it is there.
deps:
	@test/deps.sh

# A region of seven nodes on this machine, with real processes. HOLD=0 ends after the proof.
demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) HOLD=$(or $(HOLD),1) $(PYTHON) test/demo/demo.py

# Every test; the last line is N passed, M failed.
check: deps
	$(Q)$(MAKE) --no-print-directory check-run

check-run: all tests
	$(Q)BUILD=$(BUILD) CC=$(CC) $(PYTHON) test/run.py check

# Everything, within two hours on two idle cores: the parts are listed in test/check_all.py. PARTS="asan tsan": only these.
check-all: deps
	$(Q)$(MAKE) --no-print-directory all tests
	@test/deps.sh systemd-container weasyprint
	$(Q)BUILD=$(BUILD) CC=$(CC) MAKE="$(MAKE)" $(PYTHON) test/check_all.py $(PARTS)

# Breaks the code on purpose, once a mutant, and tells which test saw it.
mutants: deps
	$(Q)BUILD=$(BUILD) $(PYTHON) test/mutants/mutants.py
.PHONY: mutants

unit: $(UNIT)
tests: unit $(BUILD)/test/sim/sim $(BENCH) $(BUILD)/test/crash/crash $(BUILD)/test/crash/faults.so $(BUILD)/test/soak/hooks.so

layers: $(LIBS_ALL)
	$(Q)BUILD=$(BUILD) CC=$(CC) test/layers.sh

# ---------------------------------------------------------------- installing
VERSION     := $(shell sed -n 's/^.define CPD_VERSION "\(.*\)"$$/\1/p' daemon/version.h)
PREFIX      ?= /usr/local
BINDIR      ?= $(PREFIX)/bin
SBINDIR     ?= $(PREFIX)/sbin
SYSCONFDIR  ?= /etc
DATADIR     ?= $(PREFIX)/share
MANDIR      ?= $(DATADIR)/man
DOCDIR      ?= $(DATADIR)/doc/cpd
BASHDIR     ?= $(DATADIR)/bash-completion/completions
# systemd reads these there, whatever the prefix is.
LIBDIR_SYSTEMD ?= $(if $(filter /usr,$(PREFIX)),/lib/systemd,/etc/systemd)
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
UNITDIR     ?= $(LIBDIR_SYSTEMD)/system
INSTALL     ?= install
MAN         := $(wildcard docs/man/*.[1-8])
DOCS        := README.md CHANGES.md SECURITY.md LICENSE NOTICE $(wildcard docs/*.md)
MONITORING  := $(wildcard docs/monitoring/* docs/journal/*)
D            = $(DESTDIR)

# What install writes, without DESTDIR: uninstall removes exactly this.
INSTALLED = $(SBINDIR)/cpd $(BINDIR)/cpctl $(BASHDIR)/cpctl \
            $(foreach page,$(MAN),$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page))) \
            $(UNITDIR)/cpd.service $(UNITDIR)/cpd.socket $(SYSUSERSDIR)/cpd.conf $(TMPFILESDIR)/cpd.conf \
            $(DOCS:%=$(DOCDIR)/%) $(MONITORING:docs/%=$(DOCDIR)/%) $(DOCDIR)/examples/cpd.conf

# Never writes /etc/cpd/cpd.conf: that is the node's own. An example stands in DOCDIR.
install: all
	$(Q)$(INSTALL) -D -m 755 $(BUILD)/cpd $(D)$(SBINDIR)/cpd
	$(Q)$(INSTALL) -D -m 755 $(BUILD)/cpctl $(D)$(BINDIR)/cpctl
	$(Q)$(INSTALL) -D -m 644 daemon/cpctl/cpctl.bash $(D)$(BASHDIR)/cpctl
	$(Q)$(foreach page,$(MAN),$(INSTALL) -D -m 644 $(page) $(D)$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) :
	$(Q)$(INSTALL) -d $(D)$(UNITDIR) $(D)$(SYSCONFDIR)/cpd
	$(Q)sed 's|/usr/sbin/cpd|$(SBINDIR)/cpd|; s|/etc/cpd/|$(SYSCONFDIR)/cpd/|' systemd/cpd.service > $(D)$(UNITDIR)/cpd.service
	$(Q)sed 's|/etc/cpd/|$(SYSCONFDIR)/cpd/|' systemd/cpd.socket > $(D)$(UNITDIR)/cpd.socket
	$(Q)chmod 644 $(D)$(UNITDIR)/cpd.service $(D)$(UNITDIR)/cpd.socket
	$(Q)$(INSTALL) -D -m 644 systemd/cpd.sysusers $(D)$(SYSUSERSDIR)/cpd.conf
	$(Q)$(INSTALL) -D -m 644 systemd/cpd.tmpfiles $(D)$(TMPFILESDIR)/cpd.conf
	$(Q)$(foreach doc,$(DOCS),$(INSTALL) -D -m 644 $(doc) $(D)$(DOCDIR)/$(doc) &&) :
	$(Q)$(foreach file,$(MONITORING),$(INSTALL) -D -m 644 $(file) $(D)$(DOCDIR)/$(file:docs/%=%) &&) :
	$(Q)$(INSTALL) -D -m 644 systemd/cpd.conf $(D)$(DOCDIR)/examples/cpd.conf

# build/cpd_VERSION_ARCH.deb, for this machine's Debian.
DEB_VERSION ?= $(VERSION)
deb: all
	$(Q)BUILD=$(BUILD) VERSION=$(DEB_VERSION) MAKE="$(MAKE)" systemd/debian/build.sh

# Leaves /etc/cpd, the state and the user cpd: keys and messages are for a person to remove.
uninstall:
	rm -f $(INSTALLED:%=$(D)%)
	$(Q)-rmdir -p --ignore-fail-on-non-empty $(sort $(dir $(DOCS:%=$(D)$(DOCDIR)/%) $(MONITORING:docs/%=$(D)$(DOCDIR)/%) $(D)$(DOCDIR)/examples/cpd.conf)) 2>/dev/null

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PHONY: all clean deps demo check check-run check-all unit tests layers install uninstall deb
