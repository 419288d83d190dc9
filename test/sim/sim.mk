# The simulator: real relays and links, nothing else of the daemon. `make sim` runs it.
SIM_C := test/sim/main.c test/sim/world.c test/sim/net.c test/sim/node.c test/sim/decide.c test/sim/effects.c test/sim/feed.c test/sim/plan.c test/sim/check.c \
         test/sim/trace.c test/sim/courier.c test/sim/twin.c test/sim/stall.c test/sim/ends.c test/sim/disk.c test/sim/random.c test/sim/body.c test/sim/make_verified.c
SIM_SEEDS ?= 1..300

$(BUILD)/test/sim/sim: $(call obj,$(SIM_C)) $(LIBRELAY) $(LIBPROTO)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lprotobuf-c

sim: $(BUILD)/test/sim/sim
	$(BUILD)/test/sim/sim --seeds $(SIM_SEEDS)
.PHONY: sim
