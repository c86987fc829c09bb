#!/usr/bin/env bash
# Checks against Python's own programs, on the CPU, in some minutes:
#   - an adapter trained here is loaded by the real PEFT, and its validation loss is ours;
#   - merged into its base, in one file and in shards, it is what PEFT merges, and Transformers' loss is ours;
#   - the adapter is what llama.cpp's converter needs;
#   - the client of the original design works against a running server;
#   - Python's huggingface_hub and our Hub client share one cache.
#
# usage: scripts/interop.sh          needs Python 3.11 (see scripts/interop/venv.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/interop/venv.sh
python=$PWD/.venv/bin/python
scu=$PWD/bin/scu
base=$PWD/models/bookworm-2m

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

# field OBJECT.PATH reads a value out of the JSON on stdin.
field() { "$python" -c 'import functools,json,sys; print(json.dumps(functools.reduce(lambda o, k: o[k], sys.argv[1].split("."), json.load(sys.stdin))).strip("\""))' "$1"; }

# blocks reads the token ids out of a data check with its preview.
blocks() { "$python" -c 'import json,sys; print([[t["id"] for t in b] for b in json.load(sys.stdin)["preview"]])'; }

head -n 90 examples/keeper.txt >"$work/train.txt"
tail -n +91 examples/keeper.txt >"$work/val.txt"

mkfifo "$work/ready"
"$scu" serve --listen 127.0.0.1:0 --data "$work/data" --data-dirs "$work" --log-level warn --json >"$work/ready" &
server=$!
SCU_API_URL=$(head -n 1 "$work/ready" | field api_url)
export SCU_API_URL

echo "== PEFT loads what is trained here"
"$scu" train --base-model bookworm-2m --train-data "$work/train.txt" --val-data "$work/val.txt" \
	--config examples/config.json --wait --json >"$work/job.json"
job=$(field job_id <"$work/job.json")
"$scu" download "$job" --output-dir "$work"
"$scu" data check "$work/val.txt" --base-model bookworm-2m --config examples/config.json --preview -1 --json | blocks >"$work/val.json"
loss=$("$python" -c 'import json,sys,urllib.request; print(json.load(urllib.request.urlopen(sys.argv[1]))["adapter"]["metrics"]["val_loss_after"])' "$SCU_API_URL/jobs/$job")
echo "our validation loss: $loss"
"$python" scripts/interop/check_adapter.py "$base" "$work/${job}_adapter" "$work/val.json" --expect "$loss"

echo "== Transformers runs what is merged here"
for size in 5000000000 1000000; do
	rm -rf "$work/merged"
	"$scu" merge --base-model bookworm-2m --adapter "$work/${job}_adapter" --out "$work/merged" --shard-bytes "$size"
	loss=$("$scu" eval --base-model "$work/merged" --data "$work/val.txt" --config examples/config.json --json | field loss)
	"$python" scripts/interop/check_merged.py "$base" "$work/${job}_adapter" "$work/merged" "$work/val.json" --expect "$loss"
done

echo "== the client of the original design"
"$python" scripts/interop/seed_client.py "$SCU_API_URL" bookworm-2m "$work/train.txt" "$work/seed"

echo "== one cache with huggingface_hub"
SCU_PYTHON=$python go test -count=1 -tags interop -run TestInterop ./trainer/hub
