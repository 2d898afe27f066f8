# `make demo` shows the whole thing at work, `make test` runs all tests: both get and build what they need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The program that `make up` runs; `OPERATOR=off` starts the stack without it.
OPERATOR ?= target/release/ecr-operator
# Whether `make up` starts a real node: auto (where the machine allows it), off, require.
NODE ?= auto
RUN_DIR := testbed/run

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Mirror images into ECR on a local stack, pull them back, and show it
	@testbed/scripts/demo

.PHONY: up
up: ## Start the local stack with the operator, and leave it running
	@testbed/scripts/build core node
	@[[ "$(OPERATOR)" == off || "$(OPERATOR)" != target/release/ecr-operator ]] || cargo build --release --locked
	@testbed/bin/stack up --run-dir $(RUN_DIR) --operator "$(OPERATOR)" --node $(NODE)

.PHONY: down
down: ## Stop what `make up` started
	@testbed/bin/stack down --run-dir $(RUN_DIR)

.PHONY: test
test: ## Run the unit tests, and the suites on the local stack
	@testbed/scripts/test

.PHONY: try-chart
try-chart: ## Install, upgrade and uninstall the chart on a local stack
	@testbed/scripts/try-chart

# Which seeds `make test-faults` runs: 0..1000, or 17, or 3,5,8.
SEEDS ?= 0..1000

.PHONY: test-faults
test-faults: ## Copy between registries that fail in every way, once for each seed (SEEDS=0..1000)
	FAULT_SEEDS=$(SEEDS) cargo test --locked --package oci-copy --test faults seeded -- --nocapture

.PHONY: bench-repositories
bench-repositories: ## Measure 500 and 10,000 repositories on a local stack (SIZES="500 10000")
	@testbed/scripts/build core
	cargo build --release --locked
	cargo bench --locked --bench repositories

.PHONY: bench-rewrite
bench-rewrite: ## Measure what rewriting costs a pod's creation, with 1,000 mirrors of 20 tags
	@testbed/scripts/build core
# What is measured is the API server; its client need not be fast.
	cargo bench --workspace --locked --profile dev --bench rewrite

.PHONY: bench-pull-secrets
bench-pull-secrets: ## Measure a pull secret with ten registries in 1,000 namespaces on a local stack
	@testbed/scripts/build core
	mkdir -p target/bench
	rm -f target/bench/simulated-week.json
	SIMULATED_WEEK=$(CURDIR)/target/bench/simulated-week.json \
	  cargo test --workspace --locked --lib in_a_week_with_two_outages
	cargo build --release --locked
	cargo bench --locked --bench pull_secrets

.PHONY: bench-scale
bench-scale: ## Measure 10,000 repositories, 1,000 mirrors and 1,000 namespaces on a local stack, and an hour of rest
	@testbed/scripts/build core
	cargo build --release --locked
	cargo bench --locked --bench scale

.PHONY: generate
generate: ## Write the CRDs from the types, and the states that objects can be in
	cargo run --locked -- crds --output crds
	cp crds/*.yaml charts/ecr-operator/files/crds/
	WRITE_STATES=1 cargo test --workspace --locked --quiet --lib the_states_that_are_judged

.PHONY: chart-docs
chart-docs: ## Write the chart's README from the comments in its values
	@testbed/scripts/build helm-docs
	testbed/bin/helm-docs --chart-search-root charts --sort-values-order file --log-level warning

# What `make manifests` renders with, such as `--set image.repository=registry.example.com/ecr-operator`.
VALUES ?=

.PHONY: manifests
manifests: ## Render the chart into plain manifests in dist/ (VALUES="--set image.tag=...")
	@testbed/scripts/manifests dist $(VALUES)

.PHONY: image
image: ## Build the image for amd64 and arm64 into dist/image, without Docker
	@testbed/scripts/build-image dist/image

.PHONY: try-image
try-image: ## Run the image that `make image` built as two pods of the local stack's node
	@testbed/scripts/try-image dist/image

.PHONY: docs
docs: ## Build the documentation as a site into target/book
	@testbed/scripts/build docs
	testbed/bin/mdbook build

.PHONY: charts
charts: ## Draw the charts of the performance pages from their tables
	cargo run --locked --package documentation -- charts

.PHONY: msrv
msrv: ## Build with the oldest Rust that Cargo.toml names
	testbed/scripts/msrv

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path testbed/aws/Cargo.toml
	gofmt -w $(GO_MODULES)

# How often `make bench-copy` measures, and what: docs/performance/copy.md
ROUNDS ?= 5
SCENARIOS ?= cold,warm,moved,latency,large

.PHONY: bench-copy
bench-copy: ## Measure the copy engine beside crane, regsync and skopeo
	@testbed/scripts/build bench crane
	cargo build --release --locked --package oci-copy --example mirror
	testbed/bin/bench-copy -rounds $(ROUNDS) -scenarios $(SCENARIOS)

GO_MODULES := testbed/bench testbed/collector testbed/hub testbed/images testbed/stack testbed/k8s testbed/tools/iam testbed/tools/kstatus testbed/tools/podsecurity testbed/tools/promql testbed/tools/schemas

.PHONY: lint
lint: ## Check formatting, lints, the documentation, dependencies and the chart
	cargo fmt --all --check
	cargo fmt --check --manifest-path testbed/aws/Cargo.toml
	test -z "$$(gofmt -l $(GO_MODULES))" || { gofmt -l $(GO_MODULES); exit 1; }
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package ecr-operator --lib --no-default-features --locked -- -D warnings
	cargo test --workspace --locked --test documentation
	testbed/scripts/deny
	testbed/scripts/msrv --declared
	testbed/scripts/build chart
	testbed/scripts/check-chart
	testbed/scripts/check-iam
