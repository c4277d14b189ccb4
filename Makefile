# `make help` lists the targets. Tools are pinned here and live in .cache/bin.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BUF            := github.com/bufbuild/buf/cmd/buf@v1.50.0
NFPM           := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
PROTOC_GO      := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_CONNECT := connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1
STATICCHECK    := honnef.co/go/tools/cmd/staticcheck@v0.8.2

TOOLS   := $(CURDIR)/.cache/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0)
# A package needs a version that begins with a digit: before the first tag it
# is 0.0.0 and the commit.
PACKAGE_VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//' | grep . || echo 0.0.0-$(VERSION))

export CGO_ENABLED := 0
# The property tests try the same cases each time: what is red is so because of a
# change. make test-random tries others.
export RAPID_SEED ?= 1
GO      ?= go
# Nothing in these is called often enough for inlining to be worth its room: 1.1 MB.
UNINLINED := connectrpc.com/connect go.opentelemetry.io/... github.com/getsentry/... github.com/prometheus/... github.com/cockroachdb/redact/... github.com/shirou/... github.com/sirupsen/... github.com/moby/... skerry.dev/agent/runtime/libvirt skerry.dev/agent/localapi skerry.dev/coordinator/api skerry.dev/shared/api/skerry/v1/skerryv1connect \
	skerry.dev/shared/api/skerry/site/v1/sitev1connect skerry.dev/shared/cli github.com/containerd/... \
	github.com/containernetworking/... github.com/opencontainers/... github.com/vishvananda/... \
	github.com/digitalocean/... libvirt.org/... google.golang.org/grpc/... github.com/gogo/... \
	github.com/hashicorp/... github.com/miekg/dns github.com/cockroachdb/errors/... \
	github.com/spf13/... go.yaml.in/... golang.org/x/text/... github.com/go-json-experiment/... github.com/go-jose/... \
	github.com/distribution/... github.com/spiffe/... skerry.dev/agent skerry.dev/agent/cmd/skerry skerry.dev/agent/runtime/containerd \
	skerry.dev/agent/supervisor skerry.dev/agent/move skerry.dev/agent/image skerry.dev/agent/prune skerry.dev/agent/rootapi skerry.dev/agent/session skerry.dev/agent/config skerry.dev/agent/runtime/mixed \
	skerry.dev/agent/identity/... skerry.dev/agent/guard skerry.dev/agent/lease skerry.dev/agent/ledger skerry.dev/agent/queue skerry.dev/agent/gossip \
	skerry.dev/agent/naming skerry.dev/agent/runtime/snapshot skerry.dev/agent/runtime/diskimage skerry.dev/coordinator skerry.dev/coordinator/backup \
	skerry.dev/coordinator/authorities skerry.dev/coordinator/issuer skerry.dev/certs/... skerry.dev/shared/client skerry.dev/shared/manifest skerry.dev/shared/redact \
	github.com/cedar-policy/cedar-go/x/... github.com/kr/... github.com/pkg/errors github.com/cockroachdb/logtags github.com/beorn7/... skerry.dev/coordinator/secrets skerry.dev/coordinator/naming skerry.dev/coordinator/consensus/voters skerry.dev/agent/runtime/runlog \
	skerry.dev/coordinator/whatif skerry.dev/agent/probe skerry.dev/agent/secrets skerry.dev/agent/seal skerry.dev/agent/runtime/directory
# grpcnotrace leaves out pages for browsers that no one could reach. Functions begin
# at 8 bytes, and not at 32: 0.55 MB.
GOBUILD := $(GO) build -trimpath -tags grpcnotrace $(UNINLINED:%=-gcflags=%=-l) -ldflags "-s -w -funcalign=8 -X main.version=$(VERSION)"
# -count=1 where a test looks at the machine and not only at the code.
FRESH   := -count=1

# Real hosts need a short path: containerd's socket paths are bounded.
HOSTS_PACKAGES      := ./chaos/hosts/... ./chaos/partition
DRIVER_PACKAGES     := ./agent/runtime/...
INTEGRATION_TIMEOUT := 20m

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

