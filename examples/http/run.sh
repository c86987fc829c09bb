#!/bin/sh
# The life of a job in five requests.
set -eu
here=$(dirname "$0")
api=${SCU_API_URL:-http://127.0.0.1:8000}
out=${OUT:-.}

field() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }

file=$(curl -sf -F "file=@$here/../text/keeper.txt" "$api/files" | field id)
job=$(curl -sf "$api/jobs/submit" -H 'Content-Type: application/json' -d '{
  "base_model": "bookworm-2m",
  "train_data_path": "'"$file"'",
  "config_overrides": {"steps": '"${STEPS:-80}"', "learning_rate": 1e-3, "block_size": 128, "batch_size": 2, "lora": {"r": 8, "alpha": 16}, "control": {"target_s": 0.1}}
}' | field job_id)
echo "job $job"

# Every step is an event; the stream ends with the job.
curl -sfN "$api/jobs/$job/events" |
	sed -n '/^event: metrics/,/^$/s/^data: .*"step":\([0-9]*\).*"ce":\([0-9.]*\).*/step \1: \2 nats a token/p'

curl -sf "$api/jobs/$job/status" | field status
curl -sf "$api/jobs/$job/adapter" -o "$out/adapter.zip"
wc -c <"$out/adapter.zip" | sed 's/ *\(.*\)/adapter: \1 bytes/'
