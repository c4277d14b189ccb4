#!/bin/sh
# $1 is `remove` (deb) or 0 (rpm) when the package goes for good; upgrades keep
# the agent running until the new one is there.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
  remove|0) systemctl disable --now skerry.service ;;
esac
