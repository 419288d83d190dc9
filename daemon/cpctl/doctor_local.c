/* doctor_local.c: what can be seen without the daemon: configuration, machine, disk, keys. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "crypto/region.h"
#include "crypto/verify.h"
#include "daemon/cpctl/doctor.h"
#include "daemon/cpctl/help.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/program.h"

#define MIB (1024 * 1024)
#define CREDENTIAL "/etc/credstore.encrypted/cpd.signing.key" /* docs/OPERATIONS.md, "Keys that do not lie open on the disk" */
#define SOON_S (30 * 86400)

/* ---------------------------------------------------------------- configuration */

void doctor_config(struct doctor *doctor, struct call *call)
{
	char problem[512], *text;
	json_t *config;

	if (access(doctor->conf, R_OK)) {
		doctor_add(doctor, errno == EACCES ? FINDING_WARN : FINDING_FAIL, "configuration",
		    errno == EACCES ? "run this as root: sudo cpctl doctor" : "`cpctl node install STATEDIR KIT --conf FILE` writes a first one; --config names another", "%s: %s",
		    doctor->conf, strerror(errno));
		return;
	}
	text = program_config(doctor->conf, problem, sizeof(problem));
	config = text ? json_loads(text, 0, NULL) : NULL;
	free(text);
	if (!config) {
		doctor_add(doctor, FINDING_FAIL, "configuration", "correct that line; `cpd --check-config` looks again", "%s", problem);
		return;
	}
	snprintf(doctor->state, FILE_PATH_MAX, "%s", json_text(config, "state"));
	snprintf(doctor->identity, FILE_PATH_MAX, "%s", json_text(config, "identity"));
	snprintf(doctor->store, FILE_PATH_MAX, "%s", json_text(config, "store"));
	doctor->has_folders = true;
	doctor->number = json_number(config, "number");
	if (!strcmp(call->socket, SOCKET_DEFAULT) && *json_text(config, "api_socket") && access(call->socket, F_OK)) {
		/* Nobody said which: then it is the one that this configuration names. */
		static char path[FILE_PATH_MAX];

		snprintf(path, sizeof(path), "%s", json_text(config, "api_socket"));
		call->socket = path;
	}
	doctor_add(doctor, FINDING_OK, "configuration", "", "%s: node %lld, %s, %zu links", doctor->conf, (long long)doctor->number, json_text(config, "role"),
	    json_array_size(json_object_get(config, "links")));
	if (json_real_value(json_object_get(config, "time_scale")) != 1.0)
		doctor_add(doctor, FINDING_WARN, "time scale", "take [tuning] time_scale out of the configuration", "timers run %g times too fast: this is set for a rehearsal",
		    json_real_value(json_object_get(config, "time_scale")));
	json_decref(config);
}

/* ---------------------------------------------------------------- machine */

static bool has_swap(void)
{
	FILE *file = fopen("/proc/swaps", "re");
	char line[256];
	int lines = 0;

	while (file && fgets(line, sizeof(line), file))
		lines++;
	if (file)
		fclose(file);
	return lines > 1;
}

void doctor_machine(struct doctor *doctor)
{
	long page = sysconf(_SC_PAGESIZE);

	if (page == 4096)
		doctor_add(doctor, FINDING_OK, "page size", "", "4096 bytes");
	else
		doctor_add(doctor, FINDING_FAIL, "page size", "Raspberry Pi 5: put kernel=kernel8.img in /boot/firmware/config.txt and restart; or install LMDB 0.9.32 or later",
		    "this kernel has pages of %ld bytes, with which the store can fail", page);
	if (has_swap())
		doctor_add(doctor, FINDING_WARN, "swap", "encrypt it, or turn it off: sudo swapoff -a, and take it out of /etc/fstab",
		    "on: what messages say may come to lie on the disk (keys are locked in memory)");
	else
		doctor_add(doctor, FINDING_OK, "swap", "", "none");
}

