# Real processes for a long time, under faults, judged from the outside. `make soak T=60`: minutes; SEED=n repeats the
# faults of a run; PLANT=memory, descriptors, threads, bytes or loss breaks it on purpose.
T ?= 60
SOAK_HOOKS := $(BUILD)/test/soak/hooks.so

$(SOAK_HOOKS): test/soak/hooks.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) -Wno-missing-prototypes -Wno-pedantic -fPIC -shared -o $@ $< -ldl -lpthread

soak: all $(SOAK_HOOKS) $(BUILD)/test/crash/faults.so
	$(Q)BUILD=$(BUILD) $(PYTHON) test/soak/soak.py --minutes $(T) $(if $(SEED),--seed $(SEED)) $(if $(PLANT),--plant $(PLANT))
.PHONY: soak
