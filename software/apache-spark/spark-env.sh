# Sourced by each of Spark's programs before it starts, where a session has a cluster.
# Where that is of daemons, a driver needs the very Spark that these have: the link in the file `daemons` leads to it.
# shellcheck shell=bash

if [ -r "${CYGNET_CLUSTER:-}/daemons" ] && [ "$(readlink -f "$(cat "$CYGNET_CLUSTER/daemons")")" != "$CYGNET_SPARK" ]; then
    echo "Spark refused: the cluster's Spark was replaced since this session began. Stop the session, and start it anew." >&2
    exit 1
fi
