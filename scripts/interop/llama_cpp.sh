#!/bin/sh
# Fetches llama.cpp into .llama_cpp/ at the repository's root and builds its library, for the checks of our models and
# adapters against it: three minutes on two cores, with a C++ compiler and make.
#
# The source is that of llama-cpp-python, which carries the whole tree of llama.cpp at one commit (named in its
# CHANGELOG.md). It is pinned with its hash; the packages beside it with their versions. A second run does nothing
# unless this script changed; an interrupted one starts over.
#
# usage: scripts/interop/llama_cpp.sh        after venv.sh, whose Python it uses
#   .llama_cpp/src/vendor/llama.cpp    convert_hf_to_gguf.py, convert_lora_to_gguf.py, gguf-py
#   .llama_cpp/src, .llama_cpp/packages    for PYTHONPATH: the module llama_cpp, and what it and the converters need
#   .llama_cpp/build/bin               for LLAMA_CPP_LIB_PATH: the library that the module loads
set -eu

version=0.3.36 # llama.cpp 0c1e57098, of October 2026
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
dir=$root/.llama_cpp
fetched=$dir/fetched.sh # copies of this script, written last: what is really there
built=$dir/built.sh
pip() { "$root/.venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check --no-deps; }
cmake() { "$root/.venv/bin/python" -m cmake "$@"; }
export PYTHONPATH="$dir/packages"

if ! cmp -s "$here/llama_cpp.sh" "$fetched"; then
	echo "llama_cpp.sh: fetching into $dir" >&2
	rm -rf "$dir"
	mkdir "$dir" "$dir/src"
	echo '*' >"$dir/.gitignore"
	pip install --target "$dir/packages" sentencepiece==0.2.3 diskcache==5.6.3 \
		scikit-build-core==1.1.2 pathspec==1.1.1 cmake==4.4.4 # without which pip doesn't as much as download it
	echo "llama-cpp-python==$version --hash=sha256:$sha256" >"$dir/requirements.txt"
	pip download --dest "$dir" --no-binary llama-cpp-python --no-build-isolation -r "$dir/requirements.txt"
	tar -xzf "$dir/llama_cpp_python-$version.tar.gz" -C "$dir/src" --strip-components 1
	cp "$here/llama_cpp.sh" "$fetched"
fi

if ! cmp -s "$here/llama_cpp.sh" "$built"; then
	echo "llama_cpp.sh: building llama.cpp (some minutes)" >&2
	build() { # not for this CPU alone: a virtual machine named AMX, and once in a hundred runs refused its tileloadd
		cmake -S "$dir/src/vendor/llama.cpp" -B "$dir/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DBUILD_SHARED_LIBS=ON -DLLAMA_BUILD_COMMON=OFF \
			-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF &&
			cmake --build "$dir/build" --target llama --parallel "$(getconf _NPROCESSORS_ONLN)"
	}
	build >"$dir/build.log" 2>&1 || { tail -n 40 "$dir/build.log" >&2 && exit 1; }
	cp "$here/llama_cpp.sh" "$built"
fi
