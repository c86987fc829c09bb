#!/bin/sh
# Trains a job and follows it, by default into lines of JSON: TARGET=wandb, trackio or mlflow for another.
set -eu
here=$(dirname "$0")
job=$("${SCU:-bin/scu}" train --base-model bookworm-2m --train-data "$here/../text/keeper.txt" --name keeper --json \
	--set steps="${STEPS:-80}" --set block_size=128 --set learning_rate=1e-3 | sed 's/.*"job_id":"\([^"]*\)".*/\1/')
exec "${PYTHON:-python3}" "$here/follow.py" "${TARGET:-print}" "$job"
