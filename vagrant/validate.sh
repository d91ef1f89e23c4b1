#!/bin/sh
# Validates the Vagrantfile for each provider that Vagrant knows here, and starts nothing.
set -eu
cd "$(dirname "$0")"

if ! command -v vagrant >/dev/null; then
    echo "vagrant is not installed: the Vagrantfile is not validated"
    exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export VAGRANT_DOTFILE_PATH="$scratch/machines" VAGRANT_CHECKPOINT_DISABLE=1

validate() {
    printf '%s: ' "$1"
    PODNET_PROVIDER=$1 vagrant validate
}

if vagrant plugin list | grep -q '^vagrant-libvirt '; then
    validate libvirt
else
    echo "vagrant-libvirt is not installed: its settings are not validated"
fi

# VirtualBox is not needed for that, but for the answer to which one it is.
if ! command -v VBoxManage >/dev/null; then
    printf '#!/bin/sh\necho 7.0.20r163906\n' >"$scratch/VBoxManage"
    chmod +x "$scratch/VBoxManage"
    PATH=$scratch:$PATH
fi
validate virtualbox
