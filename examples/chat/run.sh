#!/bin/sh
# Trains on conversations with a lighthouse keeper, and asks the adapter a question.
# EXTRA are further arguments of scu train.
set -eu
here=$(dirname "$0")
scu=${SCU:-bin/scu}
out=${OUT:-.}

job=$("$scu" train --base-model bookworm-2m --train-data "$here/chat.jsonl" --config "$here/settings.json" ${EXTRA:-} --json | sed 's/.*"job_id":"\([0-9a-f]*\)".*/\1/')
"$scu" watch "$job"
"$scu" download "$job" --output-dir "$out"
"$scu" generate --adapter "$out/${job}_adapter" --chat --prompt '[{"role": "system", "content": "You keep a lighthouse."}, {"role": "user", "content": "When is the lamp lit?"}]'
