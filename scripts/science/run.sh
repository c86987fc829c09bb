#!/usr/bin/env bash
# Makes the tables of docs/science.md: compares settings on bookworm-2m and texts of the repository and of Go's own source
# (Newton's Opticks), with scu compare, and puts what it printed, with the command, between the page's marks. Some 80
# minutes of one core; a run that was broken off goes on where it was if it is given the same folder.
#
# usage: scripts/science/run.sh [FOLDER [STUDY...]]  story, chat, code, opticks, opticks-more; all by default
#                                                    SEEDS=5 by default; SCU=bin/scu, which make build makes
set -euo pipefail
cd "$(dirname "$0")/../.."
scu=${SCU:-bin/scu}
work=${1:-$(mktemp -d)}
studies=" ${*:2} "
mkdir -p "$work"
export SCU_API_URL=http://127.0.0.1:8739
"$scu" serve --data "$work/data" --listen 127.0.0.1:8739 >"$work/serve.log" 2>&1 &
server=$!
trap 'kill $server; wait $server || true' EXIT
until "$scu" health >/dev/null 2>&1; do sleep 0.2; done

cat trainer/jinja/[a-e]*.go >"$work/go.txt"
opticks=$(go env GOROOT)/src/testdata/Isaac.Newton-Opticks.txt
sed -n '122,546p' "$opticks" >"$work/opticks.txt"        # the first book up to its propositions
sed -n '122,1716p' "$opticks" >"$work/opticks-more.txt"  # and five of them
sed -n '5482,5700p' "$opticks" >"$work/opticks-val.txt"  # of the second book
laws=(lambda=0 published lambda=1 lambda=3 lambda=10 lambda=30 scu log_pi,target=0.004 log_pi,target=0.008 log_pi,target=0.03)

# study NAME DATA FIELD=VALUE... compares the laws on a data set and puts the table into the page.
study() {
	local name=$1 data=$2 command
	shift 2
	[[ $studies == "  " || $studies == *" $name "* ]] || return 0
	command=(compare --base-model bookworm-2m --train-data "$data" --other-data scripts/science/novel.txt)
	for field in block_size=128 learning_rate=1e-3 keep_checkpoints=0 "$@"; do command+=(--set "$field"); done
	for law in "${laws[@]}"; do command+=(--setting "$law"); done
	case $name in opticks*) command+=(--val-data "$work/opticks-val.txt") ;; esac
	command+=(--seeds "${SEEDS:-5}" --name "science-$name")
	"$scu" "${command[@]}" >"$work/$name.table"
	{
		echo '```'
		printf '%s\n' "scu ${command[*]/#$work\//}" | fold -s -w 110 | sed 's/ $/ \\/; 2,$s/^/    /'
		echo
		sed '1s/Comparison [0-9a-f]* /Comparison /' "$work/$name.table"
		echo '```'
	} >"$work/$name.md"
	sed -i -e "/^<!-- $name -->\$/,/^<!-- end of $name -->\$/{/^<!--/!d}" -e "/^<!-- $name -->\$/r $work/$name.md" docs/science.md
}

study story examples/text/keeper.txt epochs=10
study chat examples/chat/chat.jsonl epochs=30 train_on=completion val_fraction=0.15
study code "$work/go.txt" epochs=3
study opticks "$work/opticks.txt" epochs=40
study opticks-more "$work/opticks-more.txt" epochs=15
