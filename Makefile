# The door for people and CI. `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: help setup kubernetes collector helm shipwright zipkin compose fuzzer cyclonedx sbom images dockerfile reproducible man build demo test check soak fmt clippy docs generate generated-check deny bench-loop bench-broker bench-agent bench-tracing bench-spans bench-metrics bench-resources bench-work-orders bench-webhooks

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

setup: ## Install what is missing (a C compiler, PostgreSQL, sqlite3, Prometheus, Java, Maven, buildah)
	@scripts/setup.sh

kubernetes: ## Build the real Kubernetes programs into a cache outside the tree (once, about 9 minutes)
	@tests/kubernetes/build.sh >/dev/null

collector: ## Build a real OpenTelemetry Collector into a cache outside the tree (once, about 4 minutes)
	@tests/collector/build.sh >/dev/null

helm: ## Build the real Helm into a cache outside the tree (once, about 3 minutes)
	@tests/helm/build.sh >/dev/null

shipwright: ## Build the real controllers of Shipwright and Tekton into a cache outside the tree (once, about 6 minutes)
	@tests/shipwright/build.sh >/dev/null

compose: ## Build the real Docker Compose into a cache outside the tree (once, about 3 minutes)
	@tests/compose/build.sh >/dev/null

zipkin: ## Fetch the real Zipkin into a cache outside the tree (once, 131 MB)
	@tests/zipkin/fetch.sh >/dev/null

fuzzer: ## Install the schema-based fuzzer into a cache outside the tree (once; needs Python 3)
	@tests/python/install.sh schemathesis >/dev/null

cyclonedx: ## Install what lists the crates of a program into a cache outside the tree (once, about a minute)
	@scripts/cyclonedx.sh >/dev/null

build: ## Build every program
	@cargo build --workspace --bins

demo: ## From nothing to a traced rollout on a real Kubernetes API server
	@scripts/setup.sh demo
	@echo "building Brokkr (the first time about 3 minutes)" && cargo build --quiet --workspace --bins
	@tests/kubernetes/build.sh >/dev/null
	@target/debug/brokkr-lab demo

test: setup kubernetes collector helm shipwright compose zipkin fuzzer cyclonedx ## Everything, on SQLite and PostgreSQL, against a real Kubernetes control plane
	@cargo build --workspace --bins
	@scripts/generate.sh --check
	@cargo test --workspace --all-features

check: setup ## The inner loop: formatting, clippy, unit tests without the exhaustive ones, which `make test` runs
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings
	@cargo build --workspace --bins --quiet
	@cargo test --workspace --all-features --lib --bins --quiet -- --skip store::tests::deaths --skip http::tests::battery

soak: setup kubernetes ## The fault and load trials with their full counts; evidence in target/soak
	@cargo build --workspace --bins
	@mkdir -p target/soak
	@BROKKR_SOAK=1 cargo test --package brokkr-tests --all-features --test rollouts -- --nocapture trials endurance
	@BROKKR_SOAK=1 cargo test --package brokkr-tests --all-features --test agent -- --nocapture trials
	@BROKKR_SOAK=1 cargo test --package brokkr-broker --all-features --lib -- --nocapture deaths
	@BROKKR_SOAK=1 cargo test --package brokkr-tests --all-features --test faults
	@BROKKR_SOAK=1 cargo test --package brokkr-tests --all-features --test webhooks -- --nocapture deaths
	@BROKKR_SOAK=1 cargo test --package brokkr-broker --all-features --lib work_model
	@BROKKR_SOAK=1 cargo test --package brokkr-tests --all-features --test work -- --nocapture trials
	@echo "evidence: target/soak/*.json"

fmt: ## Format
	@cargo fmt --all

clippy: ## Lint, with warnings denied
	@cargo clippy --workspace --all-targets --all-features -- -D warnings

docs: ## Build the API documentation, with warnings denied
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps

generate: build ## Write the files that follow from the code
	@scripts/generate.sh

