#!/bin/sh
# Makes what compose.yaml reads from secrets/: the API's key, what the secrets of webhooks
# are derived from, PostgreSQL's password, and the logins of NATS, of which each trainer has
# its own. What an older version made it completes: logins get the rights of this version and
# keep their passwords.
#
#   scripts/secrets.sh [TRAINER...]     by default trainers 1 and 2, or those that are there
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

random() { od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'; }

# write FILE FORMAT ARG...: the whole file or none, since one that is there is kept
write() {
	file=$1
	shift
	printf "$@" >"$dir/.new"
	mv "$dir/.new" "$dir/$file"
}

mkdir -p "$dir"
if [ -e "$dir/nats-operator" ]; then
	nats=$(sed 's|nats://[^@]*@||g' "$dir/nats-operator") # where the logins that are there lead
	if [ $# -eq 0 ]; then
		for login in "$dir"/nats-trainer-*; do
			[ ! -e "$login" ] || set -- "$@" "${login##*/nats-trainer-}"
		done
	fi
fi
[ $# -gt 0 ] || set -- 1 2
if [ ! -s "$dir/db-url" ]; then
	password=$(random)
	write postgres-password '%s\n' "$password"
	write db-url 'postgres://scu:%s@%s/scu\n' "$password" "$database"
fi
"$scu" nats-auth --update --dir "$dir" --address "$nats" "$@"
for key in webhook-key api-key; do
	if [ ! -s "$dir/$key" ]; then
		text=$(random)
		write "$key" %s "$text"
	fi
done

# Containers read them as other users than the one that made them.
chmod 644 "$dir"/*
chmod 711 "$dir"
