#!/bin/bash
# Installs the deb on a clean Debian root and starts its agent there: what it
# depends on comes with it, files have the right modes, the agent begins a site
# and answers. Usage: test-deb.sh PACKAGE.deb (root)
set -euo pipefail

# shellcheck source=packaging/clean-root.sh
. "$(dirname "$0")/clean-root.sh"

package=$(readlink -f "$1")
root=$(mktemp -d /tmp/skerry-deb.XXXXXX)
agent=
cleanup() {
  [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
  [ -z "$agent" ] || wait "$agent" 2>/dev/null || true
  leave_root "$root"
  rm -rf --one-file-system "$root" "$root.log"
}
trap cleanup EXIT

fail() { echo "test-deb: $*" >&2; exit 1; }

echo "test-deb: a clean $suite in $root"
make_root "$root" "$root.log"
mount -t tmpfs tmpfs "$root/run"

cp "$package" "$root/tmp/skerry.deb"
enter=(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive
  ${http_proxy:+http_proxy=$http_proxy} ${https_proxy:+https_proxy=$https_proxy})
inside() { "${enter[@]}" "$@"; }
inside "${apt[@]}" update >"$root/tmp/apt.log" 2>&1 || { tail -20 "$root/tmp/apt.log" >&2; fail "apt-get update failed"; }
inside "${apt[@]}" install -y --no-install-recommends /tmp/skerry.deb >>"$root/tmp/apt.log" 2>&1 \
  || { tail -20 "$root/tmp/apt.log" >&2; fail "the package does not install"; }

[ "$(stat -c %a "$root/var/lib/skerry")" = 700 ] || fail "/var/lib/skerry is not 0700"
[ "$(stat -c %a "$root/etc/skerry/agent.yaml")" = 600 ] || fail "agent.yaml is not 0600"
[ -f "$root/lib/systemd/system/skerry.service" ] || [ -f "$root/usr/lib/systemd/system/skerry.service" ] || fail "there is no unit"
[ -s "$root/usr/share/bash-completion/completions/skerry" ] || fail "there is no shell completion"
inside containerd --version >/dev/null || fail "containerd did not come with it"

# As the unit would start it, but on loopback and on a port of its own.
printf 'name: clean\naddress: 127.0.0.1\nport: 17690\ngossipPort: 17691\n' >"$root/etc/skerry/agent.yaml"
"${enter[@]}" skerry agent >"$root/tmp/agent.log" 2>&1 & # not by the function: its shell would get the signal
agent=$!
inside skerry site init clean || { cat "$root/tmp/agent.log" >&2; fail "the agent does not begin a site"; }
status=$(inside skerry status) || true # not through a pipe: grep -q would close it early
grep -q 'Site: *clean' <<<"$status" || { echo "$status" >&2; cat "$root/tmp/agent.log" >&2; fail "skerry status does not show the node"; }

kill "$agent"; wait "$agent" || fail "the agent did not end in order"
agent=
inside dpkg --purge skerry >>"$root/tmp/apt.log" 2>&1 || { tail -20 "$root/tmp/apt.log" >&2; fail "the package does not go away"; }
[ ! -e "$root/var/lib/skerry" ] || fail "purge left /var/lib/skerry"
echo "test-deb: installed, began a site, removed"
