#!/usr/bin/env bash
# Checks against Python's own programs, on the CPU, in some minutes:
#   - an adapter trained here is loaded by the real PEFT, and its validation loss is ours; its folder is the base's
#     tokenizer to AutoTokenizer;
#   - merged into its base, in one file and in shards, it is what PEFT merges, and Transformers' loss is ours;
#   - what is written here as GGUF is what llama.cpp's own converters make of adapters and merged models of every family,
#     and llama.cpp, which is built for it, computes our losses, tokens and text from it, in F32, F16, BF16 and Q8_0;
#   - the client of the original design works against a running server, and so does OpenAI's own (scripts/openai.sh);
#   - W&B, trackio and MLflow have what a follower tells them of a job, TensorBoard reads an export (scripts/followers.sh);
#   - Python's huggingface_hub and our Hub client share one cache.
#
# usage: scripts/interop.sh          needs Python 3.11 (see scripts/interop/venv.sh), a C++ compiler and make
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/interop/venv.sh
scripts/interop/llama_cpp.sh
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

# field NAME reads a value out of the JSON object on stdin.
field() { "$python" -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# blocks reads the token ids out of a data check with its preview.
blocks() { "$python" -c 'import json,sys; print([[t["id"] for t in b] for b in json.load(sys.stdin)["preview"]])'; }

# quietly runs a command and shows what it says only if it fails.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && return 1; }; }

# loss MODEL [--adapter DIR] is what scu eval finds on the validation data.
loss() { "$scu" eval --base-model "$@" --data "$work/val.txt" --config examples/text/config.json --json | field loss; }

# train DIR MODEL [--set FIELD=VALUE...] trains an adapter in a few steps, leaves it in DIR and has PEFT load it.
train() {
	local dir=$1 model=$2 job
	shift 2
	job=$("$scu" train --base-model "$model" --train-data "$work/train.txt" --val-data "$work/val.txt" \
		--config examples/text/config.json --set steps=30 --set learning_rate=3e-3 "$@" --wait --json | field job_id)
	quietly "$scu" download "$job" --output-dir "$work"
	mv "$work/${job}_adapter" "$dir"
	"$python" scripts/interop/check_adapter.py "$model" "$dir" "$work/val.json" --expect "$(loss "$model" --adapter "$dir")"
}

head -n 90 examples/text/keeper.txt >"$work/train.txt"
tail -n +91 examples/text/keeper.txt >"$work/val.txt"

mkfifo "$work/ready"
"$scu" serve --listen 127.0.0.1:0 --data "$work/data" --data-dirs "$work" --model-dirs "$work,$PWD/models" --log-level warn --json >"$work/ready" &
server=$!
SCU_API_URL=$(head -n 1 "$work/ready" | field api_url)
export SCU_API_URL

echo "== OpenAI's client uses /v1"
scripts/openai.sh

echo "== W&B, trackio and MLflow are told of a job as it trains; TensorBoard reads an export"
scripts/followers.sh

echo "== PEFT loads what is trained here"
"$scu" train --base-model bookworm-2m --train-data "$work/train.txt" --val-data "$work/val.txt" \
	--config examples/text/config.json --wait --json >"$work/job.json"
job=$(field job_id <"$work/job.json")
"$scu" download "$job" --output-dir "$work"
"$scu" data check "$work/val.txt" --base-model bookworm-2m --config examples/text/config.json --preview -1 --json | blocks >"$work/val.json"
loss=$("$python" -c 'import json,sys,urllib.request; print(json.load(urllib.request.urlopen(sys.argv[1]))["adapter"]["metrics"]["val_loss_after"])' "$SCU_API_URL/jobs/$job")
echo "our validation loss: $loss"
"$python" scripts/interop/check_adapter.py "$base" "$work/${job}_adapter" "$work/val.json" --expect "$loss"

"$python" scripts/interop/check_tokenizer.py "$base" "$work/${job}_adapter" "$work/val.txt"

echo "== Transformers runs what is merged here"
for size in 5000000000 1000000; do
	rm -rf "$work/merged"
	"$scu" merge --base-model bookworm-2m --adapter "$work/${job}_adapter" --out "$work/merged" --shard-bytes "$size"
	"$python" scripts/interop/check_merged.py "$base" "$work/${job}_adapter" "$work/merged" "$work/val.json" \
		--expect "$(loss "$work/merged")"
done

echo "== llama.cpp takes what is trained and merged here"
llama=$PWD/.llama_cpp
with_llama() {
	LLAMA_CPP_LIB_PATH=$llama/build/bin PYTHONPATH=$llama/packages:$llama/src:$llama/src/vendor/llama.cpp/gguf-py "$python" "$@"
}

# convert MODEL ADAPTER OUT writes OUT/{base,adapter,merged}.gguf.
convert() {
	local model=$1 adapter=$2 out=$3 tree=$llama/src/vendor/llama.cpp
	mkdir "$out"
	quietly "$scu" merge --base-model "$model" --adapter "$adapter" --out "$out/merged"
	quietly with_llama scripts/interop/convert_base.py "$tree" "$model" "$out/base.gguf"
	quietly with_llama scripts/interop/convert_base.py "$tree" "$out/merged" "$out/merged.gguf"
	quietly with_llama "$tree/convert_lora_to_gguf.py" --base "$model" --outfile "$out/adapter.gguf" "$adapter"
}

# computes MODEL ARG...: llama.cpp computes what check_llama_cpp.py's arguments say, over the validation data.
computes() {
	local model=$1
	shift
	with_llama scripts/interop/check_llama_cpp.py "$model" "$work/val.json" "$@"
}

# ours MODEL ADAPTER OUT writes the merged model and the adapter as GGUF by our own hand: the converter's files, byte for
# byte, but for what another scale than alpha/rank does to an adapter's B. llama.cpp computes our losses from them.
ours() {
	local model=$1 adapter=$2 out=$3 expected
	quietly "$scu" merge --base-model "$model" --adapter "$adapter" --to gguf --type f32 --out "$out/ours.gguf"
	with_llama scripts/interop/check_gguf_file.py "$out/ours.gguf" "$out/merged.gguf"
	quietly "$scu" merge --base-model "$model" --adapter "$adapter" --to gguf-adapter --out "$out/ours-adapter.gguf"
	with_llama scripts/interop/check_gguf.py "$out/base.gguf" "$out/ours-adapter.gguf" "$out/merged.gguf"
	expected=$(loss "$out/merged")
	computes "$out/ours.gguf" --expect "$expected"
	computes "$out/base.gguf" --adapter "$out/ours-adapter.gguf" --expect "$(loss "$model" --adapter "$adapter")"
	for type in f16 bf16 q8_0; do
		quietly "$scu" merge --base-model "$model" --adapter "$adapter" --to gguf --type "$type" --out "$out/$type.gguf"
		computes "$out/$type.gguf" --expect "$expected" --type "$type"
	done
}

# llama_cpp NAME MODEL ADAPTER SCALE [ARG...]: base, adapter at that scale and merged model, converted and computed.
# The arguments are check_llama_cpp.py's for the adapter.
llama_cpp() {
	local model=$2 adapter=$3 scale=$4 out=$work/gguf-$1
	echo "$1"
	shift 4
	convert "$model" "$adapter" "$out"
	with_llama scripts/interop/check_gguf.py "$out/base.gguf" "$out/adapter.gguf" "$out/merged.gguf" --scale "$scale"
	computes "$out/base.gguf" --expect "$(loss "$model")" --text "$work/val.txt"
	computes "$out/base.gguf" --adapter "$out/adapter.gguf" --scale "$scale" --expect "$(loss "$model" --adapter "$adapter")" "$@"
	ours "$model" "$adapter" "$out"
}

text=$("$scu" generate --base-model "$base" --adapter "$work/${job}_adapter" --prompt "The keeper" --temperature 0 --max-tokens 24 --json | field text)
llama_cpp bookworm-2m "$base" "$work/${job}_adapter" 1 --prompt "The keeper" --continuation "$text"
train "$work/ranks" "$base" --set 'lora.rank_pattern={"q_proj":4,"layers.1.mlp.down_proj":2}'
llama_cpp rank_pattern "$base" "$work/ranks" 1
train "$work/rslora" "$base" --set lora.use_rslora=true
train "$work/fractions" "$base" --set lora.alpha=8.5 --set 'lora.alpha_pattern={"q_proj":3.25}' --set 'lora.exclude_modules=["k_proj","layers.1.mlp.up_proj"]'
llama_cpp rslora "$base" "$work/rslora" 4 # sqrt(r): it scales by alpha/r alone; in ours B has the scale

quietly "$python" scripts/interop/random_bases.py "$base" "$work"
for family in phi qwen2 qwen3 mistral llama3 gemma gemma2 gemma3 olmo2 gpt_neox; do
	train "$work/$family-adapter" "$work/$family"
	llama_cpp "$family" "$work/$family" "$work/$family-adapter" 1
done

# refused NAME MODEL ADAPTER converts; llama.cpp doesn't take the adapter that its own converter makes.
refused() {
	local out=$work/gguf-$1
	echo "$1; the converter's adapter is refused:"
	convert "$2" "$3" "$out"
	if with_llama scripts/interop/check_gguf.py "$out/base.gguf" "$out/adapter.gguf" "$out/merged.gguf"; then
		echo "interop.sh: llama.cpp takes this adapter; README.md says that it doesn't" >&2
		return 1
	fi
}

# The converter transposes GPT-2's weights, and A and B with them.
train "$work/gpt2-adapter" "$work/gpt2"
refused gpt2 "$work/gpt2" "$work/gpt2-adapter"
ours "$work/gpt2" "$work/gpt2-adapter" "$work/gguf-gpt2"
# A head that is tied to the embedding is no tensor of its own in GGUF.
train "$work/head" "$base" --set 'lora.target_modules=["lm_head","q_proj"]'
refused tied-head "$base" "$work/head"
computes "$work/gguf-tied-head/merged.gguf" --expect "$(loss "$work/gguf-tied-head/merged")"

echo "== the client of the original design"
"$python" scripts/interop/seed_client.py "$SCU_API_URL" bookworm-2m "$work/train.txt" "$work/seed"

echo "== one cache with huggingface_hub"
SCU_PYTHON=$python go test -count=1 -tags interop -run TestInterop ./trainer/hub
