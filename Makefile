# A thin front: Meson builds, tools/setup.sh installs what is missing and shows what it does. `make help` lists the targets.

MODEL ?=
ARGS ?=
PREFIX ?= /usr/local
DESTDIR ?=
setup := tools/setup.sh
export PREFIX DESTDIR

.DEFAULT_GOAL := build
.PHONY: help build run test test-slow check check-clang check-sanitizers check-threads check-aarch64 check-baseline \
	corpus model check-correctness check-v4 check-transformers check-clients bench-peers lint format tidy fuzz install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo "  variables: MODEL=file, folder or name   ARGS='more options'   PREFIX=/usr/local   DESTDIR="

build: ## install what is missing and build everything
	@$(setup) packages build test
	@$(setup) build plain

run: ## build, and talk to the model that ships
	@$(setup) packages build
	@$(setup) build plain fathom
	@build/fathom run $(if $(MODEL),-m '$(MODEL)') $(ARGS)

test: ## the quick test suite
	@$(setup) packages build test
	@$(setup) build plain
	@$(setup) test plain

test-slow: ## what takes longer than the quick suite should
	@$(setup) packages build test
	@$(setup) build plain
	@$(setup) test plain --suite slow

check: check-clang check-sanitizers check-threads check-aarch64 check-baseline ## every other compiler, sanitizer and CPU
	@python3 tools/count_tests.py build-clang build-asan build-tsan build-aarch64 \
		build/meson-logs/testlog-baseline.json

check-clang: ## clang, warnings are errors
	@$(setup) packages build test check
	@$(setup) build clang
	@$(setup) test clang

check-sanitizers: ## address and undefined behaviour sanitizers (ARGS="--suite heavy": what takes minutes there)
	@$(setup) packages build test check
	@$(setup) build asan
	@$(setup) test asan $(ARGS)

check-threads: ## thread sanitizer (ARGS as above)
	@$(setup) packages build test check
	@$(setup) build tsan
	@$(setup) test tsan $(ARGS)

check-aarch64: ## cross build, run under qemu
	@$(setup) packages build test check
	@$(setup) build aarch64
	@$(setup) test aarch64

check-baseline: ## the plain build on an emulated CPU without AVX
	@$(setup) packages build test check
	@$(setup) build plain
	@$(setup) test baseline

check-transformers: ## exports in Hugging Face transformers, with the Python that FATHOM_TRANSFORMERS names
	@$(setup) packages build test
	@$(setup) build plain
	@meson test -C build transformers --no-rebuild -v

check-clients: ## SDKs and coding agents against the server; installs them from PyPI and npm
	@$(setup) packages build test clients
	@command -v npm >/dev/null || $(setup) packages bench
	@$(setup) build plain
	@mkdir -p build-clients
	@tools/clients.sh build-clients
	@meson test -C build clients --suite slow --no-rebuild -v

corpus: ## text, instructions, vocabulary and shards for training, in build-corpus (ARGS=tiny or full)
	@$(setup) packages build
	@$(setup) build plain fathom
	@tools/corpus/build.sh $(if $(ARGS),$(ARGS),full) build/fathom build-corpus/$(if $(ARGS),$(ARGS),full)

model: corpus ## the model that ships, from nothing, in build-corpus/full/model: an hour
	@build/fathom train --config configs/shipped.toml
	@build/fathom export --config configs/shipped.toml -o build-corpus/full/model

check-correctness: ## logits and token ids against other implementations
	@$(setup) packages build test correctness
	@$(setup) build plain
	@tools/check_correctness.sh $(ARGS)

check-v4: ## DeepSeek V4 against independent programs and its own properties, as one table
	@$(setup) packages build test
	@$(setup) build plain
	@python3 tools/check_v4.py build

bench-peers: ## Fathom beside llama.cpp, and ik_llama.cpp given IK_LLAMA=its llama-bench, as one table: an hour on an idle machine
	@$(setup) packages build
	@command -v npm >/dev/null || $(setup) packages bench
	@$(setup) build plain fathom
	@python3 tools/bench/peers.py $(ARGS)

lint: ## layering, headers, banned functions, spelling, scripts
	@$(setup) packages build test check
	@$(setup) build plain
	@$(setup) test plain --suite lint

tidy: ## clang-tidy over every C file
	@$(setup) packages build test check
	@$(setup) build clang
	@$(setup) tidy

format: ## clang-format over every C file
	@$(setup) packages build check
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

install: build ## under DESTDIR and PREFIX
	@$(setup) install

clean: ## remove every build folder
	@rm -rf build build-*
