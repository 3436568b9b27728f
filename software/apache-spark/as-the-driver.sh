# To be sourced by what starts an executor: takes the very software that its driver has, which the driver's variables
# CYGNET_VIEW and CYGNET_SPARK name, or ends with the reason.
# shellcheck shell=bash

# refuse WORDS...: who looks into the executor's log reads them.
refuse() {
    echo "executor refused: $*" >&2
    # What is refused is tried again, by some clusters at once.
    sleep "${CYGNET_REFUSED_SECONDS:-0}"
    exit 1
}

for software in "$CYGNET_VIEW" "$CYGNET_SPARK"; do
    [ -r "$software/setup.sh" ] || refuse "$software, which the driver has, is not on the machine of this executor." \
        "The software may have been replaced since the session began: start the session anew."
done
unset CYGNET_CLUSTER
# shellcheck source=/dev/null # it comes with the release
. "$CYGNET_VIEW/setup.sh"
# shellcheck source=/dev/null # likewise
. "$CYGNET_SPARK/setup.sh"
