# podnet. `make demo` shows it, `make test` tests it; both install what is missing (Debian, root).

CARGO ?= cargo
# What the rules below take from there.
export CARGO_TARGET_DIR := $(CURDIR)/target
PREFIX ?= /usr/local
DESTDIR ?=
# How long `make chaos` lasts, `make sim` for each of its two simulators, and `make fuzz` for each target.
chaos: SECONDS ?= 600
sim: SECONDS ?= 60
fuzz: SECONDS ?= 60
# What `make chaos` does.
SEED ?= 1

# Lets the agent die at any step; see agent/src/fault.rs.
FAULTS := podnet-agent/fault-points

# program:package, for what building runs, and with it the demo, the tests, the package.
TO_BUILD := gcc:gcc
TO_TEST := ip:iproute2 tc:iproute2 ss:iproute2 iptables:iptables nft:nftables ping:iputils-ping \
           nsenter:util-linux unshare:util-linux setpriv:util-linux tcpdump:tcpdump conntrack:conntrack curl:curl ps:procps strace:strace \
           iperf3:iperf3
TO_PACKAGE := dpkg-shlibdeps:dpkg-dev
# QEMU's packages are to be of one release; if a backport of some of them is there, it goes.
vm-test vagrant-test: DOWNGRADES := --allow-downgrades
SUITE = $(shell . /etc/os-release && echo $$VERSION_CODENAME)
TO_EMULATE = qemu-system-x86_64:qemu-system-x86 qemu-system-x86_64:qemu-utils/$(SUITE) qemu-img:qemu-utils/$(SUITE) \
             mmdebstrap:mmdebstrap mke2fs:e2fsprogs dpkg-scanpackages:dpkg-dev setpriv:util-linux
TO_VAGRANT = $(TO_EMULATE) vagrant:vagrant-libvirt libvirtd:libvirt-daemon-system virsh:libvirt-clients \
             dnsmasq:dnsmasq-base rsync:rsync ssh:openssh-client ip:iproute2 iptables:iptables
NEEDED = $(TO_BUILD)

# What a host runs.
PROGRAMS := -p podnet-agent -p podnetctl
# `make install LAB=1` installs the testbed too.
LAB ?=

# `make deb`: the version of the package, that of the workspace unless it is given.
DEB_VERSION ?= $(or $(PODNET_DEB_VERSION),$(shell sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1-1/p' Cargo.toml))
STAGE := target/stage
package = $(CURDIR)/target/debian/podnet_$(1)_$(shell dpkg --print-architecture).deb
# The version before, for an upgrade: elsewhere, since cargo-deb keeps one version in its folder.
BEFORE = $(CURDIR)/target/vm/podnet-before.deb
# The time that its files bear.
EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),$(shell date +%s))

.PHONY: help deps build release programs demo test vm-test vagrant-test vagrant-validate chaos sim fuzz corpus bench lint fmt deny install uninstall deb clean

help:
	@echo 'make demo     three nodes on this machine, pods on each, pings between all'
	@echo 'make test     every test (root) [ONLY="repair rules::"]'
	@echo 'make vm-test  three virtual machines, from the package [ONLY=power::]'
	@echo 'make chaos    random failures of five nodes [SECONDS=600 SEED=1]'
	@echo 'make sim      random schedules of the claim machine, and of whole clusters [SECONDS=60 for each]'
	@echo 'make fuzz     libFuzzer on all that comes from outside [SECONDS=60 for each target]'
	@echo 'make corpus   the inputs that fuzzing starts from, written anew'
	@echo 'make bench    what podnet costs, beside its peers [ONLY="pods routes path join agent repair"]'
	@echo 'make lint     formatting, clippy, licences'
	@echo 'make release  optimised programs in target/release'
	@echo 'make install  [PREFIX=/usr/local] [DESTDIR=] [LAB=1: podnet-lab too]'
	@echo 'make uninstall  what make install put there, with the same PREFIX and DESTDIR'
	@echo 'make deb      a Debian package in target/debian [DEB_VERSION=0.1.0-1]'
	@echo 'make vagrant-test      vagrant up, a cluster, pods, pings, reload, destroy, on machines of its own (root)'
	@echo 'make vagrant-validate  the Vagrantfile, for each provider'

# Installs what is missing; where nothing is, needs neither root nor a network.
deps:
	@missing=; for pair in $(NEEDED); do \
	    command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "installing:$$missing"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends $(DOWNGRADES) $$missing ca-certificates libc6-dev; \
	fi

demo test chaos bench: NEEDED += $(TO_TEST)

build: deps
	$(CARGO) build --workspace --locked

release: deps
	$(CARGO) build --workspace --locked --release