/* ---------------------------------------------------------------- disk */

static void look_at_kind(struct doctor *doctor)
{
	static const struct { unsigned long type; const char *name; enum finding finding; } kinds[] = {
		{ 0x6969, "NFS", FINDING_FAIL }, { 0xff534d42, "CIFS", FINDING_FAIL }, { 0xfe534d42, "SMB", FINDING_FAIL }, { 0x517b, "SMB", FINDING_FAIL },
		{ 0x65735546, "FUSE", FINDING_WARN }, { 0x01021994, "tmpfs", FINDING_FAIL }, { 0x858458f6, "ramfs", FINDING_FAIL },
		{ 0x4d44, "FAT", FINDING_FAIL }, { 0x2011bab0, "exFAT", FINDING_FAIL }, { 0x794c7630, "overlay", FINDING_WARN },
	};
	struct statfs fs;

	if (statfs(doctor->state, &fs)) {
		doctor_add(doctor, FINDING_FAIL, "state folder", "sudo cpctl node init makes it; or correct [node] state", "%s: %s", doctor->state, strerror(errno));
		return;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if ((unsigned long)fs.f_type != kinds[i].type)
			continue;
		doctor_add(doctor, kinds[i].finding, "file system", "put the state folder on a local disk with ext4, xfs or btrfs",
		    "%s lies on %s: what is synced there may not survive", doctor->state, kinds[i].name);
		return;
	}
	doctor_add(doctor, FINDING_OK, "file system", "", "%s is on a local disk", doctor->state);
}

static void look_at_room(struct doctor *doctor)
{
	struct statvfs fs;
	uint64_t mib;

	if (statvfs(doctor->state, &fs))
		return;
	mib = (uint64_t)fs.f_bavail * fs.f_frsize / MIB;
	doctor_add(doctor, mib < 64 ? FINDING_FAIL : mib < 1024 ? FINDING_WARN : FINDING_OK, "disk", mib < 1024 ? "free space: journalctl --vacuum-size=100M; old backups and before-restore folders" : "",
	    "%llu MiB free", (unsigned long long)mib);
}

/* A disk that lies cannot be found this way; one that refuses can. */
static void look_at_sync(struct doctor *doctor)
{
	char path[FILE_PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/doctor-%ld", doctor->state, (long)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		if (errno == EACCES)
			doctor_add(doctor, FINDING_WARN, "writing", "run this as root: sudo cpctl doctor", "%s cannot be written by this user; not tried", doctor->state);
		else
			doctor_add(doctor, FINDING_FAIL, "writing", "look at the disk: dmesg, mount", "%s cannot be written: %s", doctor->state, strerror(errno));
		return;
	}
	if (write(fd, "x", 1) == 1 && !fsync(fd))
		doctor_add(doctor, FINDING_OK, "writing", "", "written and synced");
	else
		doctor_add(doctor, FINDING_FAIL, "writing", "look at the disk: dmesg, smartctl -a; copy what is there to another", "a file cannot be synced: %s", strerror(errno));
	close(fd);
	unlink(path);
}

void doctor_disk(struct doctor *doctor)
{
	look_at_kind(doctor);
	look_at_room(doctor);
	look_at_sync(doctor);
}

/* ---------------------------------------------------------------- keys */

/* STATE/updates as `cpctl node install` left them; NULL: none can be read. */
static struct directory *read_updates(const struct doctor *doctor, const struct region_anchor *anchor)
{
	struct directory *directory = directory_new();

	for (uint32_t number = 1; directory; number++) {
		struct directory_update update;
		char path[FILE_PATH_MAX + 32];
		uint8_t *bytes;
		size_t len;

		snprintf(path, sizeof(path), "%s/updates/%06u.update", doctor->state, number);
		if (access(path, R_OK) || !file_read(path, LIMIT_ITEM, &bytes, &len))
			break;
		if (!verify_directory_update(anchor, (struct slice){ bytes, len }, &update))
			if (directory_apply(directory, &update))
				doctor = NULL;
		directory_update_clear(&update);
		free(bytes);
		if (!doctor)
			break;
	}
	return directory;
}

