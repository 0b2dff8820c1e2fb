# lvsctl: make demo shows it, make test proves it. Both install what they need
# (Debian packages through apt, Go modules through the module proxy) and say so.

SHELL   := /bin/sh
GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

export CGO_ENABLED := 0

BIN     := bin
LDFLAGS := -s -w -X main.version=$(VERSION)

# A kernel with IPVS as an ordinary program, and what the tests compare us with.
LAB   := linux.uml=user-mode-linux modprobe=kmod ip=iproute2 ifconfig=net-tools \
         pgrep=procps nsenter=util-linux strace=strace iptables-legacy=iptables
PEERS := ipvsadm=ipvsadm keepalived=keepalived

.PHONY: build oracle demo lab test test-all bench lint fmt install clean need need-peers

build: ## the program, static, in bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/lvsctl ./cmd/lvsctl

oracle: ## the program that service=oracle runs; it is as large as all the rest
	$(GO) build -trimpath -ldflags '-s -w' -o $(BIN)/lvsctl-check-oracle ./cmd/lvsctl-check-oracle

# What some examples need beside lvsctl.
packages = $(foreach name,$(1),$(shell cat examples/$(name)/packages 2>/dev/null))

# The main job, on the tutorials' own files; examples/ has more.
STORIES ?= lvs-dr-scripts ldirectord keepalived-dr
demo: need build ## whole clusters at work, in about a minute; STORIES names others
	@scripts/need $(call packages,$(STORIES))
	$(GO) run ./internal/lab/labctl demo -bin $(BIN) $(STORIES)

EXAMPLE ?= lvs-dr-scripts
lab: need build ## a shell in a running cluster; EXAMPLE names another one
	@scripts/need $(call packages,$(EXAMPLE))
	$(GO) run ./internal/lab/labctl shell -bin $(BIN) $(EXAMPLE)

# PKG="./vrrp ./lvs/..." tests some packages only.
PKG ?= ./...

# -count=1: go test cannot know that some packages test the program that they build,
# and would remember results of an older one.
test: need need-peers build ## all tests that end in minutes
	LVSCTL_LAB=require $(GO) test -count=1 -short -timeout 20m $(PKG)

# The daemons that the checks are tried on, by the package of each.
SERVERS := $(shell cat ldirector/check/testdata/peers.txt)

# CORPUS=dir is a folder of configurations of yours: each one in it, in any dialect and
# at any depth, is translated into every dialect and back.
CORPUS ?=

test-all: need need-peers build ## and those that take long: elections with keepalived, real servers of each kind, fuzzing
	@scripts/need $(SERVERS) $(call packages,*)
	LVSCTL_LAB=require LVSCTL_PEERS=require LVSCTL_CORPUS='$(abspath $(CORPUS))' $(GO) test -count=1 -timeout 30m $(PKG)
	scripts/fuzz 60s

bench: need need-peers build ## speed, as ratios to the peers in one boot; BENCH names a part of it
	@scripts/need ldirectord=ldirectord unshare=util-linux
	$(GO) build -trimpath -ldflags "-s -w" -o $(BIN)/empty ./internal/lab/labbench/empty
	$(GO) test -c -o $(BIN)/lvsctl-unplugged ./cmd/lvsctl
	$(GO) build -o $(BIN)/labbench ./internal/lab/labbench
	@status=0; for part in $(BENCH); do $(BIN)/labbench -bin $(BIN) $(BENCHFLAGS) $$part || status=1; done; exit $$status

# BENCHFLAGS="-many-for 10m" has vrrp listen longer; bin/labbench -help tells of others.
BENCH ?= ipvsadm checks watching vrrp

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo 'not gofmt-ed:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

fmt:
	gofmt -w .

install: build ## program, manual pages, docs, completions and systemd's units under $(DESTDIR)$(PREFIX)
	install -D -m 755 $(BIN)/lvsctl $(DESTDIR)$(PREFIX)/sbin/lvsctl
	test ! -e $(BIN)/lvsctl-check-oracle || install -D -m 755 $(BIN)/lvsctl-check-oracle $(DESTDIR)$(PREFIX)/sbin/lvsctl-check-oracle
	for page in man/*.8; do install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man8/$${page#man/}; done
	for page in docs/*.md; do install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/doc/lvsctl/$${page#docs/}; done
	mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in examples/systemd/*.service; do sed 's,/usr/local/sbin,$(PREFIX)/sbin,' $$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}; done
	mkdir -p $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BIN)/lvsctl completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lvsctl
	$(BIN)/lvsctl completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lvsctl
	$(BIN)/lvsctl completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lvsctl.fish

clean:
	rm -rf $(BIN)

need:
	@scripts/need go=golang-go $(LAB)

need-peers:
	@scripts/need $(PEERS)
