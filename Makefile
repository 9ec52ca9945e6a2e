# Pentad. `make` alone lists what can be done.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
PYTHON ?= python3
VENV := .venv
PROMTOOL := target/tools/promtool
DEVNET ?= pentad-devnet

.PHONY: help
help: ## List the targets
	@echo "Pentad: a UTXO ledger node of gRPC microservices"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Build and start four validators on loopback, and say what to try (Ctrl-C stops them)
	$(CARGO) build --release --locked -p pentad-cli -p pentad-node
	target/release/pentad devnet up --nodes 4 --engine pbft --dir $(DEVNET)

.PHONY: build
build: ## Build everything, tests included (debug)
	$(CARGO) build --locked --workspace --all-targets

.PHONY: test
test: tools build ## Run every test
	$(CARGO) test --locked --workspace --no-fail-fast
	$(FAULT_TESTS) -- crash faults
	@if command -v c++ > /dev/null; then $(CORE_TESTS) -- differential; \
		else echo "skipped for want of a C++ compiler: blocks and scripts against Bitcoin Core"; fi

# The tests that kill the process or fail the disk at a durable write, which no other build can do.
FAULTY := --lib -p pentad-store -p pentad-chain --features pentad-chain/fail-points
FAULT_TESTS := $(CARGO) test --locked $(FAULTY)
# Bitcoin Core's script verifier, which is written in C++, as a judge.
CORE_TESTS := $(CARGO) test --locked -p pentad-ledger --features bitcoinconsensus --test ledger
SOAK_KILLS ?= 200

.PHONY: soak
soak: ## Kill a node two hundred times under load, fail its disk, play long random histories (minutes)
	PENTAD_TEST_KILLS=$(SOAK_KILLS) PENTAD_TEST_CASES=100 \
		$(FAULT_TESTS) -- --nocapture crash faults properties

CAMPAIGN_SECONDS ?= 60

.PHONY: campaign
campaign: ## Kill primaries and backups of a network of validators under load for a minute
	$(CARGO) build --locked -p pentad-cli -p pentad-node
	TEST_CAMPAIGN_SECONDS=$(CAMPAIGN_SECONDS) \
		$(CARGO) test --locked -p pentad-tests --test network -- --nocapture pbft_kills

.PHONY: campaign-wallet
campaign-wallet: tools ## Kill the wallet service twice while a hundred clients pay from one wallet for a minute
	$(CARGO) build --locked -p pentad-cli -p pentad-node -p pentad-wallet
	TEST_CAMPAIGN_SECONDS=$(CAMPAIGN_SECONDS) \
		$(CARGO) test --locked -p pentad-tests --test network -- --nocapture wallet_killed

