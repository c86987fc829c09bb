#!/bin/sh
# Makes what compose.yaml reads from secrets/: the API's key, what the secrets of webhooks
# are derived from, PostgreSQL's password, and the logins of NATS, of which each trainer has
# its own. Does nothing if they are there.
#
#   scripts/secrets.sh [TRAINER...]     by default trainers 1 and 2
#
# SCU is the program (bin/scu), SECRETS the folder (secrets), NATS and DATABASE the
# host:port under which the services find these two (nats:4222, postgres:5432); of a
# cluster of NATS servers several, comma-separated.
set -eu
umask 077

scu=${SCU:-bin/scu}
dir=${SECRETS:-secrets}
nats=${NATS:-nats:4222}
database=${DATABASE:-postgres:5432}
[ $# -gt 0 ] || set -- 1 2

if [ -e "$dir/api-key" ]; then
	echo "secrets.sh: $dir is there already" >&2
	exit 0
fi

random() { od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'; }

mkdir -p "$dir"
password=$(random)
printf '%s\n' "$password" >"$dir/postgres-password"
printf 'postgres://scu:%s@%s/scu\n' "$password" "$database" >"$dir/db-url"
"$scu" nats-auth --dir "$dir" --address "$nats" "$@"
random >"$dir/webhook-key"
random >"$dir/api-key" # the last, so that its being there says that all are

# Containers read them as other users than the one that made them.
chmod 644 "$dir"/*
chmod 711 "$dir"