# What a host runs, and nothing that only tests need. After `make programs`, `sudo make install` does without
# a cargo of root's.
programs: deps
	@if command -v $(CARGO) >/dev/null || ! [ -x target/release/podnetd ]; then \
	    echo '$(CARGO) build --locked --release' && \
	    $(CARGO) build --locked --release $(PROGRAMS) $(if $(LAB),-p podnet-lab); \
	fi

demo: build
	target/debug/podnet-lab demo

# ONLY="repair": one suite; ONLY="repair rules::": those of its tests; see tests/run.sh.
test: deps
	CARGO='$(CARGO)' FAULTS='$(FAULTS)' tests/run.sh $(ONLY)

chaos: build
	PODNET_BIN_DIR=$(CURDIR)/target/debug PODNET_CHAOS_SECONDS=$(SECONDS) PODNET_CHAOS_SEED=$(SEED) \
	    $(CARGO) test --locked -p podnet-lab --test chaos -- --nocapture

# Other schedules each time; a failure names its seed.
sim: deps
	for suite in sim world; do \
	    SIM_SECONDS=$(SECONDS) SIM_SEED=$$(date +%s)000 $(CARGO) test --workspace --locked --features $(FAULTS) \
	        --test $$suite -- --nocapture --test-threads 1 three_voters whole_clusters || exit 1; \
	done

bench: release
	PODNET_BIN_DIR=$(CURDIR)/target/release $(CARGO) bench --locked -p podnet-lab --bench podnet -- $(ONLY)

# Debian packages become images, which stay in target/vm; machines, disks and networks go when it ends.
vm-test: NEEDED += $(TO_TEST) $(TO_PACKAGE) $(TO_EMULATE) lintian:lintian
vm-test: release
	$(MAKE) deb DEB_VERSION=$(DEB_VERSION)~before
	mkdir -p $(dir $(BEFORE)) && mv $(call package,$(DEB_VERSION)~before) $(BEFORE)
	$(MAKE) deb DEB_VERSION=$(DEB_VERSION)
	PODNET_BIN_DIR=$(CURDIR)/target/release PODNET_VM_DIR=$(CURDIR)/target/vm \
	    PODNET_DEB=$(call package,$(DEB_VERSION)) PODNET_DEB_BEFORE=$(BEFORE) \
	    $(CARGO) test --workspace --locked --features $(FAULTS) --test vm -- $(ONLY)

# Each test runs the same targets for a short time; see agent/src/fuzz.rs.
fuzz: NEEDED += c++:g++
fuzz: deps
	agent/fuzz.sh $(SECONDS)

corpus:
	PODNET_UPDATE_CORPUS=1 $(CARGO) test --locked -p podnet-agent --lib fuzz

# The suites with targets of their own are no part of --all-targets.
lint: fmt deny vagrant-validate
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --workspace --all-targets --features $(FAULTS) --locked -- -D warnings
	$(CARGO) clippy --workspace --test vm --test vagrant --features $(FAULTS) --locked -- -D warnings

fmt:
	$(CARGO) fmt --all -- --check

# The advisories need a network; `cargo deny check advisories` beside this is worth a habit.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked
	$(CARGO) deny --locked check bans licenses sources

install: programs
	PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' LAB='$(LAB)' dist/install.sh install

uninstall:
	PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' dist/install.sh uninstall

deb: NEEDED += $(TO_PACKAGE)
deb: programs
	@$(CARGO) deb --version >/dev/null 2>&1 || $(CARGO) install cargo-deb --locked
	rm -rf $(STAGE)
	PREFIX=/usr DESTDIR=$(STAGE) dist/install.sh install
	printf 'podnet (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/podnet/changelog.gz.\n\n -- %s  %s\n' \
	    '$(DEB_VERSION)' "$$(sed -n 's/^maintainer = "\(.*\)"/\1/p' agent/Cargo.toml)" "$$(date -R -u -d @$(EPOCH))" >$(STAGE)/changelog
	SOURCE_DATE_EPOCH=$(EPOCH) $(CARGO) deb --locked -p podnet-agent --no-build --no-strip --deb-version $(DEB_VERSION)
	@if command -v lintian >/dev/null; then lintian --fail-on error $(call package,$(DEB_VERSION)); fi

BOX := target/vagrant/podnet.box

$(BOX): vagrant/build-box.sh | deps
	vagrant/build-box.sh $@

# In namespaces of its own: beside packages nothing of this host is touched. By emulation it takes a quarter of an hour.
vagrant-test: NEEDED += $(TO_PACKAGE) $(TO_VAGRANT)
vagrant-test: deb $(BOX)
	PODNET_BOX_FILE=$(CURDIR)/$(BOX) PODNET_DEB=$(call package,$(DEB_VERSION)) $(CARGO) test --workspace --locked --features $(FAULTS) --test vagrant

vagrant-validate:
	vagrant/validate.sh

clean:
	$(CARGO) clean
