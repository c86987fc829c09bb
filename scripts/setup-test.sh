#!/bin/sh
# Installs what the tests need and Go doesn't bring: PostgreSQL's programs, from the system's
# packages. The tests start servers of their own, so none needs to run. Does nothing when they
# are there already.
set -eu

found() {
	command -v postgres >/dev/null 2>&1 && return
	for p in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
		[ -x "$p" ] && return
	done
	return 1
}

found && exit 0

root=
if [ "$(id -u)" != 0 ] && ! command -v brew >/dev/null 2>&1; then
	root=sudo
	if ! command -v sudo >/dev/null 2>&1; then
		echo "setup-test.sh: the tests need PostgreSQL's programs, and installing them needs root:" >&2
		echo "               run this script as root, or install the package postgresql" >&2
		exit 1
	fi
fi

echo "setup-test.sh: installing PostgreSQL for the tests" >&2
if command -v apt-get >/dev/null 2>&1; then
	$root apt-get update -q >&2
	$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql >&2
elif command -v dnf >/dev/null 2>&1; then
	$root dnf install -q -y postgresql-server >&2
elif command -v brew >/dev/null 2>&1; then
	brew install --quiet postgresql >&2
else
	echo "setup-test.sh: no apt-get, dnf or brew here; install PostgreSQL's server programs by hand" >&2
	exit 1
fi

if ! found; then
	echo "setup-test.sh: PostgreSQL was installed, but its program postgres is neither in PATH nor in /usr/lib/postgresql" >&2
	exit 1
fi
