#!/bin/bash
# Installs what building, testing and the demo need beyond Go, from Debian's
# packages. Says nothing and touches nothing when all of it is there.
set -euo pipefail

packages=(
  containerd runc                        # runs the containers
  iproute2 nftables iptables             # hosts in network namespaces, and cuts between them
  containernetworking-plugins            # the containers' network
  busybox-static                         # the demo's image
  libvirt-daemon libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils # runs the virtual machines
  ovmf                                   # UEFI for those that boot by it
  linux-image-cloud-amd64                # the kernel of the tests' guest
  debootstrap                            # a clean root to install the package on
  procps util-linux curl jq
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
# The race detector needs a C compiler; any will do.
command -v gcc >/dev/null || command -v cc >/dev/null || missing+=(gcc libc6-dev)
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "prerequisites: missing ${missing[*]}; run this as root" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "prerequisites: installing ${missing[*]}"
# A mirror that does not answer once is no reason to give up.
apt=(apt-get -q -o Acquire::Retries=5)
"${apt[@]}" update
# The machine's own services are not wanted here: each host of a test starts
# the daemons that it needs.
"${apt[@]}" install -y --no-install-recommends "${missing[@]}"
