#!/bin/sh
# The life of a job in OpenAI's API, with curl alone.
set -eu
here=$(dirname "$0")
api=${SCU_API_URL:-http://127.0.0.1:8000}/v1
out=${OUT:-.}
key=${SCU_API_KEY:-any}

call() { curl -sSf -H "Authorization: Bearer $key" "$@"; }
post() { call "$api/$1" -H 'Content-Type: application/json' -d "$2"; }
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

file=$(call "$api/files" -F purpose=fine-tune -F "file=@$here/../text/keeper.txt" | field id)
# extra fields are settings of the service's own: here they make the run short
job=$(post fine_tuning/jobs '{"model": "bookworm-2m", "training_file": "'"$file"'", "suffix": "keeper", "seed": 7,
  "steps": '"${STEPS:-80}"', "block_size": 128, "learning_rate": 1e-3, "target_s": 0.1}' | field id)
echo "job $job"

until call "$api/fine_tuning/jobs/$job" >"$out/job.json" && ! grep -q '"status":"\(queued\|running\)"' "$out/job.json"; do sleep 0.2; done
call "$api/fine_tuning/jobs/$job/events?limit=3" | sed 's/"message":"/\n/g' | sed -n '2,$s/".*//p'
model=$(field fine_tuned_model <"$out/job.json")
echo "model $model"
post completions '{"model": "'"$model"'", "prompt": "The keeper", "max_tokens": 24, "temperature": 0}' | field text
call "$api/files/file-${job#ftjob-}-adapter/content" -o "$out/adapter.zip"
wc -c <"$out/adapter.zip" | sed 's/ *\(.*\)/adapter: \1 bytes/'
