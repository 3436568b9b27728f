"""Fifty people who start a session within one minute: with the image on the machines, and without it, in one run.

Without it is how JupyterHub starts on Kubernetes whose nodes were not prepared: the first start on each machine pulls
the image, and all others there wait for it. Hub, machines and sessions are the same for both; so is that homes are new,
for each half has people of its own.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import requests

from components.errors import CygnetError
from components.session_image import NAME
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

PEOPLE: Final = 50
WITHIN_SECONDS: Final = 60
PATIENCE_SECONDS: Final = 600
_NOWHERE: Final = {"cygnet.io/benchmark": "nowhere"}
# A container that has ended would keep what it was made of.
_REMOVE: Final = 'test -z "$(crictl ps --all --quiet --image %s)" && { crictl rmi %s; ! crictl inspecti --quiet %s; }'


@dataclass(frozen=True)
class Started:
    """What came of the starts: the seconds of those that succeeded, and why others did not."""

    waited: Sequence[float]
    failed: Sequence[str]

    def numbers(self, prefix: str = "") -> dict[str, float]:
        """How long people waited, half of them at most, 95 and 99 of a hundred; and how many in vain."""
        cuts = statistics.quantiles(self.waited, n=100, method="inclusive") if len(self.waited) > 1 else [0.0] * 99
        return {
            **{f"{prefix}p{one}_seconds": round(cuts[one - 1], 1) for one in (50, 95, 99)},
            f"{prefix}most_seconds": round(max(self.waited, default=0.0), 1),
            f"{prefix}failed": len(self.failed),
        }


def fifty_starts(stack: LiveStack, _repetitions: int) -> Mapping[str, float]:
    """From the order to start, one each 1.2 s, until the hub tells the page that the session is ready."""
    seats = [name for name in stack.accounts if name.startswith("seat-")]
    if len(seats) < 2 * PEOPLE:
        raise CygnetError(f"stack {stack.name} has {len(seats)} seats; set 'seats: {2 * PEOPLE}' under cygnet:auth")
    with_image = _start(stack, seats[:PEOPLE])
    print(f"with the image: {with_image.numbers()}", file=sys.stderr, flush=True)
    with _image_taken_away(stack):
        without = _start(stack, seats[PEOPLE : 2 * PEOPLE])
    found = {**with_image.numbers(), **without.numbers("without_image_")}
    ratios = {
        f"p{one}_without_image_to_with": round(
            found[f"without_image_p{one}_seconds"] / max(found[f"p{one}_seconds"], 0.1), 2
        )
        for one in (50, 95, 99)
    }
    return {**found, **ratios}


def _start(stack: LiveStack, names: Sequence[str]) -> Started:
    people = [Visitor(stack, name) for name in names]
    if not all(one.token for one in people):  # signing in is measured by fifty_sign_ins
        raise CygnetError(f"not all of {', '.join(names)} could sign in to {stack.url}")

    def come(number: int) -> float | str:
        time.sleep(number * WITHIN_SECONDS / PEOPLE)
        began = time.monotonic()
        try:
            trouble = _session_of(people[number])
        except (AssertionError, requests.RequestException) as error:
            trouble = repr(error)
        return trouble or time.monotonic() - began

    with ThreadPoolExecutor(PEOPLE) as pool:
        try:
            came = list(pool.map(come, range(PEOPLE)))
        finally:
            list(pool.map(lambda one: one.stop(seconds=PATIENCE_SECONDS), people))
    failed = [trouble for trouble in came if isinstance(trouble, str)]
    for trouble in sorted(set(failed))[:5]:
        print(f"failed: {trouble}", file=sys.stderr)
    return Started([one for one in came if isinstance(one, float)], failed)


def _session_of(person: Visitor) -> str:
    """Returns when the session is ready, or with what kept it from that."""
    answer = person.ask_for_session()
    if answer.status_code == 201:
        return ""
    if answer.status_code != 202:
        return f"{answer.status_code} {answer.text}"
    last = ""
    for last in person.progress().splitlines():  # it ends with the start
        if '"ready": true' in last:
            return ""
    return last or "the hub told of no progress"


@contextmanager
def _image_taken_away(stack: LiveStack) -> Iterator[None]:
    """For a while no machine for sessions has their image, and nothing brings it but sessions."""
    (found,) = [one for one in stack.items("daemonsets") if one["metadata"]["name"] == NAME]
    where = ("daemonset", NAME, "--namespace", found["metadata"]["namespace"])
    pod = found["spec"]["template"]["spec"]
    image = _image_of_sessions(pod)

    def go(selector: Mapping[str, str | None]) -> None:
        patch = {"spec": {"template": {"spec": {"nodeSelector": selector}}}}
        stack.kubectl("patch", *where, "--type=merge", f"--patch={json.dumps(patch)}")

    go(_NOWHERE)
    try:
        chosen = ("--namespace", found["metadata"]["namespace"], f"--selector=app.kubernetes.io/name={NAME}")
        until(lambda: not stack.items("pods", *chosen), "its pods are gone", seconds=60)
        for name in stack.group("worker"):
            machine = stack.host(name)
            until(
                lambda machine=machine: machine.run(_REMOVE, *[image] * 3).rc == 0,
                f"the image is not on {name}",
                seconds=120,
                every=2,
            )
        yield
    finally:
        go(dict.fromkeys(_NOWHERE))
        stack.kubectl("rollout", "status", *where, "--timeout=300s", seconds=310)


def _image_of_sessions(pod: Mapping[str, Any]) -> str:
    """The image that a pod of those brings."""
    return str([*pod.get("initContainers", []), *pod["containers"]][0]["image"])
