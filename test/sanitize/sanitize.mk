# The tests again in builds that watch themselves. `make asan`, `make tsan`, `make valgrind`; ONLY=TEXT: the tests with this in
# their name. What is found stays in the build folder, under findings/. Each first sees the faults of planted.c.
# gcc's shared UBSan beside ASan hears nothing of log_path: what it finds in a daemon would be lost.
asan: deps
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/asan CC=gcc SAN=address,undefined LDFLAGS="$(LDFLAGS) -static-libubsan" all tests $(BUILD)/asan/test/sanitize/planted
	$(Q)BUILD=$(BUILD)/asan CC=gcc $(PYTHON) test/run.py asan
.PHONY: asan

tsan: deps
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan CC=gcc SAN=thread all tests $(BUILD)/tsan/test/sanitize/planted
	$(Q)BUILD=$(BUILD)/tsan CC=gcc $(PYTHON) test/run.py tsan
.PHONY: tsan

$(BUILD)/test/sanitize/planted: $(BUILD)/obj/test/sanitize/planted.o
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -lpthread

# Every allocation of proto/, crypto/ and daemon/relay/ failed once, on every way to it: each call must be a frame.
ALLOC_TESTS := $(basename $(shell grep -lE 'alloc_fault\.h|RUN_FED_AND_HUNGRY' test/unit/test_*.c))
allocations: deps
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/allocations CC=gcc \
		OPT='-Og -g -fno-inline -fno-optimize-sibling-calls -fno-ipa-icf -fcallgraph-info' HARDEN='-fPIE -DRELAY_ASKS_ALWAYS=true' $(ALLOC_TESTS:%=$(BUILD)/allocations/%)
	$(Q)BUILD=$(BUILD)/allocations $(PYTHON) test/sanitize/alloc_sites.py
.PHONY: allocations

# The demo with each cpd under memcheck: no error, no leak but what a library keeps for as long as it lives.
valgrind: deps
	@test/deps.sh valgrind libc6-dbg
	$(Q)$(MAKE) --no-print-directory all $(BUILD)/test/sanitize/planted
	$(Q)BUILD=$(BUILD) $(PYTHON) test/sanitize/valgrind.py
.PHONY: valgrind
