#!/usr/bin/env bash
# Checks /v1 against OpenAI's own Python package, in half a minute: a server of its own, an environment of some 30 MB
# in .venv-openai/ (scripts/interop/requirements-openai.txt), scripts/interop/check_openai.py and
# examples/openai/run.py, once without an API key and once with one.
#
# usage: scripts/openai.sh          after make build; PYTHON names the interpreter (default python3)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/interop/beside.sh
environment .venv-openai scripts/interop/requirements-openai.txt

head -n 90 examples/text/keeper.txt >"$work/keeper.txt"
for key in '' k3y; do
	serve "$key"
	SCU_API_KEY=$key "$python" scripts/interop/check_openai.py "$url" "$work/keeper.txt"
	SCU_API_URL=$url SCU_API_KEY=$key "$python" examples/openai/run.py
	halt
done
