#!/bin/bash
# Makes a disk with a whole Debian on it: signed boot loader and kernel, cloud-init
# and the guest's agent. Usage: debian-guest.sh DISK.qcow2 (root)
set -euo pipefail

# shellcheck source=packaging/clean-root.sh
. "$(dirname "$0")/../../../packaging/clean-root.sh"

disk=$(readlink -m "$1")
work=$(mktemp -d "$(dirname "$disk")/debian.XXXXXX")
root=$work/root
cleanup() {
  leave_root "$root"
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT

missing=()
for package in debootstrap fdisk mtools dosfstools e2fsprogs qemu-utils; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

packages=(systemd-sysv udev dbus cloud-init qemu-guest-agent openssh-server sudo iproute2 netbase lz4)
make_root "$root" "$work/debootstrap.log"
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >"$root/etc/fstab"
mkdir -p "$root/etc/cloud/cloud.cfg.d"
echo 'datasource_list: [NoCloud]' >"$root/etc/cloud/cloud.cfg.d/90-nocloud.cfg"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
chroot "$root" "${apt[@]}" update
chroot "$root" "${apt[@]}" install -y --no-install-recommends "${packages[@]}" initramfs-tools
# Without the archive's compression an emulated guest starts sooner.
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=lz4/' "$root/etc/initramfs-tools/initramfs.conf"
printf '%s\n' virtio_pci virtio_blk virtio_console ext4 >>"$root/etc/initramfs-tools/modules"
chroot "$root" "${apt[@]}" install -y --no-install-recommends linux-image-cloud-amd64
# The boot loader is copied, not installed: that would look at this machine's firmware.
(cd "$root/tmp" && chroot "$root" sh -c 'cd /tmp && apt-get download -q shim-signed grub-efi-amd64-signed && for p in ./*.deb; do dpkg -x "$p" loader; done')
leave_root "$root"
mv "$root/tmp/loader" "$work/loader"
rm -rf "$root/usr/sbin/policy-rc.d" "$root"/tmp/* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/etc/machine-id "$root"/etc/ssh/ssh_host_* "$root"/etc/apt/apt.conf.d/99-*
: >"$root/etc/machine-id"

truncate -s 64M "$work/efi"
mkfs.vfat -n EFI "$work/efi" >/dev/null
mmd -i "$work/efi" ::EFI ::EFI/BOOT ::EFI/debian
mcopy -i "$work/efi" "$work/loader/usr/lib/shim/shimx64.efi.signed" ::EFI/BOOT/BOOTX64.EFI
mcopy -i "$work/efi" "$work/loader/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" ::EFI/BOOT/grubx64.efi
cat >"$work/grub.cfg" <<'END'
search --no-floppy --label root --set root
linux /vmlinuz root=LABEL=root ro console=ttyS0 mitigations=off random.trust_cpu=on
initrd /initrd.img
boot
END
mcopy -i "$work/efi" "$work/grub.cfg" ::EFI/debian/grub.cfg
truncate -s 1600M "$work/ext4"
mke2fs -q -t ext4 -L root -d "$root" "$work/ext4"

truncate -s 1700M "$work/disk"
printf '%s\n' 'label: gpt' 'start=2048, size=131072, type=uefi' 'start=133120, size=3276800, type=linux' | sfdisk -q "$work/disk"
dd if="$work/efi" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/ext4" of="$work/disk" bs=1M seek=65 conv=notrunc,sparse status=none
qemu-img convert -O qcow2 "$work/disk" "$disk.new"
mv "$disk.new" "$disk"
