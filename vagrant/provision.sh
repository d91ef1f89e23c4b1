#!/bin/sh
# Puts podnet on a machine and starts it: provision.sh package|programs|code RANGE
#
# Runs as root on the machine, and may run again at any time: what is there is brought up to date, and
# pods go on. What to install is in /tmp/podnet. RANGE is that of the addresses by which the machines
# reach each other: the first interface of a machine leads to its host alone.
set -eu
export DEBIAN_FRONTEND=noninteractive

kind=$1
range=$2
given=/tmp/podnet
settings=/etc/podnet/podnetd.toml

# put PACKAGE...: installs packages; needs a network only if one of them, or of what they depend on, is missing.
put() {
    apt-get install -y -qq --no-install-recommends "$@" || {
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "$@"
    }
}

case $kind in
package)
    # Programs of another time would hide those of the package.
    if [ -e /usr/local/share/podnet/installed ]; then
        "$given/dist/install.sh" uninstall
    fi
    # This very build, whatever its number.
    put --reinstall --allow-downgrades "$given/podnet.deb"
    ;;
programs)
    put iptables
    chmod +x "$given/dist/install.sh" "$given"/target/release/*
    "$given/dist/install.sh" install
    ;;
code)
    # Debian's Rust is too old. This needs the network, 3 GB of memory and a while.
    put iptables gcc libc6-dev make curl ca-certificates
    export CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup
    if ! [ -x "$CARGO_HOME/bin/cargo" ]; then
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y -q --no-modify-path --profile minimal --default-toolchain none
    fi
    PATH=$CARGO_HOME/bin:$PATH make -C "$given" install
    ;;
*)
    echo "provision.sh: '$kind' is none of package, programs, code" >&2
    exit 2
    ;;
esac

mkdir -p "$(dirname "$settings")"
touch "$settings"
if ! grep -q '^advertise *=' "$settings"; then
    # Keys that belong to no table come first.
    printf '# Peers are told the address in this range.\nadvertise = "%s"\n\n' "$range" |
        cat - "$settings" >"$settings.new"
    mv "$settings.new" "$settings"
fi

systemctl enable --quiet podnetd
systemctl restart podnetd
podnetctl version
