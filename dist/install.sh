#!/bin/sh
# `make install` and `make uninstall`: dist/install.sh install|uninstall, with PREFIX, DESTDIR, LAB.
#
# What is put in place is on record in share/podnet/installed: files, and directories (with a slash at
# the end) that were not there before. That is what goes again, also if an install ended halfway.
set -eu

cd "$(dirname "$0")/.."
root=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
programs=${PROGRAMS:-target/release}
record=$prefix/share/podnet/installed
# systemd looks into two prefixes, NetworkManager into one, and Debian's zsh has a directory for packages.
systemd=$prefix/lib/systemd
sysusers=$prefix/lib/sysusers.d
networkmanager=/etc/NetworkManager/conf.d
zsh=$prefix/share/zsh/site-functions
case $prefix in
/usr)
    networkmanager=/usr/lib/NetworkManager/conf.d
    zsh=/usr/share/zsh/vendor-completions
    ;;
/usr/local) ;;
*[![:alnum:]/._+-]*)
    echo "install.sh: PREFIX '$prefix': only letters, digits and / . _ + - can stand in a unit and in a page" >&2
    exit 2
    ;;
/*)
    systemd=/etc/systemd
    sysusers=/etc/sysusers.d
    ;;
*)
    echo "install.sh: PREFIX '$prefix' is not absolute" >&2
    exit 2
    ;;
esac

made=$(mktemp -d)
new=$made/new
old=$made/old
touch "$new" "$old"

# An install that ended halfway leaves a record of all that may be there.
finish() {
    if [ "$1" -ne 0 ] && [ -s "$new" ] && [ -d "$root${record%/*}" ]; then
        sort -u "$old" "$new" >"$root$record" || true
    fi
    rm -rf "$made"
}
trap 'finish $?' EXIT

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

# Has those that read the files above read them again. systemd-networkd reads its own settings when it
# starts next, which is when they matter.
reload() {
    systemctl daemon-reload
    udevadm control --reload >/dev/null 2>&1 || true
    networkctl reload >/dev/null 2>&1 || true
    nmcli general reload conf >/dev/null 2>&1 || true
}

do_install() {
    # The programs write pages and completions: those that cannot run here change nothing.
    "$programs/podnetd" man "$made"
    "$programs/podnetctl" man "$made"
    for shell in bash zsh fish; do
        "$programs/podnetctl" completion "$shell" >"$made/$shell"
    done
    page_of_example >"$made/podnetd.toml.5"
    sed "s|@PREFIX@|$prefix|g" dist/podnetd.service >"$made/podnetd.service"

    mkdir -p "$root/"
    if [ -e "$root$record" ]; then
        cp "$root$record" "$old"
        # They are there because of podnet still.
        grep '/$' "$old" >"$new" || true
    fi
    make_dir "$(dirname "$record")"
    echo "$record" >>"$new"
    for program in podnetd podnetctl ${LAB:+podnet-lab}; do
        put 0755 "$programs/$program" "$prefix/bin/$program"
    done
    put 0644 "$made/podnetd.service" "$systemd/system/podnetd.service"
    put 0644 dist/podnet.sysusers "$sysusers/podnet.conf"
    put 0644 dist/podnet-networkd.conf "$systemd/networkd.conf.d/10-podnet.conf"
    put 0644 dist/podnet.network "$systemd/network/10-podnet.network"
    put 0644 dist/podnet.link "$systemd/network/10-podnet.link"
    put 0644 dist/podnet-networkmanager.conf "$networkmanager/10-podnet.conf"
    put 0644 dist/podnetd.toml "$prefix/share/doc/podnet/examples/podnetd.toml"
    for page in "$made"/*.[158]; do
        put 0644 "$page" "$prefix/share/man/man${page##*.}/$(basename "$page")"
    done
    put 0644 "$made/bash" "$prefix/share/bash-completion/completions/podnetctl"
    put 0644 "$made/zsh" "$zsh/_podnetctl"
    put 0644 "$made/fish" "$prefix/share/fish/vendor_completions.d/podnetctl.fish"
    remove_old
    install -m 0644 "$new" "$root$record"
    if live; then
        systemd-sysusers "$sysusers/podnet.conf"
        reload
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
    enabled=false
    if live; then
        if systemctl --quiet is-enabled podnetd.service; then
            enabled=true
        fi
        systemctl --quiet disable --now podnetd.service || true
    fi
    cp "$root$record" "$old"
    remove_old
    if live; then
        reload
        # The unit of another one, such as the package's, was hidden by ours.
        if $enabled && systemctl cat podnetd.service >/dev/null 2>&1; then
            systemctl --quiet enable --now podnetd.service
            echo "the podnet that remains on this host takes over"
        fi
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