static void look_at_certificate(struct doctor *doctor, const struct identity *identity)
{
	struct directory *directory = read_updates(doctor, identity_anchor(identity));
	const struct certificate *held = directory ? directory_certificate(directory, identity_node(identity)) : NULL;
	struct certificate own = { .node = 0 };
	int64_t now_s = (int64_t)time(NULL) - CPD_TIME_ZERO_S;

	identity_public_keys(identity, &own);
	if (!held)
		doctor_add(doctor, FINDING_WARN, "certificate", "`cpctl node install STATEDIR KIT` with a fresh kit, if cpd does not start", "none in %s/updates", doctor->state);
	else if (memcmp(own.signing_key, held->signing_key, sizeof(own.signing_key)))
		doctor_add(doctor, FINDING_FAIL, "certificate", "ask the region for the kit of these keys, or admit this machine's request with --replace", "it is of other keys than these");
	else if (held->not_after_s && held->not_after_s < now_s + SOON_S)
		doctor_add(doctor, FINDING_WARN, "certificate", "ask the region to admit this node again", "it %s", held->not_after_s < now_s ? "has run out (messages go on)" : "runs out within 30 days");
	else
		doctor_add(doctor, FINDING_OK, "certificate", "", "of these keys, key %u; directory %u", held->key_number, directory_version(directory));
	directory_free(directory);
}

static void look_at_owner(struct doctor *doctor)
{
	struct stat keys, store;

	if (stat(doctor->identity, &keys) || stat(doctor->store, &store) || keys.st_uid == store.st_uid)
		return;
	doctor_add(doctor, FINDING_FAIL, "owner", "sudo chown -R cpd: the state folder (the user that cpd runs as)", "%s and %s belong to different users", doctor->identity, doctor->store);
}

void doctor_keys(struct doctor *doctor, bool with_certificate)
{
	struct identity *identity = NULL;
	const char *problem = "";
	enum cpd_error error;

	if (access(doctor->identity, R_OK | X_OK) && errno == EACCES) {
		doctor_add(doctor, FINDING_WARN, "keys", "run this as root: sudo cpctl doctor", "%s is closed to this user, as it must be; not looked at", doctor->identity);
		return;
	}
	error = identity_load(doctor->identity, &identity, &problem);
	if (error == CPD_ERR_NOT_FOUND && !identity_has_open_keys(doctor->identity) && !access(CREDENTIAL, F_OK))
		doctor_add(doctor, FINDING_OK, "keys", "", "handed over by systemd, from " CREDENTIAL "; not looked at");
	else if (error)
		doctor_add(doctor, FINDING_FAIL, "keys", error == CPD_ERR_STATE ? "sudo chmod 600 on that file; if others can have read it, ask the region to revoke the key" :
		    "put the identity folder back from the safe; or `cpctl node init` and let the region admit it with --replace", "%s", problem && *problem ? problem : cpd_error_text(error));
	else if (!identity_anchor(identity))
		doctor_add(doctor, FINDING_FAIL, "keys", "take request.cpd to the region, then `cpctl node install STATEDIR KIT`", "this machine is installed in no region yet");
	else if (doctor->number && doctor->number != identity_node(identity))
		doctor_add(doctor, FINDING_FAIL, "keys", "correct [node] number, or the state folder", "they are of node %u, the configuration is of node %lld", identity_node(identity), (long long)doctor->number);
	else
		doctor_add(doctor, FINDING_OK, "keys", "", "of node %u, key %u, epoch %u; for their owner only", identity_node(identity), identity_key_number(identity), identity_epoch(identity));
	if (!error && identity_anchor(identity) && with_certificate)
		look_at_certificate(doctor, identity);
	identity_free(identity);
	look_at_owner(doctor);
}
