# To be sourced, by sh or bash: makes this view's software the session's. Doing it twice is harmless.
# shellcheck shell=sh disable=SC2154,SC3028,SC3054 # eval assigns; only bash is asked for BASH_SOURCE

# The view is where this file is, and not the link that led to it, which leads to another view one day. Bash says where
# that is, other shells have it open as long as they read it.
if [ -n "${BASH_VERSION:-}" ]; then
    CYGNET_VIEW=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
else
    read -r cygnet_shell _ < /proc/self/stat
    CYGNET_VIEW=$(readlink "/proc/$cygnet_shell/fd/"* | sed -n 's|/setup\.sh$||p' | tail -n 1)
    unset cygnet_shell
fi
export CYGNET_VIEW

# What a user adds to a release (`pip install --user`) is for that release, whichever view of it is the newest; in R it is
# for the release's version of R (%v), too.
cygnet_release=${CYGNET_VIEW##*/}
export PYTHONUSERBASE="$HOME/.local/cygnet/${cygnet_release%-*}"
export R_LIBS_USER="$PYTHONUSERBASE/lib/R/%v"

cygnet_first() { # VARIABLE FOLDER: the folder becomes the first of the variable's list, unless it is in there
    eval "cygnet_list=\${$1:-}"
    case ":$cygnet_list:" in
        *":$2:"*) ;;
        *) eval "export $1=\$2\${cygnet_list:+:\$cygnet_list}" ;;
    esac
}
cygnet_first PATH "$CYGNET_VIEW/lib/python3.13/site-packages/ROOT/bin" # hadd, rootls, rootcling
cygnet_first PATH "$CYGNET_VIEW/bin"
cygnet_first PATH "$PYTHONUSERBASE/bin"
cygnet_first PYTHONPATH "$CYGNET_VIEW/lib/python3.13/startup" # it puts the packages in their place
cygnet_first JUPYTER_PATH "$CYGNET_VIEW/share/jupyter"
unset -f cygnet_first
unset cygnet_list cygnet_release
