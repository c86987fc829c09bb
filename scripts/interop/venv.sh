#!/bin/sh
# Makes the project's Python environment in .venv/ at the repository's root, for the checks
# against the real PEFT and the timings against PyTorch. Nothing else in the project needs it.
#
# It holds exactly what requirements.txt lists, some 4 GB. A second run does nothing unless
# requirements.txt changed; an interrupted one starts over.
#
# usage: scripts/interop/venv.sh          PYTHON names the interpreter (default python3.11)
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=$(CDPATH='' cd -- "$here/../.." && pwd)/.venv
installed=$venv/requirements.txt # a copy, written last: what is really there

if cmp -s "$here/requirements.txt" "$installed"; then
	exit 0
fi

python=${PYTHON:-python3.11}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
	echo "venv.sh: $python is not a Python 3.11, which requirements.txt is pinned for; set PYTHON" >&2
	exit 1
fi

echo "venv.sh: installing into $venv (some minutes)" >&2
"$python" -m venv --clear "$venv"
echo '*' >"$venv/.gitignore"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
"$venv/bin/python" -c 'import peft, requests, torch, transformers'
cp "$here/requirements.txt" "$installed"
