# Login shells start with an environment of their own; this is start-session's.
[ -z "${CYGNET_VIEW:-}" ] || . "$CYGNET_VIEW/setup.sh"
