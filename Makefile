# The front door of kvbits; `make help` lists what it opens. CMake does the building (CMakePresets.json).
.DEFAULT_GOAL := help
.PHONY: help ab ab-real eval test build parity cuda packages packages-cross packages-develop bench bench-goals bench-ab mutants fuzz format check install clean
SHELL := /bin/bash

JOBS ?= $(shell nproc)
ARGS ?=
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 20
# The make that CMake may start gets neither this one's flags nor its level, which would have it name every directory.
CMAKE_BUILD = MAKEFLAGS= MAKELEVEL= cmake --build build --parallel $(JOBS)

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20
	@echo 'ARGS="--help" goes to the command behind ab, ab-real, eval, bench, bench-goals, bench-ab and mutants; FUZZ_SECONDS=20, PREFIX=/usr/local.'

ab: build/configured ## build the command and run the default A/B (reports in kvbits-ab/)
	@$(CMAKE_BUILD) --target kvbits-cli
	build/kvbits ab $(ARGS)

ab-real: build/configured ## the same on tensors recorded from a real model (reports in kvbits-ab-real/)
	@$(CMAKE_BUILD) --target kvbits-cli
	build/kvbits ab --trace tests/data/smollm2_trace.safetensors --out kvbits-ab-real $(ARGS)

EVAL_TOKENS ?= 40960
EVAL_SCHEMES ?= 4/4,5/3,4/4t64s,5/3t64s,5/5,5/5t64s,6/4t64s,6/6,6/6t64s,7/5t64s,8/8,8/8s
eval: packages ## what caches do to SmolLM2's predictions on 40,960 tokens (fetches llama.cpp, model, text; an hour and more)
	@for part in llama model text; do tools/prepare_eval.sh $$part || exit 1; done
	@cmake --preset release -DKVB_LLAMA=ON -DCMAKE_PREFIX_PATH="$(CURDIR)/build/real/llama" >/dev/null
	@$(CMAKE_BUILD) --target kvbits-cli
	build/kvbits eval build/real/SmolLM2-135M-Instruct.Q4_1.gguf --text build/real/policy.txt --tokens $(EVAL_TOKENS) \
	    --schemes $(EVAL_SCHEMES) --out kvbits-eval $(ARGS)

test: build ## build everything and run all tests
	ctest --test-dir build --output-on-failure --no-tests=error --timeout 600 --parallel $(JOBS)

parity: build packages-cross ## the tests of every backend; neon is built for AArch64 and run under qemu
	KVB_REQUIRE=$${KVB_REQUIRE:-neon} ctest --test-dir build -L parity --output-on-failure --no-tests=error \
	    --parallel $(JOBS)

cuda: packages ## build everything with CUDA in build-cuda/ (minutes of nvcc), and run the tests that need a GPU, if there is one
	@cmake --preset cuda
	@MAKEFLAGS= MAKELEVEL= cmake --build build-cuda --parallel $(JOBS)
	ctest --test-dir build-cuda -L cuda --output-on-failure --no-tests=error --timeout 600

build: build/configured ## build the libraries, build/kvbits and the tests (release)
	@$(CMAKE_BUILD)

# A configuration that failed leaves a cache but no build files, and is tried again.
.PHONY: build/configured
build/configured: packages
	@[ -e build/build.ninja ] || [ -e build/Makefile ] || cmake --preset release

packages: ## install the packages that are missing to build and test
	@scripts/install_packages.sh build

packages-develop:
	@scripts/install_packages.sh develop

bench: build/configured ## measure every kernel beside this machine's ceilings (ARGS="--quick": in half a minute)
	@$(CMAKE_BUILD) --target kvbits-cli
	build/kvbits bench $(ARGS)

bench-goals: build/configured ## measure what bench/goals.json has limits for, and compare
	@$(CMAKE_BUILD) --target kvbits-cli
	build/kvbits bench --goals bench/goals.json --goals-only $(ARGS)

# Compiler and emulator for AArch64 (docs/add-a-kernel.md).
packages-cross:
	@scripts/install_packages.sh cross
	@scripts/unpack_cmocka.sh

bench-ab: build/configured ## wall time, CPU time and peak memory of the default run
	@$(CMAKE_BUILD) --target kvbits-cli
	@python3 -B bench/bench_ab.py $(ARGS) build/kvbits

mutants: packages-develop ## plant every known bug in a copy and see the test that names it fail
	@python3 -B tests/mutants/run.py --jobs $(JOBS) $(ARGS)

fuzz: packages-develop ## run each fuzz target for FUZZ_SECONDS (libFuzzer)
	@scripts/fuzz.sh $(FUZZ_SECONDS)

format: packages-develop ## clang-format every C and CUDA file in place
	@git ls-files -co --exclude-standard '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format -i

check: packages-develop ## the static checks: format, clang-tidy, layers, symbols
	@scripts/check.sh

install: build ## install below PREFIX
	cmake --install build --prefix $(PREFIX)

clean: ## remove every build folder
	rm -rf build build-*
