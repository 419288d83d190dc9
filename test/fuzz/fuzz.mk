# Fuzzing. `make fuzz T=60` lets libFuzzer (clang) at every parser in turn, each for T seconds; FUZZ="envelope link":
# only these. `make fuzz-replay` runs seeds, corpus and simple damage with any compiler, as `make check` does.
FUZZ_TARGET_C := $(addprefix test/fuzz/,$(addsuffix .c,\
                 common seeds vectors files targets target_proto target_link target_pair target_body target_config target_crypto target_kit target_courier target_sealed target_store target_api))
FUZZ_GROUP     = -Wl,--start-group $(LIBSHELL) $(LIBS_ALL) -Wl,--end-group $(DAEMON_LIBS)
FUZZ_CLANG    ?= clang
FUZZ_SAN      := fuzzer-no-link,address,undefined
T             ?= 60

$(BUILD)/test/fuzz/replay: $(call obj,$(FUZZ_TARGET_C) test/fuzz/replay.c) $(LIBS_ALL) $(LIBSHELL)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(call obj,$(FUZZ_TARGET_C) test/fuzz/replay.c) $(FUZZ_GROUP)

# Built by `make fuzz` only, with BUILD=build/fuzz CC=clang.
$(BUILD)/test/fuzz/fuzz: $(call obj,$(FUZZ_TARGET_C) test/fuzz/main.c) $(LIBS_ALL) $(LIBSHELL)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $(call obj,$(FUZZ_TARGET_C) test/fuzz/main.c) $(FUZZ_GROUP)

fuzz-build: $(BUILD)/test/fuzz/replay
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=$(FUZZ_CLANG) SAN=$(FUZZ_SAN) $(BUILD)/fuzz/test/fuzz/fuzz
.PHONY: fuzz-build

fuzz: deps
	@test/deps.sh clang libclang-rt-14-dev llvm
	$(Q)$(MAKE) --no-print-directory fuzz-build
	$(Q)BUILD=$(BUILD) $(PYTHON) test/fuzz/fuzz.py --seconds $(T) $(FUZZ)
.PHONY: fuzz

fuzz-replay: $(BUILD)/test/fuzz/replay
	BUILD=$(BUILD) $(BUILD)/test/fuzz/replay $(FUZZ)
.PHONY: fuzz-replay

# Signed messages, changed: none may be taken.
MUTATIONS ?= 1000000
$(BUILD)/test/fuzz/mutate: $(call obj,test/fuzz/mutate.c) $(LIBCRYPTO) $(LIBPROTO)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lsodium -lprotobuf-c

mutate: $(BUILD)/test/fuzz/mutate
	$(BUILD)/test/fuzz/mutate --count $(MUTATIONS)
.PHONY: mutate

tests: $(BUILD)/test/fuzz/replay $(BUILD)/test/fuzz/mutate
