# make help lists the targets. Tools are pinned in internal/tools and run with
# `go tool`; nothing is installed outside bin/ and Go's own caches.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

TAG ?= dev
# No default: whoever owned that name at a public registry would be run with the
# rights of the hub.
image_prefix = $(or $(IMAGE_PREFIX),$(error IMAGE_PREFIX is missing: name a place of yours that the cluster pulls from, as in make $@ IMAGE_PREFIX=registry.example.com/headwater))

generators := go tool -modfile=internal/tools/go.mod
# The linters' cache belongs to one checkout: shared between two, it reports the
# other's paths, which the exclusions of .golangci.yml do not match.
lint := GOLANGCI_LINT_CACHE=$(CURDIR)/bin/lint-cache go tool -modfile=internal/tools/lint/go.mod golangci-lint
# Packages that have tests: the others would only fill the log.
with_tests := go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}'
generated := api config/crd
# A checkout that git does not trust (another owner's) is built all the same,
# without its version.
stamped := $(shell git rev-parse --verify --quiet HEAD >/dev/null 2>&1 && echo true || echo false)

# Cloud storage over gRPC is not used: without it the programs are an eighth smaller,
# in memory too.
tags := disable_grpc_modules

##@ Start here

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: prerequisites build controlplane ## Show six scenes: commits and new images arriving on three clusters, agents failing over (ONCE=1: exit afterwards)
	@go build -buildvcs=false -o bin/demo ./e2e/demo
	@bin/demo $(if $(ONCE),--once)

.PHONY: test
test: prerequisites lint verify test-unit test-e2e ## Run everything that CI runs

.PHONY: prerequisites
prerequisites:
	@e2e/prerequisites.sh

##@ Build

.PHONY: build
build: ## Build bin/hub and bin/agent
	@echo "==> build"
	@CGO_ENABLED=0 go build -buildvcs=$(stamped) -trimpath -tags $(tags) -ldflags "-s -w" -o bin/ ./hub ./agent

.PHONY: controlplane
controlplane: bin/controlplane ## Build etcd, kube-apiserver and kube-controller-manager from source, once (10 minutes)

bin/controlplane: e2e/controlplane/go.mod e2e/controlplane/main.go e2e/controlplane/build.sh
	@e2e/controlplane/build.sh
	@touch $@

.PHONY: clean
clean: ## Remove what was built, except bin/controlplane
	@find bin -mindepth 1 ! -name controlplane -delete 2>/dev/null || true

##@ Test

.PHONY: test-unit
# vet is one of the linters; packages wait more than they work.
test-unit: controlplane services ## Unit and integration tests, with the race detector
	@echo "==> unit and integration tests"
	@go test -race -vet=off -p 3 -timeout 25m $$($(with_tests) ./... | grep -v /e2e)

.PHONY: services
services: ## Put what tests run into bin/: a registry, emulators of clouds' storage, kubectl
	@e2e/services.sh

.PHONY: test-e2e
test-e2e: build broken controlplane ## The real binaries against real API servers
	@echo "==> end-to-end tests"
	@go test -vet=off -count=1 -timeout 20m $$($(with_tests) ./e2e/...)

.PHONY: chaos
chaos: build broken controlplane ## Break everything in turn and have the record judged, 9 minutes (ARGS: bin/chaos --help)
	@go build -buildvcs=false -o bin/chaos ./e2e/chaos
	@bin/chaos $(ARGS)

# Agents for the chaos run alone: one whose fence stops nobody, one whose clock
# can be set. What build builds has neither.
.PHONY: broken
broken:
	@CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -tags $(tags),nofence -o bin/agent-nofence ./agent
	@CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -tags $(tags),wallclock -o bin/agent-wallclock ./agent

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## Look for input that the parsers cannot take, FUZZTIME for each of them (not part of test)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		for name in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$$dir"/*_test.go | cut -c6-); do \
			echo "==> $$dir $$name"; \
			go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; done; done

.PHONY: bench
bench: build controlplane ## Measure against bare server-side apply, or ARGS="-case hanging" (not part of test)
	@go build -buildvcs=false -o bin/bench ./e2e/bench
	@bin/bench $(ARGS)

##@ Change

.PHONY: fmt
fmt: ## Format the Go files
	@$(lint) fmt

.PHONY: lint
lint: ## Run the linters
	@echo "==> lint"
	@$(lint) run

.PHONY: generate
generate: ## Write the generated files: deepcopy functions and CRDs
	@echo "==> generate"
	@$(generators) controller-gen object paths=./api/...
	@$(generators) controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	@go run ./config/crd/gen config/crd/bases

.PHONY: verify
verify: ## Check that the generated files and go.mod are up to date
	@echo "==> verify"
	@sums() { git ls-files -co --exclude-standard -- $(generated) | sort | xargs sha256sum; }; \
		before=$$(sums 2>/dev/null); $(MAKE) --no-print-directory generate; \
		diff <(echo "$$before") <(sums) || { echo "generated files were out of date: commit the result of make generate" >&2; exit 1; }
	@go mod tidy -diff

##@ Run on a cluster

.PHONY: images
images: ## Build container images with docker (IMAGE_PREFIX, TAG)
	@for name in hub agent; do \
		docker build --build-arg NAME=$$name -t $(image_prefix)/$$name:$(TAG) .; done

# What is yours (docs/flags.md): found without being named, so that no deploy goes
# without it.
OVERLAY ?= $(firstword $(wildcard config/overlay) config/default)

.PHONY: deploy
# The CRDs first and by force: where Flux was, they are its installer's.
deploy: ## Install on the cluster of the current kubeconfig, or upgrade (IMAGE_PREFIX, TAG, OVERLAY; FORCE=1 takes back what was edited by hand)
	@echo "==> deploy $(OVERLAY)"
	@kubectl kustomize config/crd | kubectl apply --server-side --force-conflicts -f -
	@kubectl kustomize $(OVERLAY) \
		| sed -E 's#image: headwater\.invalid/(hub|agent):dev#image: $(image_prefix)/\1:$(TAG)#' \
		| kubectl apply --server-side $(if $(FORCE),--force-conflicts) -f -

.PHONY: run-hub
run-hub: ## Run the hub here against the cluster of the current kubeconfig (ARGS)
	@go run ./hub $(ARGS)

.PHONY: run-agent
run-agent: ## Run an agent here against the cluster of the current kubeconfig (ARGS)
	@go run ./agent $(ARGS)
