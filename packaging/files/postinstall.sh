#!/bin/sh
# Starts the agent, which waits until this machine belongs to a site. After an
# upgrade the new agent takes over; containers go on running.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl enable skerry.service
systemctl restart skerry.service
