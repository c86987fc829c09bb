#!/bin/sh
# Trains on the keeper's log and says how much better its held-out end is predicted.
# EXTRA are further arguments of scu train.
set -eu
here=$(dirname "$0")
scu=${SCU:-bin/scu}

job=$("$scu" train --base-model bookworm-2m --train-data "$here/keeper.txt" --config "$here/config.json" ${EXTRA:-} --json | sed 's/.*"job_id":"\([0-9a-f]*\)".*/\1/')
"$scu" watch "$job"
"$scu" download "$job" --output-dir "${OUT:-.}"
