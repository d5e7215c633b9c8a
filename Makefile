# cowhand: try, clone and roll back libvirt guests on LVM. `make` lists the targets.
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PREFIX      ?= /usr/local
FUZZTIME    ?= 10s
SOAK        ?= 10
# libvirt is loaded when it is used: no headers to build with, no library to link.
export GOFLAGS := -tags=libvirt_dlopen,libvirt_without_lxc $(GOFLAGS)
# Go keeps its caches there; services and cron run without it.
ifndef HOME
export HOME := $(shell getent passwd "$$(id -u)" | cut -d: -f6)
endif
RUN         ?= .
# Scenarios are tests of test/vm, or, run in the VM, of the packages in test/vm/inside.
TEST_VM = COWHAND_PROGRAM=$(CURDIR)/bin/cowhand go test -v -count=1 -timeout 60m -run '($(RUN))|^TestInside$$/($(RUN))' ./test/vm
UNIT = $$(go list ./... | grep -v '/test/')

.NOTPARALLEL:
.PHONY: help build test unit e2e test-vm test-vm-short demo bench bench-go race lint fuzz soak install clean setup

help: ## this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## bin/cowhand
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/cowhand ./cmd/cowhand

test: setup lint race e2e test-vm-short ## all tests: installs what they need, then lint, unit tests with the race detector, end to end, the VM

demo: ## the main job, shown: a guest tried, patched, discarded, kept, cloned and rolled back (a few minutes)
	@test/setup demo
	@$(MAKE) --no-print-directory build
	@go run ./test/demo

unit: ## unit and model tests alone, without the race detector (seconds)
	go test $(UNIT)

race: ## unit and model tests with the race detector
	go test -race $(UNIT)

e2e: build ## real guests under a private libvirt, lvm2's own tools (skips, by name, what is not installed)
	go test -count=1 -timeout 15m $$(go list ./test/... | grep -v '/test/vm')

test-vm: setup build ## lvm2 and the kernel's device mapper in a VM; RUN=regexp selects scenarios
	$(TEST_VM)

test-vm-short: build
	$(TEST_VM) -short

lint: ## go vet, gofmt, staticcheck
	go vet ./...
	@files=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$files" ] || { echo "not gofmt-clean: $$files"; exit 1; }
	@if go run $(STATICCHECK) -version >/dev/null; then echo staticcheck ./...; go run $(STATICCHECK) ./...; \
	else echo "==== staticcheck cannot be fetched: skipped" >&2; fi

bench: build ## speed: VG commits, NBD beside qemu-nbd and nbdkit, as tables of ratios
	@test/setup test
	@go run ./test/bench

bench-go: ## speed of single packages: Go's benchmarks
	go test -run '^$$' -bench . -benchmem $(UNIT)

fuzz: ## each fuzz target for FUZZTIME (10s)
	@git grep -o '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sed 's/:func / /' | while read -r file target; do \
		echo "== $$target ($$(dirname $$file))"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$(dirname $$file) || exit 1; \
	done

soak: ## unit and model tests SOAK (10) times over, each with new seeds
	go test -race -count=$(SOAK) -timeout 0 $(UNIT)

install: build ## bin/cowhand to PREFIX/bin (/usr/local)
	install -D -m 755 bin/cowhand $(DESTDIR)$(PREFIX)/bin/cowhand

clean: ## removes what was built
	rm -rf bin build

setup:
	@test/setup test
