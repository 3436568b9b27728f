"""`cygnet audit`: who signed in, was refused, started or stopped what, opened the page of files, logged in by SSH."""

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from components.errors import CygnetError
from components.kubectl import kubectl
from operations.stack import Stack

NAME = "audit"
HELP = "tell who signed in, was refused, started or stopped what, opened files or logged in, and from where"

_PLACES = (
    ("hub", "deployment/hub", "/srv/jupyterhub/audit"),
    ("login", "daemonset/login", "/var/log/cygnet"),
)
"""Where events are: namespace, what of it is asked, and the folder there."""

_SECONDS = 600  # ninety days of a large service are much to read

Event = Mapping[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is shown, and how."""
    parser.add_argument("--days", type=float, default=7, help="how far back (default: 7; kept are 90)")
    parser.add_argument("--user", help="only what this user did, or was done to their session")
    parser.add_argument("--json", action="store_true", help="the events themselves, a JSON object a line")


def run(options: argparse.Namespace) -> None:
    """Prints the events, the oldest first.

    Raises:
        CygnetError: The stack is not up, or its hub cannot be asked.
    """
    outputs = Stack(options.stack).outputs()
    places = [place for place in _PLACES if place[0] == "hub" or outputs["parts"]["login"]]
    lines = [line for place in places for line in _lines(options.stack, outputs["kubeconfig"], place)]
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=options.days)
    for event in chosen(read(lines), since, options.user):
        print(json.dumps(event) if options.json else sentence(event))


def read(lines: Iterable[str]) -> Iterator[Event]:
    """The events in lines of JSON. How many lines are none, of which a crash left a half, is said on standard error."""
    broken = 0
    for line in lines:
        try:
            event = json.loads(line)
            when(event)
        except (ValueError, TypeError, KeyError):
            broken += 1
        else:
            yield event
    if broken:
        print(f"left out: {broken} {'line' if broken == 1 else 'lines'} that cannot be read", file=sys.stderr)


def chosen(events: Iterable[Event], since: dt.datetime, user: str | None = None) -> list[Event]:
    """The events since then, of this user if one is named, in the order of time."""
    known = [one for one in events if user is None or user in (one["who"], one.get("of"))]
    return sorted((one for one in known if when(one) >= since), key=when)


def when(event: Event) -> dt.datetime:
    """The time of an event. Jupyter writes UTC twice, as +00:00Z."""
    return dt.datetime.fromisoformat(event["__timestamp__"].removesuffix("Z")).replace(tzinfo=dt.UTC)


def sentence(event: Event) -> str:
    """An event as a person reads it.

    >>> sentence({"__timestamp__": "2026-11-21T10:00:00+00:00Z", "who": "ada", "from": "192.0.2.7", "what": "sign in",
    ...     "result": "refused", "why": "wrong name or password"})
    '2026-11-21 10:00:00  ada  192.0.2.7  sign in: refused, wrong name or password'
    """
    of = f" of {event['of']}" if "of" in event else ""
    chosen = "".join(f", {name} {value}" for name, value in event.get("choices", {}).items())
    why = f", {event['why']}" if "why" in event else ""
    asked = f"{event['who'] or '(unknown)'}  {event['from'] or '-'}"
    return f"{when(event):%Y-%m-%d %H:%M:%S}  {asked}  {event['what']}{of}: {event['result']}{chosen}{why}"


def _lines(stack: str, kubeconfig: str, place: Sequence[str]) -> list[str]:
    namespace, pod, folder = place
    read = f"find {folder} -name '*.jsonl*' -exec grep --no-filename '' {{}} +"  # each file ends with a line's end
    try:
        said = kubectl(kubeconfig, "--namespace", namespace, "exec", pod, "--", "sh", "-c", read, seconds=_SECONDS)
        return said.splitlines()
    except CygnetError as error:
        raise CygnetError(
            f"stack {stack}: what {namespace} recorded cannot be read: {error}. It is kept on the storage; run this "
            f"command again when the pod runs ('kubectl get pods --namespace {namespace}')"
        ) from error
