#!/bin/sh
# Proves the direction of includes and the purity of the pure archives (docs/ARCHITECTURE.md). Called by
# `make layers` with BUILD and CC set, from the top of the tree. Last line: N passed, M failed.
set -u
BUILD=${BUILD:-build}
CC=${CC:-cc}
passed=0
failed=0

verdict() { # $1: 0 good; $2: what
	if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "layers: $2"; fi
}

# folder -> folders whose headers it may include (its own is always allowed)
may() {
	case $1 in
	proto) echo "proto" ;;
	crypto) echo "proto crypto" ;;
	store) echo "proto store" ;;
	daemon/relay) echo "proto daemon/relay" ;;
	daemon/role) echo "proto daemon/relay daemon/role" ;;
	daemon/cpctl) echo "proto crypto daemon/cpctl" ;;
	daemon) echo "proto crypto store daemon daemon/relay daemon/role" ;;
	esac
}
for folder in proto crypto store daemon/relay daemon/role daemon/cpctl daemon; do
	allowed=$(may $folder)
	for file in "$folder"/*.[ch]; do
		[ -e "$file" ] || continue
		bad=""
		for include in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file"); do
			ok=no
			for place in $allowed; do [ "$(dirname "$include")" = "$place" ] && ok=yes; done
			[ "$include" = daemon/version.h ] && ok=yes
			[ $ok = yes ] || bad="$bad $include"
		done
		[ -z "$bad" ]; verdict $? "$file may not include$bad"
	done
done

# one place for each library and the clock
only() { # $1: pattern of the include; $2: pattern of the files that may have it
	bad=$(grep -lE "^#include <$1>" proto/*.[ch] crypto/*.[ch] store/*.[ch] daemon/*.[ch] daemon/*/*.[ch] 2>/dev/null | grep -vE "$2" | tr '\n' ' ')
	[ -z "$bad" ]; verdict $? "$1 is included in $bad; only $2 may"
}
only 'lmdb\.h' '^store/'
only 'sodium[^>]*' '^crypto/'
only 'zmq\.h' '^daemon/(bearer_|zap|zmq_)'
only 'event2/[^>]*' '^daemon/[^/]*$'
only 'curl/[^>]*' '^daemon/cpctl/'
bad=$(grep -lE '\b(clock_gettime|gettimeofday|time\(NULL\))' proto/*.c crypto/*.c store/*.c daemon/*.c daemon/relay/*.c daemon/role/*.c 2>/dev/null | grep -v '^daemon/clock.c$' | tr '\n' ' ')
[ -z "$bad" ]; verdict $? "the clock is read outside daemon/clock.c: $bad"
bad=$(grep -lE 'struct verified_(message|receipts|presence) *\* *[a-z_]+ *\)' crypto/*.c 2>/dev/null | grep -v '^crypto/verify' | tr '\n' ' ')
[ -z "$bad" ]; verdict $? "only crypto/verify.c makes verified things, not $bad"
bad=$(grep -nE '\brole *[!=]= *ROLE_ID_' daemon/*.c daemon/relay/*.c 2>/dev/null | grep -vE '^daemon/(api_status|config)\.c|^daemon/relay/route\.c' | tr '\n' ' ')
[ -z "$bad" ]; verdict $? "a decision on the role outside daemon/role: $bad"

# what the pure archives may ask of the C library: nothing that reads, writes, waits or tells the time
forbidden='open|openat|fopen|read|write|pread|pwrite|socket|connect|send|recv|clock_gettime|gettimeofday|time|sleep|usleep|nanosleep|getenv|rand|random|getrandom|printf|fprintf|puts|pthread_[a-z_]*|sodium_.*|crypto_.*|mdb_.*|zmq_.*|event_.*|exit|abort'
for archive in libproto librelay; do
	[ -e "$BUILD/$archive.a" ]; verdict $? "$BUILD/$archive.a was not built" 
	bad=$(nm -u "$BUILD/$archive.a" 2>/dev/null | awk '$1 == "U" {print $2}' | sed 's/@.*//' | sort -u | grep -xE "$forbidden" | tr '\n' ' ')
	[ -z "$bad" ]; verdict $? "$archive is not pure: it uses $bad"
done

# every header stands on its own
for header in proto/*.h crypto/*.h store/*.h daemon/*.h daemon/*/*.h; do
	[ -e "$header" ] || continue
	echo "#include \"$header\"" | $CC -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -I"$BUILD/gen" -x c -fsyntax-only - 2>/dev/null
	verdict $? "$header does not compile alone"
done

# size: headers under 300 lines, sources under 800
for file in $(ls proto/*.[ch] crypto/*.[ch] store/*.[ch] daemon/*.[ch] daemon/*/*.[ch] test/*/*.[ch] 2>/dev/null); do
	lines=$(wc -l < "$file")
	case $file in *.h) limit=300 ;; *) limit=800 ;; esac
	[ "$lines" -lt $limit ]; verdict $? "$file has $lines lines; split it by concept"
done

# what the documents name exists
for doc in README.md docs/ARCHITECTURE.md docs/PROTOCOL.md docs/STORE.md; do
	[ -e "$doc" ] || { verdict 1 "$doc is missing"; continue; }
	bad=""
	for name in $(grep -oE '`(proto|crypto|store|daemon|test|systemd|docs)/[A-Za-z0-9_./-]+`' "$doc" | tr -d '`' | sort -u); do
		[ -e "${name%/}" ] || bad="$bad $name"
	done
	[ -z "$bad" ]; verdict $? "$doc names what is not there:$bad"
done

echo "layers: $passed passed, $failed failed"
[ $failed = 0 ]
