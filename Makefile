# podnet. `make demo` shows it, `make test` tests it; both install what is missing (Debian, root).

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
# How long `make chaos` lasts, and `make fuzz` for each target.
chaos: SECONDS ?= 600
fuzz: SECONDS ?= 60
# What `make chaos` does.
SEED ?= 1

# Lets the agent die at any step; see agent/src/fault.rs.
FAULTS := podnet-agent/fault-points

# program:package, for all that building, the demo and the tests run.
NEEDED := gcc:gcc ip:iproute2 tc:iproute2 ss:iproute2 iptables:iptables nft:nftables ping:iputils-ping \
          nsenter:util-linux unshare:util-linux setpriv:util-linux tcpdump:tcpdump conntrack:conntrack curl:curl ps:procps strace:strace \
          iperf3:iperf3

.PHONY: help deps build release demo test chaos fuzz corpus bench lint fmt deny install clean

help:
	@echo 'make demo     three nodes on this machine, pods on each, pings between all'
	@echo 'make test     every test (root)'
	@echo 'make chaos    random failures of five nodes [SECONDS=600 SEED=1]'
	@echo 'make fuzz     libFuzzer on all that comes from outside [SECONDS=60 for each target]'
	@echo 'make corpus   the inputs that fuzzing starts from, written anew'
	@echo 'make bench    what podnet costs, beside its peers [ONLY="pods routes path join agent repair"]'
	@echo 'make lint     formatting, clippy, licences'
	@echo 'make release  optimised programs in target/release'
	@echo 'make install  [PREFIX=/usr/local] [DESTDIR=]'

# Installs what is missing; where nothing is, needs neither root nor a network.
deps:
	@missing=; for pair in $(NEEDED); do \
	    command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "installing:$$missing"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends $$missing ca-certificates libc6-dev; \
	fi

build: deps
	$(CARGO) build --workspace --locked

release: deps
	$(CARGO) build --workspace --locked --release

demo: build
	target/debug/podnet-lab demo

# All programs in one build: with other features they would be built twice.
test: deps
	PODNET_BIN_DIR=$(CURDIR)/target/debug $(CARGO) test --workspace --locked --features $(FAULTS)

chaos: build
	PODNET_BIN_DIR=$(CURDIR)/target/debug PODNET_CHAOS_SECONDS=$(SECONDS) PODNET_CHAOS_SEED=$(SEED) \
	    $(CARGO) test --locked -p podnet-lab --test chaos -- --nocapture

bench: release
	PODNET_BIN_DIR=$(CURDIR)/target/release $(CARGO) bench --locked -p podnet-lab --bench podnet -- $(ONLY)

# Each test runs the same targets for a short time; see agent/src/fuzz.rs.
fuzz: NEEDED += c++:g++
fuzz: deps
	agent/fuzz.sh $(SECONDS)

corpus:
	PODNET_UPDATE_CORPUS=1 $(CARGO) test --locked -p podnet-agent --lib fuzz

lint: fmt deny
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --workspace --all-targets --features $(FAULTS) --locked -- -D warnings

fmt:
	$(CARGO) fmt --all -- --check

# The advisories need a network; `cargo deny check advisories` beside this is worth a habit.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked
	$(CARGO) deny --locked check bans licenses sources

install: release
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0755 target/release/podnetd target/release/podnetctl target/release/podnet-lab $(DESTDIR)$(PREFIX)/bin
	sed 's|@PREFIX@|$(PREFIX)|g' dist/podnetd.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/podnetd.service

clean:
	$(CARGO) clean