.PHONY: prerequisites
prerequisites: ## install what is missing from Debian's packages (root)
	@packaging/prerequisites.sh

.PHONY: build
build: ## the one binary, static, in bin/skerry
	$(GOBUILD) -o bin/skerry ./agent/cmd/skerry

.PHONY: test
test: ## everything: lint, unit, race, simulation, containerd, hosts, packages (root)
	$(MAKE) prerequisites
	@# One run shows all that is red.
	$(MAKE) --keep-going lint test-unit test-race test-sim test-runtimes test-hosts test-package

.PHONY: test-unit
test-unit: ## fast tests, without root
	$(GO) test ./...

CHECKS ?= 2000
.PHONY: test-random
test-random: ## the property tests with CHECKS (2000) cases each and another seed each time
	for package in $$(git grep -l rapid.Check -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		RAPID_SEED=0 RAPID_CHECKS=$(CHECKS) $(GO) test $(FRESH) -timeout 30m ./$$package; \
	done

.PHONY: test-race
test-race: ## fast tests under the race detector
	CGO_ENABLED=1 $(GO) test -race -short $$($(GO) list ./... | grep -v '/chaos/sim$$')

.PHONY: test-sim
test-sim: ## whole sites in simulation, ten seeds twice, planted bugs, many years
	SKERRY_SIM=full $(GO) test $(FRESH) -timeout 20m ./chaos/sim/... ./chaos/years

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s) each
	@for file in $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$file); do \
			echo "$$target in $$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file); \
		done; \
	done

.PHONY: test-integration
test-integration: test-runtimes test-hosts ## real containerd, libvirt and hosts (root)

.PHONY: test-runtimes
test-runtimes: prerequisites ## real containerd and libvirt (root)
	$(GO) test $(FRESH) -p 1 -timeout $(INTEGRATION_TIMEOUT) -tags integration $(DRIVER_PACKAGES)

.PHONY: test-hosts
test-hosts: prerequisites build ## real hosts in network namespaces (root)
	SKERRY_BINARY=$(CURDIR)/bin/skerry $(GO) test $(FRESH) -p 1 -timeout $(INTEGRATION_TIMEOUT) -tags integration $(HOSTS_PACKAGES)

DEBIAN := $(CURDIR)/.cache/debian.qcow2
.PHONY: test-vm
test-vm: prerequisites build $(DEBIAN) ## a whole Debian with cloud-init and agent in a virtual machine, secure boot, emulated: minutes (root)
	SKERRY_BINARY=$(CURDIR)/bin/skerry SKERRY_DEBIAN=$(DEBIAN) \
		$(GO) test $(FRESH) -v -timeout 60m -run '^TestAWholeDebian$$' -tags integration ./chaos/hosts/machines

$(DEBIAN): chaos/hosts/machines/debian-guest.sh packaging/clean-root.sh
	mkdir -p $(dir $@) && $< $@

