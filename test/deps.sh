#!/bin/sh
# Installs what cpd's build and tests need on Debian 12, through apt, and the packages named besides; says what;
# does nothing where all is there. Called by `make demo`, `make check`, `make fuzz` and .ci/run.
set -eu
needed="gcc libc6-dev make pkg-config protobuf-c-compiler libprotobuf-c-dev libevent-dev libzmq3-dev
liblmdb-dev libsodium-dev libjansson-dev libsystemd-dev libinih-dev libcurl4-openssl-dev libcsv-dev libqrencode-dev libcmocka-dev
python3 python3-prometheus-client python3-protobuf python3-lmdb python3-nacl python3-seccomp python3-yaml python3-zmq
protobuf-compiler strace procps binutils systemd mandoc dpkg-dev $*"
missing=""
for package in $needed; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
	echo "cpd: these Debian packages are missing, and there is no apt-get to install them:$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "cpd: these packages are missing:$missing" >&2
	echo "cpd: run as root: apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# The list may be old or absent: refresh it once, and again only when the install fails.
apt-get update -qq
# shellcheck disable=SC2086 # one word a package
apt-get install -y -qq --no-install-recommends $missing >/dev/null
