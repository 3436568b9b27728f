"""Makes state and cloud agree before Pulumi goes on: what a killed or failed run left is removed, adopted, or told.

Without it, Pulumi would make a second server beside the one that it does not know.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

from openstack.connection import Connection

from components.clouds import cloud_removal, cloud_resources
from components.clouds.cloud_resources import KINDS, CloudResource
from components.errors import CygnetError
from operations import adoption
from operations.cloud_state import CREATING, State, cloud_of
from operations.stack import Stack

_SETTLED_SECONDS = 3.0
_SETTLE_SECONDS = 300.0


def recover(stack: Stack) -> list[str]:
    """Makes state and cloud agree before an update; returns what `pulumi up` has to be told.

    Raises:
        CygnetError: The cloud cannot be asked, or has what Pulumi would make a second time.
    """
    cloud = cloud_of(stack)
    if cloud is None:
        return []
    undo_what_was_interrupted(stack, cloud)
    state, found = State.of(stack), cloud_resources.resources(cloud, stack.name)
    if unknown := state.unknown(found):
        _refuse_second_ones(stack, adoption.adopt(stack, unknown))
    return [f"--replace={urn}" for urn in _never_ready(stack, state, found)]


def faults(stack: Stack) -> str:
    """What the cloud says of what it could not make; Pulumi's provider tells that something is so, and not why."""
    with suppress(CygnetError):  # this belongs to an error that says more
        if cloud := cloud_of(stack):
            found = cloud_resources.resources(cloud, stack.name)
            return "".join(f"\n{one} ({one.id}) is in {one.status}: {one.fault}" for one in found if one.fault)
    return ""


def undo_what_was_interrupted(stack: Stack, cloud: Connection) -> None:
    """Removes what was being made, and reads what was being changed or removed, when Pulumi was killed.

    Raises:
        CygnetError: The cloud cannot be asked.
    """
    state = State.of(stack)
    if not state.pending:
        return
    found = settled(cloud, stack.name)
    if left := state.interrupted(state.unknown(found)):
        print(f"made by a 'pulumi' of stack {stack.name} that was killed, before it could write it down:", flush=True)
        cloud_removal.remove(cloud, left, _say)
    changed = {one["resource"]["urn"] for one in state.pending if one["type"] != CREATING}
    known = [one["urn"] for one in state.in_cloud if one["urn"] in changed]
    # A refresh without any target would read everything, the cluster's contents among it.
    _refresh(stack, known or [one["urn"] for one in state.resources[:1]])


def _refresh(stack: Stack, urns: Sequence[str]) -> None:
    targets = [f"--target={urn}" for urn in urns]
    stack.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates", *targets, capture=True)


def settled(cloud: Connection, name: str) -> list[CloudResource]:
    """What a stack has in a cloud, when nothing comes, goes or changes any more: a killed request may still be at work.

    Raises:
        CygnetError: Something does not come to an end.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    found = cloud_resources.resources(cloud, name)
    while True:
        time.sleep(_SETTLED_SECONDS)
        before, found = found, cloud_resources.resources(cloud, name)
        busy = [one for one in found if one.busy]
        if found == before and not busy:
            return found
        if time.monotonic() > deadline:
            stuck = ", ".join(f"{one} ({one.id}) is {one.status}" for one in busy or found)
            raise CygnetError(
                f"{stuck} since {_SETTLE_SECONDS:.0f} s, and the cloud does not go on. Ask its operators (`openstack "
                "server show ID` tells more), then run the same command again."
            )


def _refuse_second_ones(stack: Stack, refused: Sequence[CloudResource]) -> None:
    if refused:
        rows = "\n".join(f"  {one} ({one.id}): {KINDS[one.kind].not_adopted}" for one in refused)
        raise CygnetError(
            f"the cloud has what the state of stack {stack.name} does not know, and what Pulumi would make a second "
            f"time:\n{rows}\nA run that failed, or a state that was lost, leaves this. If you do not need what is on "
            f"them, `cygnet leftovers {stack.name} --remove` removes them for good; then run the same command again."
        )


def _never_ready(stack: Stack, state: State, found: Sequence[CloudResource]) -> list[str]:
    """The URNs of what the cloud could not make, and keeps; Pulumi alone would take it as made.

    What was ready after all, and only Pulumi did not see it, is read again.
    """
    failed = {one.id for one in found if one.status.upper() == "ERROR"}
    begun = [one for one in state.in_cloud if one.get("initErrors")]
    if unseen := [one["urn"] for one in begun if one["id"] not in failed]:
        _refresh(stack, unseen)
    return [one["urn"] for one in begun if one["id"] in failed]


def _say(line: str) -> None:
    print(f"  {line}", flush=True)
