#!/bin/sh
# Installs what the tests need and Go doesn't bring, from the system's packages: PostgreSQL's
# programs (the tests start servers of their own, so none needs to run), and a C and C++
# compiler (the race detector; the GPU's host side and kernels, which are tested without a
# GPU), curl, Python with requests (the examples), Chromium (the dashboard), and Prometheus's
# promtool (the alert rules; unpacked into bin/, since the package would start a Prometheus).
# versitygw, an S3 server to test with, is built into bin/ by Go.
# Does nothing if they are there already.
set -eu

found_compiler() { command -v gcc >/dev/null 2>&1 && command -v g++ >/dev/null 2>&1; }

found_clients() {
	command -v curl >/dev/null 2>&1 || return 1
	for p in python3 /usr/bin/python3; do
		"$p" -c 'import requests' >/dev/null 2>&1 && return
	done
	return 1
}

found_browser() { command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1; }

found_postgres() {
	command -v postgres >/dev/null 2>&1 && return
	for p in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
		[ -x "$p" ] && return
	done
	return 1
}

bin=$(cd "$(dirname "$0")/.." && pwd)/bin
found_promtool() { command -v promtool >/dev/null 2>&1 || [ -x "$bin/promtool" ]; }

# libfaketime, with which make chaos steps PostgreSQL's clock, is unpacked there as well.
found_clock() { [ -e "$bin/libfaketime.so.1" ] || ! command -v apt-get >/dev/null 2>&1; }

versitygw=v1.8.0
found_s3() { command -v versitygw >/dev/null 2>&1 || [ -x "$bin/versitygw" ]; }

if ! found_s3; then
	echo "setup-test.sh: building an S3 server for the tests" >&2
	GOBIN=$bin go install github.com/versity/versitygw/cmd/versitygw@$versitygw >&2
fi

found_postgres && found_compiler && found_clients && found_browser && found_promtool && found_clock && exit 0

root=
if [ "$(id -u)" != 0 ] && ! command -v brew >/dev/null 2>&1; then
	root=sudo
	if ! command -v sudo >/dev/null 2>&1; then
		echo "setup-test.sh: the tests need PostgreSQL's programs, a C++ compiler, curl, Python's requests and Chromium; installing needs root:" >&2
		echo "               run this script as root, or install the packages postgresql, g++, curl, python3-requests and chromium" >&2
		exit 1
	fi
fi

echo "setup-test.sh: installing what the tests need: PostgreSQL, a C++ compiler, curl, Python's requests, Chromium" >&2
if command -v apt-get >/dev/null 2>&1; then
	$root apt-get update -q >&2
	$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql gcc g++ libc6-dev curl python3 python3-requests python3-venv chromium >&2
elif command -v dnf >/dev/null 2>&1; then
	$root dnf install -q -y postgresql-server gcc gcc-c++ curl python3 python3-requests chromium >&2
elif command -v brew >/dev/null 2>&1; then
	brew install --quiet postgresql >&2
else
	echo "setup-test.sh: no apt-get, dnf or brew here; install PostgreSQL's server programs and a C++ compiler by hand" >&2
	exit 1
fi

if ! found_promtool; then
	mkdir -p "$bin"
	if command -v apt-get >/dev/null 2>&1; then
		unpacked=$(mktemp -d)
		chmod 755 "$unpacked" # apt downloads as a user of its own
		(cd "$unpacked" && apt-get download -q prometheus >&2 && dpkg -x prometheus_*.deb . && cp usr/bin/promtool "$bin/promtool")
		rm -rf "$unpacked"
	elif command -v dnf >/dev/null 2>&1; then
		$root dnf install -q -y golang-github-prometheus >&2
	elif command -v brew >/dev/null 2>&1; then
		brew install --quiet prometheus >&2
	fi
fi

if ! found_promtool; then
	echo "setup-test.sh: promtool is still missing; it comes with Prometheus" >&2
	exit 1
fi
if ! found_postgres; then
	echo "setup-test.sh: PostgreSQL was installed, but its program postgres is neither in PATH nor in /usr/lib/postgresql" >&2
	exit 1
fi
if ! found_compiler; then
	echo "setup-test.sh: gcc or g++ is still missing" >&2
	exit 1
fi
if ! found_clients; then
	echo "setup-test.sh: curl, or Python's requests, is still missing" >&2
	exit 1
fi
if ! found_browser; then
	echo "setup-test.sh: chromium is still missing" >&2
	exit 1
fi

if ! found_clock; then
	mkdir -p "$bin"
	unpacked=$(mktemp -d)
	chmod 755 "$unpacked"
	(cd "$unpacked" && apt-get download -q libfaketime >&2 && dpkg -x libfaketime_*.deb . && cp usr/lib/*/faketime/libfaketime.so.1 "$bin/")
	rm -rf "$unpacked"
fi
