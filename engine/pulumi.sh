#!/bin/sh
# Written by `python -m engine link`: sets what you have not set, then runs the real pulumi.
set -eu
case ${XDG_STATE_HOME:-} in # as engine/folders.py has it
    /*) state=$XDG_STATE_HOME/cygnet/pulumi ;;
    *) state=$HOME/.local/state/cygnet/pulumi ;;
esac
credentials=${PULUMI_HOME:-$HOME/.pulumi}/credentials.json

if [ -z "${PULUMI_BACKEND_URL:-}${PULUMI_ACCESS_TOKEN:-}" ] &&
    ! grep -Eqs '"current": *"[^"]' "$credentials"; then # nobody is logged in
    (umask 077 && mkdir -p "$state")
    export PULUMI_BACKEND_URL="file://$state"
fi

if [ -z "${PULUMI_CONFIG_PASSPHRASE+set}${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ]; then
    if [ ! -e "$state/passphrase" ]; then
        (
            umask 077
            mkdir -p "$state"
            head -c 32 /dev/urandom | base64 >"$state/passphrase.$$"
            ln "$state/passphrase.$$" "$state/passphrase" 2>/dev/null || : # another first use won
            rm "$state/passphrase.$$"
        )
    fi
    export PULUMI_CONFIG_PASSPHRASE_FILE="$state/passphrase"
fi

export PULUMI_SKIP_UPDATE_CHECK="${PULUMI_SKIP_UPDATE_CHECK:-true}"
own_plugins=@OWN_PLUGINS@
if [ "$own_plugins" = yes ]; then # `python -m engine link` installed the plugins
    export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION="${PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION:-true}"
fi

# The language host takes the Python that PATH names.
PATH=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd):$PATH
export PATH
exec @PULUMI@ "$@"
