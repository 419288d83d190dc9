# cpd. `make demo` runs a small region on this machine; `make check` runs every test.
# V=1 shows commands; BUILD=dir builds elsewhere; SAN=address,undefined sanitizes; WERROR=1 for CI.

CC      ?= gcc
BUILD   ?= build
PREFIX  ?= /usr/local
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
PROTO_C   := $(wildcard proto/*.c)
CRYPTO_C  := $(wildcard crypto/*.c)
STORE_C   := $(wildcard store/*.c)
RELAY_C   := $(wildcard daemon/relay/*.c)
ROLE_C    := $(wildcard daemon/role/*.c)
DAEMON_C  := $(wildcard daemon/*.c)
CPCTL_C   := $(wildcard daemon/cpctl/*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
GEN_O     := $(GEN_C:$(BUILD)/gen/%.c=$(BUILD)/obj/gen/%.o)
LIBPROTO  := $(BUILD)/libproto.a
LIBCRYPTO := $(BUILD)/libcpdcrypto.a
LIBSTORE  := $(BUILD)/libstore.a
LIBRELAY  := $(BUILD)/librelay.a
LIBROLE   := $(BUILD)/librole.a
LIBS_ALL  := $(LIBRELAY) $(LIBROLE) $(LIBSTORE) $(LIBCRYPTO) $(LIBPROTO)

DAEMON_LIBS = -levent -levent_pthreads -lzmq -ljansson -lsystemd -linih -llmdb -lsodium -lprotobuf-c -lpthread
CPCTL_LIBS  = -lcurl -ljansson -lsodium -lprotobuf-c -lpthread

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

# The same with sanitizers and more seeds.
check-all: deps
	$(Q)$(MAKE) --no-print-directory all tests
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SAN=address,undefined all tests
	$(Q)BUILD=$(BUILD) CC=$(CC) $(PYTHON) test/run.py check-all

unit: $(UNIT)
tests: unit $(BUILD)/test/sim/sim

layers: $(LIBS_ALL)
	$(Q)BUILD=$(BUILD) CC=$(CC) test/layers.sh

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PHONY: all clean deps demo check check-run check-all unit tests layers
