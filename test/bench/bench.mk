# The bench: what cpd does in a second, beside what this machine could. `make bench`, `make bench QUICK=1`.
BENCH := $(addprefix $(BUILD)/test/bench/,backlog load machine)

$(BUILD)/test/bench/%: $(BUILD)/obj/test/bench/%.o $(BUILD)/obj/test/bench/people.o $(LIBS_ALL) $(LIBSHELL)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< $(BUILD)/obj/test/bench/people.o -Wl,--start-group $(LIBSHELL) $(LIBS_ALL) -Wl,--end-group $(DAEMON_LIBS)

# Only after every other build and test is done: it measures. The table is also in $(BUILD)/bench.json.
bench: deps
	$(Q)$(MAKE) --no-print-directory all $(BENCH)
	$(Q)BUILD=$(BUILD) $(PYTHON) test/bench/bench.py $(if $(QUICK),quick,full)
.PHONY: bench
