# A scu serve on GPUs in a folder of its own, $work, that ends with the script: sourced by the scripts that need one,
# with the program in $scu. gpu-check takes pytorchs_cublaslt alone.

# pytorchs_cublaslt names PyTorch's cuBLASLt, if it is there and none is named.
pytorchs_cublaslt() {
	[ -z "${SCU_CUBLASLT-}" ] || return 0
	SCU_CUBLASLT=$(python3 -c 'import nvidia, glob; print([p for b in nvidia.__path__ for p in glob.glob(b + "/*/lib/libcublasLt.so*")][0])' 2>/dev/null || true)
	[ -z "$SCU_CUBLASLT" ] || export SCU_CUBLASLT
}

server=
# serve DATA ARG... starts it on a folder of $work and sets server, its process, and SCU_API_URL.
serve() {
	rm -f "$work/ready"
	mkfifo "$work/ready"
	SCU_DEVICE=cuda "$scu" serve --listen 127.0.0.1:0 --data "$work/$1" --log-level warn --json "${@:2}" >"$work/ready" &
	server=$!
	SCU_API_URL=$(head -n 1 "$work/ready" | field api_url)
	export SCU_API_URL
}
end_server() {
	[ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
	rm -rf "$work"
}
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
state() { "$scu" status "$1" --json | field "$2"; } # JOB FIELD
