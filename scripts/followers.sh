#!/usr/bin/env bash
# Checks that W&B (offline), trackio and MLflow have every step of jobs that examples/followers follows, over cuts and a
# kill, and that TensorBoard's own reader finds every step in an export, in a minute: a server of its own, an environment
# of some 1 GB in .venv-followers/ (minutes the first time).
#
# usage: scripts/followers.sh          after make build; PYTHON names the interpreter (default python3)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/interop/beside.sh
environment .venv-followers scripts/interop/requirements-followers.txt

serve ''
"$python" scripts/interop/check_followers.py "$url" examples/text/keeper.txt

export SCU_API_URL=$url
job=$("$PWD/bin/scu" jobs --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["jobs"][0]["job_id"])')
"$PWD/bin/scu" export "$job" --to tensorboard --out "$work/runs"
"$PWD/bin/scu" export "$job" --to jsonl --out "$work/steps.jsonl"
"$python" scripts/interop/check_events.py "$work/runs/$job" "$work/steps.jsonl"
