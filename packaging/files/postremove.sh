#!/bin/sh
# `purge` removes what the node knew; a plain remove keeps it.
set -e
if [ "$1" = purge ]; then
  rm -rf /var/lib/skerry /etc/skerry
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
