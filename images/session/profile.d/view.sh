# Login shells start with an environment of their own; this is start-session's.
[ -z "${CYGNET_VIEW:-}" ] || . "$CYGNET_VIEW/setup.sh"
[ -z "${CYGNET_SPARK:-}" ] || . "$CYGNET_SPARK/setup.sh"
case "${CYGNET_SCRIPT:-}" in
    "") ;;
    "~/"*) . "$HOME/${CYGNET_SCRIPT#??}" ;;
    *) . "$CYGNET_SCRIPT" ;;
esac
