#!/usr/bin/env bash
# Checks /v1 against OpenAI's own Python package, in half a minute: a server of its own, an environment of some 30 MB
# in .venv-openai/ (scripts/interop/requirements-openai.txt), and scripts/interop/check_openai.py, once without an API
# key and once with one.
#
# usage: scripts/openai.sh          after make build; PYTHON names the interpreter (default python3)
set -euo pipefail
cd "$(dirname "$0")/.."
scu=$PWD/bin/scu
pins=scripts/interop/requirements-openai.txt
venv=$PWD/.venv-openai

if ! cmp -s "$pins" "$venv/requirements.txt"; then
	"${PYTHON:-python3}" -m venv --clear "$venv"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r "$pins"
	cp "$pins" "$venv/requirements.txt" # written last: what is really there
fi

work=$(mktemp -d)
server=
cleanup() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT

head -n 90 examples/text/keeper.txt >"$work/keeper.txt"
for key in '' k3y; do
	rm -f "$work/ready"
	mkfifo "$work/ready"
	SCU_API_KEY=$key "$scu" serve --listen 127.0.0.1:0 --data "$work/data$key" --log-level warn --json >"$work/ready" &
	server=$!
	url=$(head -n 1 "$work/ready" | "$venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["api_url"])')
	SCU_API_KEY=$key "$venv/bin/python" scripts/interop/check_openai.py "$url" "$work/keeper.txt"
	kill "$server"
	wait "$server"
	server=
done