generated-check: build ## Fail when a generated file is not current
	@scripts/generate.sh --check

man: build ## Write the manual pages of all programs into target/man
	@target/debug/brokkr man target/man
	@for daemon in broker agent; do target/debug/brokkr-$$daemon generate man > target/man/brokkr-$$daemon.8; done

ARCH ?= $(shell dpkg --print-architecture 2>/dev/null || echo amd64)

sbom: setup ## The list of crates of each program, as CycloneDX in target/sbom (ARCH=arm64 for the other)
	@scripts/sbom.sh $(ARCH) target/sbom

images: setup ## Build release programs and the three images as the Dockerfile does, without a daemon (ARCH=arm64 for the other); at most 40 MB each
	@scripts/setup.sh $(ARCH)
	@scripts/build-programs.sh $(ARCH) target/images/$(ARCH)
	@tests/images/check.sh target/images/$(ARCH) 40 $(ARCH)

dockerfile: setup ## One image by the whole Dockerfile where no base can be pulled: debootstrap makes it (IMAGE=agent, PROFILE=release)
	@command -v debootstrap >/dev/null || { echo "error: debootstrap is missing (Debian package)" >&2; exit 1; }
	@tests/images/dockerfile.sh $(IMAGE)

reproducible: setup ## Build the programs of the images twice, in two folders, and compare them byte for byte (PROFILE=dev to be quick, ARCH=arm64)
	@scripts/setup.sh $(ARCH)
	@tests/images/reproducible.sh $(ARCH)

deny: ## Check licences, sources, duplicates and who may use which crate (installs cargo-deny when missing)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	@cargo deny check bans licenses sources

bench-loop: setup kubernetes ## Accept to applied, p50 and p99, with release binaries; writes target/bench/loop.json
	@cargo build --release --workspace --bins
	@target/release/brokkr-lab bench-loop

bench-broker: setup ## The broker under 10,000 simulated agents, half an hour (BENCH="--seconds 30" for a quick look); writes target/bench/broker.json
	@cargo build --release --package brokkr-broker --package brokkr-tests --bins
	@target/release/brokkr-lab bench-broker $(BENCH)

bench-work-orders: setup ## Claims of work orders per second with 100,000 in the table, and how long one waits; writes target/bench/work-orders.json
	@cargo build --release --quiet --workspace --bins
	@target/release/brokkr-lab bench-work-orders $(BENCH)

bench-webhooks: setup ## A thousand receivers of which a hundred hang, a million deliveries that wait; writes target/bench/webhooks.json
	@cargo build --release --quiet --package brokkr-broker --package brokkr-tests --bins
	@target/release/brokkr-lab bench-webhooks $(BENCH)

bench-agent: setup kubernetes ## The agent: throughput, resync, one change, drift, memory, with release binaries; writes target/bench/agent.json
	@cargo build --release --workspace --bins
	@target/release/brokkr-lab bench-agent $(BENCH)

bench-tracing: setup kubernetes ## What tracing costs broker and agent, half an hour (BENCH="--pairs 2" for a quick look); writes target/bench/tracing.json
	@cargo build --release --workspace --bins
	@target/release/brokkr-lab bench-tracing $(BENCH)

bench-spans: ## What tracing a request costs at the least, without anything of a daemon around it; writes target/bench/spans.json
	@cargo bench --package brokkr-telemetry --bench spans

bench-metrics: setup ## A scrape under 10,000 simulated agents: time, size, series, on both engines; writes target/bench/metrics.json
	@cargo build --release --package brokkr-broker --package brokkr-tests --bins
	@target/release/brokkr-lab bench-metrics $(BENCH)

bench-resources: setup kubernetes collector helm ## What the collector beside a daemon and the agent need, against what the charts ask for; writes target/bench/resources.json
	@cargo build --release --workspace --bins
	@target/release/brokkr-lab bench-resources $(BENCH)
