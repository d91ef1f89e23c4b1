#!/bin/sh
# `make install` and `make uninstall`: dist/install.sh install|uninstall, with PREFIX, DESTDIR, LAB.
#
# What is put in place is on record in share/podnet/installed: files, and directories (with a slash at
# the end) that were not there before. That is what goes again.
set -eu

cd "$(dirname "$0")/.."
root=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
programs=${PROGRAMS:-target/release}
record=$prefix/share/podnet/installed
# NetworkManager does not look into /usr/local, and Debian's zsh has a directory for packages.
case $prefix in
/usr)
    networkmanager=/usr/lib/NetworkManager/conf.d
    zsh=/usr/share/zsh/vendor-completions
    ;;
*)
    networkmanager=/etc/NetworkManager/conf.d
    zsh=$prefix/share/zsh/site-functions
    ;;
esac

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
new=$made/new
old=$made/old
touch "$new" "$old"

make_dir() {
    if [ ! -d "$root$1" ]; then
        make_dir "$(dirname "$1")"
        mkdir -m 0755 "$root$1"
        echo "$1/" >>"$new"
    fi
}

# put MODE FILE PLACE
put() {
    make_dir "$(dirname "$3")"
    install -m "$1" "$2" "$root$3"
    echo "$3" >>"$new"
}

# podnetd.toml(5): the example, as it is.
page_of_example() {
    printf '.TH podnetd.toml 5\n.SH NAME\npodnetd.toml \\- configuration of podnetd, the podnet agent\n'
    printf '.SH DESCRIPTION\nAll keys with their defaults:\n.PP\n.nf\n'
    sed 's/\\/\\e/g; s/-/\\-/g; s/^[.'"'"']/\\\&&/' dist/podnetd.toml
    printf '.fi\n.SH SEE ALSO\n.BR podnetd (8)\n'
}

# completion SHELL PLACE
completion() {
    "$programs/podnetctl" completion "$1" >"$made/$1"
    put 0644 "$made/$1" "$2"
}

# Removes what stands in the old record and not in the new one; directories from the deepest up.
remove_old() {
    sort -r "$old" | while read -r path; do
        if ! grep -qxF "$path" "$new"; then
            case $path in
            */) rmdir --ignore-fail-on-non-empty "$root$path" 2>/dev/null || true ;;
            *) rm -f "$root$path" ;;
            esac
        fi
    done
}

# Whether this is about the running system.
live() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

do_install() {
    mkdir -p "$root/"
    if [ -e "$root$record" ]; then
        cp "$root$record" "$old"
        # They are there because of podnet still.
        grep '/$' "$old" >"$new" || true
    fi
    for program in podnetd podnetctl ${LAB:+podnet-lab}; do
        put 0755 "$programs/$program" "$prefix/bin/$program"
    done
    sed "s|@PREFIX@|$prefix|g" dist/podnetd.service >"$made/podnetd.service"
    put 0644 "$made/podnetd.service" "$prefix/lib/systemd/system/podnetd.service"
    put 0644 dist/podnet.sysusers "$prefix/lib/sysusers.d/podnet.conf"
    put 0644 dist/podnet-networkd.conf "$prefix/lib/systemd/networkd.conf.d/10-podnet.conf"
    put 0644 dist/podnet.network "$prefix/lib/systemd/network/10-podnet.network"
    put 0644 dist/podnet.link "$prefix/lib/systemd/network/10-podnet.link"
    put 0644 dist/podnet-networkmanager.conf "$networkmanager/10-podnet.conf"
    put 0644 dist/podnetd.toml "$prefix/share/doc/podnet/examples/podnetd.toml"
    "$programs/podnetd" man "$made"
    "$programs/podnetctl" man "$made"
    page_of_example >"$made/podnetd.toml.5"
    for page in "$made"/*.[158]; do
        put 0644 "$page" "$prefix/share/man/man${page##*.}/$(basename "$page")"
    done
    completion bash "$prefix/share/bash-completion/completions/podnetctl"
    completion zsh "$zsh/_podnetctl"
    completion fish "$prefix/share/fish/vendor_completions.d/podnetctl.fish"
    make_dir "$(dirname "$record")"
    echo "$record" >>"$new"
    remove_old
    install -m 0644 "$new" "$root$record"
    if live; then
        systemd-sysusers "$prefix/lib/sysusers.d/podnet.conf"
        systemctl daemon-reload
        echo "installed; next: systemctl enable --now podnetd, or, if it runs: systemctl restart podnetd"
    elif [ -z "$root" ]; then
        echo "installed; next: groupadd --system podnet; then run '$prefix/bin/podnetd run' as root"
    fi
}

do_uninstall() {
    if [ ! -e "$root$record" ]; then
        echo "nothing to remove: no record at $root$record"
        return
    fi
    if live; then
        systemctl --quiet disable --now podnetd.service || true
    fi
    cp "$root$record" "$old"
    remove_old
    if live; then
        systemctl daemon-reload
    fi
    if [ -z "$root" ]; then
        echo "removed; pods, links, routes, rules and state stay; to remove them: $programs/podnetd cleanup --purge"
    fi
}

case ${1:-} in
install) do_install ;;
uninstall) do_uninstall ;;
*)
    echo "usage: dist/install.sh install|uninstall" >&2
    exit 2
    ;;
esac