MAX_BINARY := 40000000
.PHONY: test-package
test-package: package ## install the deb on a clean Debian root (root)
	@test $$(stat -c %s bin/skerry) -lt $(MAX_BINARY) || { echo "bin/skerry is not below $(MAX_BINARY) bytes: is text/template linked again? (go build -ldflags=-dumpdep)" >&2; exit 1; }
	packaging/test-deb.sh dist/*.deb
	@echo "ok  	skerry.dev/packaging (deb on a clean root)"

.PHONY: lint
lint: $(TOOLS)/staticcheck ## gofmt, vet, staticcheck, import direction and seams
	@files=$$(gofmt -l $$(git ls-files '*.go')) && test -z "$$files" || { echo "$$files"; echo "run gofmt -w on the files above"; exit 1; } >&2
	$(GO) vet -tags integration ./...
	$(TOOLS)/staticcheck -tags integration ./...
	$(GO) run ./packaging/lint
	$(GO) run ./packaging/reference -check

SEED ?= 1
.PHONY: sim
sim: ## replay one simulated site: make sim SEED=n, of a campaign with PACE=campaign
	SKERRY_SIM_SEED=$(SEED) SKERRY_SIM_PACE=$(PACE) $(GO) test $(FRESH) -v -timeout 0 -run '^TestSeed$$' ./chaos/sim

.PHONY: sim-shrink
sim-shrink: ## shrink a seed that fails to a script in chaos/sim/regress: make sim-shrink SEED=n NAME=name
	SKERRY_SIM_SHRINK=$(NAME) SKERRY_SIM_SEED=$(if $(filter file,$(origin SEED)),,$(SEED)) SKERRY_SIM_PACE=$(PACE) SKERRY_SIM_BUG=$(BUG) $(GO) test $(FRESH) -v -timeout 0 -run '^TestShrink$$' ./chaos/sim

SEEDS ?= 200
.PHONY: sim-campaign
sim-campaign: ## SEEDS (200) simulated sites for more than an hour each, ten days in all
	$(GO) run ./chaos/campaign -pace campaign -last $(SEEDS)

.PHONY: sim-core
sim-core: ## the consensus core alone, 45 simulated days with one, three and five voters
	$(GO) run ./chaos/campaign -pace core -last 45

FIRST ?= 1
LAST  ?= 365
.PHONY: sim-night
sim-night: ## a simulated year: 365 sites for a day each, some nine hours; in parts with FIRST=n LAST=n
	$(GO) run ./chaos/campaign -pace night -first $(FIRST) -last $(LAST) -timeout 4h

.PHONY: storage
storage: ## a small log cut at every byte and with every bit flipped: some 70,000 cases
	SKERRY_STORAGE=full $(GO) test $(FRESH) -v -timeout 60m -run '^TestDamageIs' ./coordinator/consensus/pebblelog | grep -v -e '^=== ' -e '^ *--- PASS: .*/'

.PHONY: chaos
chaos: prerequisites build ## real hosts, longer and harder than in make test (root)
	SKERRY_BINARY=$(CURDIR)/bin/skerry SKERRY_CHAOS=long $(GO) test $(FRESH) -v -timeout 60m -tags integration $(HOSTS_PACKAGES)

EPISODES ?= 100000
.PHONY: sim-exclusive
sim-exclusive: ## EPISODES (100000) in which an exclusive workload might run twice, leases alone, simulated; some minutes
	SKERRY_SIM_EPISODES=$(EPISODES) $(GO) test $(FRESH) -v -timeout 0 -run '^TestLeasesAlone$$' ./chaos/sim

.PHONY: sim-exclusive-sites
sim-exclusive-sites: ## the same in whole sites, some seconds an episode: make sim-exclusive-sites EPISODES=800
	SKERRY_SIM_EPISODES=$(EPISODES) $(GO) test $(FRESH) -v -timeout 0 -run '^TestManyEpisodes$$' ./chaos/sim

FAULTS ?= 200
SITES  ?= 1
.PHONY: chaos-vm
chaos-vm: prerequisites build ## FAULTS (200) random faults at exclusive virtual machines that move, on SITES (1) at once: make chaos-vm SEED=n (root)
	SKERRY_RIGS=v SKERRY_BINARY=$(CURDIR)/bin/skerry SKERRY_CHAOS_VM=$(FAULTS) SKERRY_CHAOS_SEED=$(SEED) SKERRY_CHAOS_SITES=$(SITES) \
		$(GO) test $(FRESH) -v -timeout 3h -parallel $(SITES) -run '^TestExclusiveMachinesThroughFaults$$' -tags integration ./chaos/hosts

# One line an injection; CHAOS_KEEP gets logs, histories and seeds of failures.
CHAOS_RESULTS ?= $(CURDIR)/.cache/chaos/results.jsonl
CHAOS_KEEP    ?= $(CURDIR)/.cache/chaos/failures
CHAOS_SEED    ?= $(shell date +%s)
CHAOS_OLDER   ?= $(shell git rev-list -n 1 --skip 20 HEAD)
PARTITION = $(GO) run ./chaos/partition -binary $(CURDIR)/bin/skerry -older $(CURDIR)/bin/skerry-older -older-commit $(CHAOS_OLDER) \
	-commit $(shell git describe --always --dirty) -seed $(CHAOS_SEED) -keep $(CHAOS_KEEP) -results $(CHAOS_RESULTS)

