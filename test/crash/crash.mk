# Power cuts: the store rebuilt as a disk could look after each, opened with the real code. `make crash` runs it.
CRASH_C := $(addprefix test/crash/,main.c record.c load.c platter.c model.c judge.c)
CRASH_SEEDS ?= 1..1
CRASH_IMAGES ?= 3000
# LMDB as a static library, so that its calls go through record.c.
CRASH_WRAP := open close write pwrite writev fdatasync fsync msync ftruncate fallocate rename mkdir unlink \
              mdb_env_open store_open store_close store_submit store_commit_now
CRASH_LIBS := $(patsubst -llmdb,-l:liblmdb.a,$(DAEMON_LIBS))

$(BUILD)/test/crash/crash: $(call obj,$(CRASH_C)) $(LIBS_ALL) $(LIBSHELL)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) $(CRASH_WRAP:%=-Wl,--wrap=%) -o $@ $(call obj,$(CRASH_C)) -Wl,--start-group $(LIBSHELL) $(LIBS_ALL) -Wl,--end-group $(CRASH_LIBS)

# For test/system/test_disk.py; never sanitized: it is loaded before all else.
$(BUILD)/test/crash/faults.so: test/crash/faults.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) -Wno-missing-prototypes -fPIC -shared -o $@ $<

crash: $(BUILD)/test/crash/crash
	BUILD=$(BUILD) $(BUILD)/test/crash/crash --seeds $(CRASH_SEEDS) --images $(CRASH_IMAGES) --jobs $(shell nproc)
.PHONY: crash
