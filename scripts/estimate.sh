#!/usr/bin/env bash
# Holds what scu estimate says against what happens: each case is estimated, then
# trained by a fresh scu serve, whose peak resident memory and time are measured.
# The estimate is taken before and after, and the two times averaged, since other
# work on the machine comes and goes.
#
# usage: scripts/estimate.sh [steps]        (default 12 for the large models; Linux; needs Go and curl)
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-12}
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
go build -o "$work/scu" ./cmd/scu

# GPT-2's shape with random weights; the tokenizer is borrowed.
mkdir "$work/gpt2-124m"
(cd trainer && SCU_BENCH_DIR="$work/gpt2-124m" go test -run '^$' -bench 'BenchmarkStep/gpt2-124m/1x1024' -benchtime 1x . >/dev/null)
cp models/bookworm-2m/{tokenizer,generation_config}.json "$work/gpt2-124m"
# A Llama in 4 bits, as bitsandbytes stores it.
mkdir "$work/llama-nf4"
go run ./scripts/qlora "$work/llama-nf4"
cp models/bookworm-2m/{tokenizer,generation_config}.json "$work/llama-nf4"
for _ in $(seq 40); do cat examples/text/keeper.txt; done >"$work/text.txt"

# field NAME reads a number out of the JSON on stdin.
field() { grep -o "\"$1\":[-0-9.e+]*" | head -n 1 | cut -d: -f2; }

printf '%-20s %10s %10s %7s %10s %10s %7s\n' case 'est. MiB' 'peak MiB' ratio 'est. s' 'took s' ratio
for case in "bookworm-2m 4 256 100" "bookworm-2m 8 512 30" "$work/gpt2-124m 4 256 $steps" "$work/llama-nf4 4 256 $steps"; do
	read -r model batch block n <<<"$case"
	run=(--base-model "$model" --set "batch_size=$batch" --set "block_size=$block" --set "steps=$n"
		--set 'lora.target_modules=["all-linear"]' --set val_fraction=0.01)
	guess() { "$work/scu" estimate "${run[@]}" --data "$work/text.txt" --json 2>/dev/null; }
	guess >"$work/before.json"

	rm -rf "$work/data"
	mkfifo "$work/ready"
	"$work/scu" serve --listen 127.0.0.1:0 --data "$work/data" --data-dirs "$work" --log-level error --json >"$work/ready" &
	server=$!
	SCU_API_URL=$(head -n 1 "$work/ready" | grep -o 'http://[^"]*')
	export SCU_API_URL
	rm "$work/ready"
	job=$("$work/scu" train "${run[@]}" --train-data "$work/text.txt" --wait --json 2>/dev/null | grep -o '"job_id":"[^"]*"' | head -n 1 | cut -d'"' -f4)
	peak=$(awk '/^VmHWM:/ { print $2 / 1024 }' "/proc/$server/status")
	took=$(curl -s "$SCU_API_URL/jobs/$job" | field training_time_seconds)
	kill "$server"
	wait "$server" || true
	server=

	guess >"$work/after.json"
	mib=$(field peak <"$work/before.json")
	awk -v c="$(basename "$model") ${batch}x$block" -v m="$mib" -v p="$peak" -v a="$(field seconds <"$work/before.json")" \
		-v b="$(field seconds <"$work/after.json")" -v t="$took" 'BEGIN {
		m /= 1048576; s = (a + b) / 2
		printf "%-20s %10.0f %10.0f %7.2f %10.1f %10.1f %7.2f\n", c, m, p, m / p, s, t, s / t }'
done
