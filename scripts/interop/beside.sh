# Sourced by scripts that hold the server to a Python client, in the repository's root: an environment for the client, a
# folder $work, and a server on a folder of its own; all ends with the script.

# environment FOLDER PINS makes a Python environment of exactly these packages, once, and sets $python to its interpreter.
# PYTHON names the one that it is made with (default python3).
environment() {
	python=$PWD/$1/bin/python
	cmp -s "$2" "$1/requirements.txt" && return
	"${PYTHON:-python3}" -m venv --clear "$1"
	"$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r "$2"
	cp "$2" "$1/requirements.txt" # written last: what is really there
}

# serve KEY starts a server that asks for a key, unless that is "", and sets $url to its address.
serve() {
	rm -f "$work/ready"
	mkfifo "$work/ready"
	SCU_API_KEY=$1 "$PWD/bin/scu" serve --listen 127.0.0.1:0 --data "$work/data$1" --log-level warn --json >"$work/ready" &
	server=$!
	url=$(head -n 1 "$work/ready" | "$python" -c 'import json, sys; print(json.load(sys.stdin)["api_url"])')
}

# halt ends it.
halt() {
	[ -n "$server" ] || return 0
	kill "$server" 2>/dev/null || true
	wait "$server" || true
	server=
}

work=$(mktemp -d)
server=
trap 'halt; rm -rf "$work"' EXIT
