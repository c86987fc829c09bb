#!/bin/sh
# Trains on one half of a text, then goes on from that adapter with all of it.
set -eu
here=$(dirname "$0")
scu=${SCU:-bin/scu}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

head -n 90 "$here/../text/keeper.txt" >"$work/first.txt"

train() {
	"$scu" train --base-model bookworm-2m --config "$here/config.json" "$@" --json | sed 's/.*"job_id":"\([0-9a-f]*\)".*/\1/'
}
first=$(train --train-data "$work/first.txt")
"$scu" watch "$first" --json >/dev/null
second=$(train --train-data "$here/../text/keeper.txt" --from-adapter "$first" --set steps=120)
"$scu" watch "$second"
