#!/bin/bash
# Builds a Vagrant box for libvirt from Debian's packages: vagrant/build-box.sh FILE
#
# For machines without hardware virtualisation, where a public box takes ten minutes to boot, and for
# those that cannot fetch one. The box brings the settings of the machine along: its kernel is booted
# directly, by KVM if there is one and by emulation otherwise. Needs root, vagrant, mmdebstrap, e2fsprogs,
# qemu-utils and openssh-client; takes two to four minutes and 140 MB.
#
#   vagrant/build-box.sh target/vagrant/podnet.box
#   vagrant box add --name podnet-built target/vagrant/podnet.box
#   PODNET_BOX=podnet-built vagrant up --provider=libvirt
set -euo pipefail

readonly SUITE=bookworm

# What the system is made of beside the essential packages.
readonly PACKAGES=systemd-sysv,udev,dbus,openssh-server,sudo,rsync,kmod,procps,iproute2,iptables,nftables,iputils-ping,tcpdump,ca-certificates,initramfs-tools,zstd,linux-image-cloud-amd64

# Units that take time at boot under emulation, and that nobody misses on a machine of an hour.
readonly MASKED="apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer getty.target getty@.service serial-getty@.service modprobe@.service systemd-journal-flush.service
    systemd-networkd-wait-online.service systemd-pstore.service systemd-random-seed.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount"

# Vagrant's own well-known key. Debian's Vagrant and HashiCorp's have it in different places.
key() {
    find /usr/share/rubygems-integration /opt/vagrant -path '*/vagrant-*/keys/vagrant.pub' 2>/dev/null | head -n 1
}

# Runs before the kernel's package makes its initramfs.
prepare() {
    local root=$1
    mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
    printf 'MODULES=list\nRESUME=none\n' >"$root/etc/initramfs-tools/conf.d/podnet"
    printf '%s\n' virtio_pci virtio_blk virtio_net virtio_rng >"$root/usr/share/initramfs-tools/modules.d/podnet"
}

# Runs when all packages are there.
configure() {
    local root=$1 etc=$1/etc
    chroot "$root" useradd --create-home --shell /bin/bash vagrant
    echo vagrant:vagrant | chroot "$root" chpasswd
    echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$etc/sudoers.d/vagrant"
    chmod 0440 "$etc/sudoers.d/vagrant"
    install -d -m 0700 "$root/home/vagrant/.ssh"
    install -m 0600 "$(key)" "$root/home/vagrant/.ssh/authorized_keys"
    chroot "$root" chown -R vagrant: /home/vagrant/.ssh

    # Each machine has the same host key, as the user's key is public too. Debian's Vagrant knows
    # no curve25519: what sshd offers for the exchange of keys stays as it is.
    rm -f "$etc"/ssh/ssh_host_*
    ssh-keygen -q -t ecdsa -b 256 -N '' -C '' -f "$etc/ssh/ssh_host_ecdsa_key"
    printf '%s\n' 'HostKey /etc/ssh/ssh_host_ecdsa_key' 'UseDNS no' 'UsePAM no' 'PrintMotd no' \
        >"$etc/ssh/sshd_config.d/vagrant.conf"

    echo "$SUITE" >"$etc/hostname"
    printf '%s\n' '127.0.0.1 localhost' "127.0.1.1 $SUITE" '::1 localhost' >"$etc/hosts"
    echo '/dev/vda / ext4 defaults,noatime 0 0' >"$etc/fstab"
    printf '%s\n' '[Match]' 'Name=eth0' '' '[Network]' 'DHCP=ipv4' 'LinkLocalAddressing=no' 'IPv6AcceptRA=no' '' \
        '[DHCPv4]' 'ClientIdentifier=mac' >"$etc/systemd/network/10-eth0.network"
    chroot "$root" systemctl --quiet enable systemd-networkd.service
    chroot "$root" systemctl --quiet set-default multi-user.target
    local unit
    for unit in $MASKED; do
        ln -sf /dev/null "$etc/systemd/system/$unit"
    done
    # Each machine is to have its own.
    : >"$etc/machine-id"
}

# Vagrant reads it before that of the project, which may say otherwise.
settings() {
    cat <<'END'
# What a machine of this box needs to boot.
kvm = File.exist?("/dev/kvm") && %w[kvm_intel kvm_amd].any? { |name| File.directory?("/sys/module/#{name}") }

Vagrant.configure("2") do |config|
  config.vm.boot_timeout = 900
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |machine|
    machine.driver = kvm ? "kvm" : "qemu"
    machine.cpu_mode = kvm ? "host-passthrough" : "custom"
    machine.cpu_model = "qemu64" unless kvm
    machine.random model: "random"
    machine.graphics_type = "none"
    machine.video_type = "none"
    machine.kernel = File.join(__dir__, "vmlinuz")
    machine.initrd = File.join(__dir__, "initrd.img")
    machine.cmd_line = "root=/dev/vda rw quiet rootfstype=ext4 fsck.mode=skip net.ifnames=0 console=ttyS0 " \
                       "mitigations=off audit=0 apparmor=0 random.trust_cpu=on"
  end
end
END
}

main() {
    local box dir root
    if [ -z "$(key || true)" ]; then
        echo "build-box.sh: vagrant is not installed: there is no vagrant.pub" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$1")"
    box=$(readlink -f "$1")
    dir=$(mktemp -d "$(dirname "$box")/build.XXXXXX")
    # shellcheck disable=SC2064 # The folder is this one.
    trap "rm -rf '$dir'" EXIT
    root=$dir/root
    local -a sources=()
    if grep -qs "$SUITE" /etc/apt/sources.list.d/debian.sources; then
        sources=(/etc/apt/sources.list.d/debian.sources)
    fi
    mmdebstrap --mode=root --variant=minbase --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --include="$PACKAGES" \
        --essential-hook="'$0' prepare \"\$1\"" --customize-hook="'$0' configure \"\$1\"" \
        "$SUITE" "$root" "${sources[@]}"
    mv "$root"/boot/vmlinuz-* "$dir/vmlinuz"
    mv "$root"/boot/initrd.img-* "$dir/initrd.img"
    # The machine resolves names by whatever its host's network gives it.
    rm -f "$root/etc/resolv.conf"
    : >"$root/etc/resolv.conf"
    truncate -s 4G "$dir/box.raw"
    mke2fs -q -F -t ext4 -L root -d "$root" "$dir/box.raw"
    qemu-img convert -O qcow2 "$dir/box.raw" "$dir/box.img"
    echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 4, "architecture": "amd64"}' >"$dir/metadata.json"
    settings >"$dir/Vagrantfile"
    tar -C "$dir" -I 'gzip -1' -cf "$dir/box" metadata.json Vagrantfile box.img vmlinuz initrd.img
    mv "$dir/box" "$box"
}

case ${1:-} in
prepare | configure) "$1" "$2" ;;
'' | -*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
    ;;
*) main "$1" ;;
esac
