# The verbs are the manual: `make help` lists them. Each works on a fresh Debian machine that has
# only Rust, Go and Node, and installs for itself what else it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Where `make up` and `make dev` listen: the page and the signalling; and the first media port of `make dev` (UDP and TCP).
export HTTP_PORT ?= 8080
export MEDIA_PORT ?= 7000
# How long each fuzz target runs, in seconds.
export FUZZ_SECONDS ?= 600
# How long `make soak` runs, in seconds.
export SOAK_SECONDS ?= 3600

NPM_DIRS := media-node/web e2e/browser
NPM_STAMPS := $(NPM_DIRS:%=%/node_modules/.package-lock.json)

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what the other verbs need (Debian packages as root, npm packages); quick when there is nothing to do
	@scripts/deps.sh build test bench cluster
	@$(MAKE) $(NPM_STAMPS)

# npm writes this file last, so it says that an install finished.
%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund
	@touch $@

.PHONY: build-deps
build-deps:
	@scripts/deps.sh build
	@$(MAKE) media-node/web/node_modules/.package-lock.json

.PHONY: build
build: build-deps ## Build the media node, the operator, the gateway, the load generator and the room page (release)
	cargo build --release --locked --package media-node --package showrunner-operator --package showrunner-load
	cd media-node/web && npm run build

.PHONY: media
media: ## Make the test host's picture and sound in .cache/media
	@scripts/deps.sh build
	@scripts/media.sh

.PHONY: up
up: up-check build media ## Showrunner on a Kubernetes of its own here (root), with a room on air; prints the page's address (HTTP_PORT)
	@exec scripts/up.sh up

.PHONY: up-check
up-check:
	@scripts/deps.sh cluster
	@scripts/up.sh check

.PHONY: down
down: ## End it, and all that runs in it
	@exec scripts/up.sh down

.PHONY: image
image: build ## Assemble the image from what was built here, as an OCI archive, without Docker
	@scripts/image.sh

.PHONY: install
install: ## Install the chart onto the cluster of KUBECONFIG, with IMAGE and PUBLIC_URL
	@exec scripts/install.sh

.PHONY: dev
dev: build media ## Run a node here with a test host on air, and print the page's address (HTTP_PORT, MEDIA_PORT)
	@exec scripts/dev.sh

.PHONY: test
test: ## Everything that must pass: lint, unit, property and protocol tests, browser and native clients; prints the count
	@$(MAKE) deps
	@exec scripts/test.py

.PHONY: lint
lint: ## Formatters and linters, without building to run: Rust, TypeScript, Python, Go, shell
	@scripts/deps.sh build test
	@$(MAKE) $(NPM_STAMPS)
	@exec scripts/lint.sh

.PHONY: crds
crds: ## Write the CustomResourceDefinitions into the chart
	cargo run --quiet --locked --package showrunner-crds -- charts/showrunner/files/crds

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZ_SECONDS (600)
	@scripts/deps.sh build
	@exec scripts/fuzz.sh

.PHONY: sanitize
sanitize: ## Run the tests of the code that is unsafe under AddressSanitizer
	@scripts/deps.sh build
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/sanitize \
	  cargo test --locked --package media-node --lib --target x86_64-unknown-linux-gnu -- shard::batch shard::outbox

.PHONY: bench-forward
bench-forward: build media ## Measure a node in network namespaces, LiveKit beside it; rewrites docs/benchmarks.md (root)
	@scripts/deps.sh bench
	@exec e2e/bench/forward.sh

.PHONY: bench-operator
bench-operator: build media ## Measure the operator: 10,000 rooms on simulated pods, then a real cluster with viewers (root, 20 min)
	@scripts/deps.sh cluster
	cargo build --release --locked --package showrunner-fleet
	@e2e/bench/operator.py
	@e2e/bench/rooms.py

.PHONY: bench-network
bench-network: build media $(NPM_STAMPS) ## Viewers on bad networks, LiveKit's beside ours: SCENARIOS, BENCH_RUNS (5), BENCH_SECONDS (root, 3 h for all)
	@scripts/deps.sh test bench
	@scripts/media.sh network
	cargo build --release --locked --package showrunner-impair
	@$(if $(SKIP_LIVEKIT),,e2e/bench/livekit-build.sh)
	@exec e2e/bench/network/bench.py --runs $(or $(BENCH_RUNS),5) $(if $(BENCH_SECONDS),--seconds $(BENCH_SECONDS)) \
	  $(if $(SKIP_LIVEKIT),--livekit-runs=0) $(SCENARIOS)

.PHONY: bench-switches
bench-switches: build media $(NPM_STAMPS) ## Put viewers from picture to picture of all codecs: SWITCHES (10,000), SWITCH_VIEWERS (10) (20 min)
	@scripts/deps.sh test
	@cd e2e/browser && npx playwright test -c bench/switches.config.ts

.PHONY: bench-sale-day
bench-sale-day: ## Play a day of a sale through placement and autoscaling, simulated; rewrites docs/benchmarks-scale.md
	@scripts/deps.sh build
	cargo run --release --locked --package showrunner-saleday -- --docs docs

.PHONY: bench-scale
bench-scale: build media ## Let a site grow, and let pods leave and die, under viewers on a real cluster (root, 15 min)
	@scripts/deps.sh cluster
	@e2e/bench/scale.py
	@e2e/bench/scale.py --horizontal
	@e2e/bench/moving.py

.PHONY: bench-cascade
bench-cascade: build media ## Have a room on three pods instead of one: viewers per CPU, time that a hop adds, copies on a link (6 min)
	@scripts/deps.sh build
	@exec e2e/bench/cascade.py

.PHONY: episodes
episodes: build media ## Pods that leave and die under viewers, EPISODES (1000) times by SEED (1), in LANES (4): who is cut off? (root, hours)
	@scripts/deps.sh cluster
	@e2e/cluster/episodes.py --count $(or $(EPISODES),1000) --seed $(or $(SEED),1) --lanes $(or $(LANES),4)

.PHONY: machines
machines: build media ## Machines that are drained and that lose their power under viewers, on a real cluster of two (root)
	@scripts/deps.sh cluster
	@cd e2e/cluster && /usr/bin/python3 -m unittest -v machines

.PHONY: soak
soak: build media ## 300 viewers who come and go for SOAK_SECONDS (3600); prints the slope of the node's memory (root)
	@scripts/deps.sh bench
	@exec e2e/bench/soak.sh

.PHONY: cluster-up
cluster-up: ## Boot a real one-node Kubernetes in namespaces of its own (root); builds it the first time
	@scripts/deps.sh cluster
	@exec e2e/cluster/cluster.sh up

.PHONY: cluster-down
cluster-down: ## End it, and all that runs in it
	@exec e2e/cluster/cluster.sh down

.PHONY: clean
clean: ## Remove what was built and made here
	test ! -d .cache/cluster/run || e2e/cluster/cluster.sh down
	cargo clean
	rm -rf .cache media-node/web/dist $(NPM_DIRS:%=%/node_modules)
