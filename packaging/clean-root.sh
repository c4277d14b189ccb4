# shellcheck shell=bash
# To be sourced: a clean Debian root, made as this machine's own system is. What
# fails ends the script that sources it, which runs with `set -e`.

# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
apt=(apt-get -q -o Acquire::Retries=5)

# make_root ROOT LOG makes a root whose apt works and in which no service starts by
# itself. LOG has what debootstrap says. leave_root takes its mounts away.
make_root() {
  local root=$1 log=$2 mirror attempt setting
  # The machine's own sources: they work wherever this is run.
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null \
    | sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p; s/^URIs: *\([^ ]*\).*/\1/p' \
    | grep -v security | head -1 || true)
  # A mirror that does not answer once is no reason to give up.
  for attempt in 1 2 3; do
    ! debootstrap --variant=minbase "$suite" "$root" "${mirror:-http://deb.debian.org/debian}" >"$log" 2>&1 || break
    [ "$attempt" -lt 3 ] || { tail -20 "$log" >&2; echo "debootstrap failed" >&2; return 1; }
    sleep 5
  done
  for setting in /etc/apt/apt.conf.d/* /etc/apt/apt.conf; do
    if [ -f "$setting" ] && grep -qi proxy "$setting"; then
      cp "$setting" "$root/etc/apt/apt.conf.d/99-$(basename "$setting")"
    fi
  done
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"
  mount --rbind /sys "$root/sys" && mount --make-rslave "$root/sys"
}

leave_root() {
  local mount
  for mount in dev proc sys run; do
    ! mountpoint -q "$1/$mount" || umount -R -l "$1/$mount"
  done
}
