# Sourced by each of Spark's programs before it starts, with its words, where a session has a cluster.
# shellcheck shell=bash

# Where that is of daemons, a driver needs the very Spark that these have: the link in the file `daemons` leads to it.
if [ -r "${CYGNET_CLUSTER:-}/daemons" ] && [ "$(readlink -f "$(cat "$CYGNET_CLUSTER/daemons")")" != "$CYGNET_SPARK" ]; then
    echo "Spark refused: the cluster's Spark was replaced since this session began. Stop the session, and start it anew." >&2
    exit 1
fi

# Where that is a Hadoop with Kerberos, it takes drivers with a ticket only, and they would ask for a quarter of an hour.
# A driver without executors asks for none, and a history server reads the home.
case " $* " in
    *[\ =]local[[\ ]* | *.HistoryServer\ *) ;;
    *)
        if grep -qs '<name>hadoop.security.authentication</name><value>kerberos<' "${CYGNET_CLUSTER:-}/core-site.xml" &&
            ! klist -s; then
            echo "Spark refused: this session has no Kerberos ticket that is still good. Sign in again (File, Hub Control" \
                "Panel); a quarter of a minute later run the cell again. In a terminal klist shows the ticket." >&2
            exit 1
        fi
        ;;
esac