.PHONY: chaos-report
chaos-report: prerequisites build chaos-older ## every nemesis against real hosts for 20 minutes, into docs/partition-report.md (root)
	mkdir -p $(dir $(CHAOS_RESULTS)) && rm -f $(CHAOS_RESULTS)
	$(PARTITION) -for 20m -report docs/partition-report.md

# Its injections come beside those of the last chaos-report.
CHAOS_NIGHT ?= 8h
.PHONY: chaos-night
chaos-night: prerequisites build chaos-older ## the same for hours (CHAOS_NIGHT), with pairs of nemeses at once, into the same report (root)
	mkdir -p $(dir $(CHAOS_RESULTS))
	$(PARTITION) -for $(CHAOS_NIGHT) -pairs -report docs/partition-report.md

# The binary that a node goes back to in the middle of an update.
.PHONY: chaos-older
chaos-older:
	rm -rf .cache/older && git worktree prune && git worktree add --detach .cache/older $(CHAOS_OLDER)
	cd .cache/older && $(GOBUILD) -o $(CURDIR)/bin/skerry-older ./agent/cmd/skerry
	git worktree remove --force .cache/older

BENCH ?= failover
.PHONY: bench
bench: prerequisites build ## measure: make bench BENCH=access|audit|coldstart|failover|gray|heal|overload|place|replace|rollout|schedule|sim|start|footprint|vm-many|vm-migrate|vm-replace|vm-start|write (root)
	@# What audit costs is measured against a binary that has none; it is for nothing else.
	@if [ $(BENCH) = audit ]; then $(GOBUILD) -tags grpcnotrace,withoutaudit -o bin/skerry-withoutaudit ./agent/cmd/skerry; fi
	$(GO) run ./chaos/bench $(BENCH) $(CURDIR)/bin/skerry

.PHONY: demo
demo: prerequisites build ## a site of three hosts on this machine; KEEP=1 leaves it up (root)
	$(GO) run ./packaging/demo -binary $(CURDIR)/bin/skerry -web packaging/demo/web.yaml $(if $(KEEP),-keep)

.PHONY: package
package: build $(TOOLS)/nfpm ## deb and rpm in dist/
	rm -rf dist && mkdir -p dist/completion
	bin/skerry completion bash > dist/completion/skerry.bash
	bin/skerry completion zsh > dist/completion/_skerry
	bin/skerry completion fish > dist/completion/skerry.fish
	for kind in deb rpm; do \
		VERSION=$(PACKAGE_VERSION) ARCH=$$($(GO) env GOARCH) $(TOOLS)/nfpm package --config packaging/nfpm.yaml --packager $$kind --target dist/; \
	done

.PHONY: generate
generate: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-connect-go ## Go code from the protobuf files
	cd shared/api && PATH=$(TOOLS):$$PATH buf lint && PATH=$(TOOLS):$$PATH buf generate
	$(GO) run ./packaging/reference
	$(GO) test ./agent/cmd/skerry -run TestReference -update
	$(GO) test ./shared/access -run TestTheTable -update

.PHONY: clean
clean: ## remove what was built, and the cached tools
	rm -rf bin dist .cache

$(TOOLS)/staticcheck: Makefile
	GOBIN=$(TOOLS) $(GO) install $(STATICCHECK)
	@touch $@
$(TOOLS)/nfpm: Makefile
	GOBIN=$(TOOLS) $(GO) install $(NFPM)
	@touch $@
$(TOOLS)/buf: Makefile
	GOBIN=$(TOOLS) $(GO) install $(BUF)
	@touch $@
$(TOOLS)/protoc-gen-go: Makefile
	GOBIN=$(TOOLS) $(GO) install $(PROTOC_GO)
	@touch $@
$(TOOLS)/protoc-gen-connect-go: Makefile
	GOBIN=$(TOOLS) $(GO) install $(PROTOC_CONNECT)
	@touch $@