.PHONY: check
check: tools ## Formatting, lints, protos, style rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked $(FAULTY) --tests -- -D warnings
	$(CARGO) clippy --locked -p pentad-tests --test containers -- -D warnings
	cd proto && ../$(VENV)/bin/buf lint
	$(VENV)/bin/hadolint deploy/docker/*Dockerfile
	$(VENV)/bin/shellcheck --external-sources --source-path SCRIPTDIR deploy/compose/{network,node} deploy/docker/build{,-prometheus} .ci/{run,proto-breaking} fuzz/run
	$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose/{node,shared,published,traces}.yml
	$(VENV)/bin/yamllint --strict deploy
	$(VENV)/bin/python -m unittest tests/python/test_kubernetes.py
	./.ci/proto-breaking
	@if [ -x $(PROMTOOL) ]; then cd deploy/observability && \
		../../$(PROMTOOL) check rules alerts.yml && ../../$(PROMTOOL) test rules alerts_test.yml; \
		else echo "skipped for want of promtool: the alert rules"; fi
	$(CARGO) test --locked -p pentad-tests --test style

.PHONY: bench
bench: ## Measure; prints a table (docs/performance.md)
	$(CARGO) build --release --locked -p pentad-chain -p pentad-bench
	target/release/pentad-bench

.PHONY: bench-index
bench-index: ## Measure the engines of the index: memory, time, disk: PAYMENTS=1000000
	$(CARGO) build --release --locked -p pentad-bench
	for engine in lsm sled; do target/release/pentad-bench-index $$engine --payments $(or $(PAYMENTS),1000000); done

.PHONY: sim
sim: ## Simulate networks of each engine with validators [ONLY=pbft|hybrid]: SEEDS=10000 [FROM=1], or SEED=17 to replay one with its trace
	$(CARGO) run --release --locked -p pentad-sim -- $(if $(ONLY),--engine $(ONLY)) $(if $(SEED),--seed $(SEED),--from $(or $(FROM),1) --seeds $(or $(SEEDS),10000))

.PHONY: model
model: ## Check the PBFT core exhaustively within the bounds of docs/protocol/testing.md
	$(CARGO) run --release --locked -p pentad-sim -- --model $(or $(TRANSITIONS),30000000)

.PHONY: mutants
mutants: ## Take one rule at a time out of the PBFT core and see which tests notice
	$(PYTHON) crates/sim/mutants/run.py

.PHONY: bench-pbft
bench-pbft: ## Measure four validators: finality, rate, view change, memory, fsyncs
	$(CARGO) build --release --locked -p pentad-node -p pentad-bench
	target/release/pentad-bench-pbft

.PHONY: sim-peers
sim-peers: ## Simulate 500 nodes: lookups, relay; SEED=17 replays one
	$(if $(SEED),PENTAD_SEED=$(SEED)) $(CARGO) test --locked -p pentad-wire --lib -- --nocapture 500_nodes

FUZZ_SECONDS := $(or $(SECONDS),60)

.PHONY: fuzz
fuzz: ## Fuzz every decoder for a minute each, or SECONDS=5
	fuzz/run $(FUZZ_SECONDS)

.PHONY: bench-peer
bench-peer: tools ## Measure links: sync, hops, votes beside a sync, a hundred idle peers
	$(CARGO) build --release --locked -p pentad-node -p pentad-bench
	target/release/pentad-bench-peer
	$(CARGO) bench --locked -p pentad-peer

.PHONY: bench-cli
bench-cli: ## Measure how long the command line takes to start
	$(CARGO) build --release --locked -p pentad-cli -p pentad-node
	$(CARGO) bench --locked -p pentad-cli --bench start

.PHONY: bench-wallet
bench-wallet: ## Measure a wallet of 100,000 coins: payments, and looking for all of them again
	$(CARGO) build --release --locked -p pentad-node -p pentad-bench
	target/release/pentad-bench-wallet

.PHONY: bench-services
bench-services: ## Measure five services under mutual TLS: what they cost idle, what TLS costs a call
	$(CARGO) build --release --locked -p pentad-bench $(SERVICES:%=-p pentad-%)
	target/release/pentad-bench-services

PAIRS ?= 9

.PHONY: bench-tracing
bench-tracing: ## Measure what tracing a tenth of the payments costs: PAIRS=9
	$(CARGO) build --release --locked -p pentad-node -p pentad-bench
	target/release/pentad-bench-pbft --seconds 10 --tracing-pairs $(PAIRS)

SOAK_MINUTES ?= 10
RATE ?= 2000

.PHONY: soak-pbft
soak-pbft: ## Ten minutes of steady load on four validators: RATE=2000 SOAK_MINUTES=10
	$(CARGO) build --release --locked -p pentad-node -p pentad-bench
	target/release/pentad-bench-pbft --rate $(RATE) --minutes $(SOAK_MINUTES)

.PHONY: tools
tools: $(VENV)/.ready $(PROMTOOL) ## Install the tools that checks and tests use (into .venv, target/tools)

$(VENV)/.ready: tests/python/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# Debian's, unpacked where it is; elsewhere the rules go unchecked.
$(PROMTOOL):
	mkdir -p $(@D)/deb
	if command -v apt-get > /dev/null; then cd $(@D)/deb && apt-get download --quiet prometheus && \
		dpkg-deb -x prometheus_*.deb . && cp usr/bin/promtool ../promtool; fi
	rm -rf $(@D)/deb

# Static, so that an image needs nothing beside the binary; without names of this machine, so that it does not matter where it is built.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
CARGO_HOME ?= $(HOME)/.cargo
STATIC := target/$(HOST)/image
# The allocator would name the time at which it was compiled.
STATIC_C_FLAGS := -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(CARGO_HOME)=cargo \
	-Wno-builtin-macro-redefined -D__DATE__="unknown" -D__TIME__="unknown"
STATIC_FLAGS := -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs \
	--remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CARGO_HOME)=cargo
SERVICES := node chain wallet miner consensus peer

.PHONY: images
images: ## Build the container images of node, services, command line and trace viewer (needs Docker)
	CFLAGS='$(STATIC_C_FLAGS)' RUSTFLAGS="$(STATIC_FLAGS)" \
		$(CARGO) build --profile image --locked --target $(HOST) -p pentad-cli -p pentad-trace-viewer $(SERVICES:%=-p pentad-%)
	deploy/docker/build $(STATIC)

.PHONY: trace-viewer
trace-viewer: ## Take traces at 127.0.0.1:4317 and show them at http://127.0.0.1:4316 (Ctrl-C stops it)
	$(CARGO) run --release --locked -p pentad-trace-viewer

TWICE := target/twice

.PHONY: images-twice
images-twice: images ## Build what goes into images once more, from a clone elsewhere, and compare (as long again)
	rm -rf $(TWICE) && git clone --quiet . $(TWICE)/pentad
	$(MAKE) -C $(TWICE)/pentad images TAG=twice
	for binary in pentad pentad-trace-viewer $(SERVICES:%=pentad-%); do cmp $(STATIC)/$$binary $(TWICE)/pentad/$(STATIC)/$$binary; done
	for image in cli trace-viewer $(SERVICES); do diff <(docker image inspect --format '{{.RootFS.Layers}}' pentad-$$image) \
		<(docker image inspect --format '{{.RootFS.Layers}}' pentad-$$image:twice); \
		docker image rm --force pentad-$$image:twice > /dev/null; done
	rm -rf $(TWICE)

.PHONY: rendered
rendered: ## Render deploy/kubernetes/overlays anew (needs kubectl 1.32 or later)
	for overlay in dev production; do \
		kubectl kustomize deploy/kubernetes/overlays/$$overlay > deploy/kubernetes/rendered/$$overlay.yaml; done

.PHONY: image-prometheus
image-prometheus: ## Build the image pentad-prometheus out of Debian's package (needs Docker and apt)
	deploy/docker/build-prometheus

ENGINE ?= pbft
NETWORK := PENTAD=$(STATIC)/pentad deploy/compose/network

.PHONY: network-up
network-up: images ## Start four organisations of five containers each: ENGINE=pbft|pow|hybrid (needs Docker)
	$(NETWORK) up $(ENGINE)

.PHONY: network-down
network-down: ## Stop them; their data stays in deploy/compose/data
	$(NETWORK) down

.PHONY: test-containers
test-containers: tools ## Test the images and the network of containers (needs Docker)
	@docker info > /dev/null || { echo "test-containers needs Docker: no engine answers" >&2; exit 1; }
	$(MAKE) images
	$(CARGO) build --locked -p pentad-cli
	$(CARGO) test --locked -p pentad-tests --test containers -- --nocapture --test-threads 1

.PHONY: clean
clean: ## Remove what was built (keeps the data of development networks)
	$(CARGO) clean
	rm -rf $(VENV) fuzz/target
