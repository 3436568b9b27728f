"""What is compared is alike."""

import json
import re
import runpy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks import fifty_starts, tofu
from engine import kinds
from tests.unit import program

FEW = program.PROJECT / "tests/testcloud/few/__main__.py"
MACHINES = {
    "public_key": "ssh-ed25519 AAAA",
    "user_data": "#cloud-config\n",
    "openstack": {"cloud": "demo", "image": "debian-12"},
    "flavors": ["fake"] * 3,
}


def test_opentofu_is_asked_for_what_the_stack_is_asked_for() -> None:
    table = (kinds.HERE / "go/pulumi-resource-openstack/main.go").read_text()
    tokens = dict(re.findall(r'"(openstack_\w+)":\s+"(\w+/\w+:[A-Z]\w+)"', table))
    wanted = Counter(
        (tokens[type_], _literal(one, index), _keys(one))
        for type_, named in tofu.declared("servers", MACHINES)["resource"].items()
        for one in named.values()
        for index in range(one.get("count", 1))
    )
    engine = program.run("servers", {"cygnet:machines": MACHINES}, main=_few)
    asked = Counter(
        (one.type.removeprefix("openstack:"), _literal(one.inputs, 0), _keys(one.inputs))
        for one in engine.asked
        if one.type.startswith("openstack:")
    )
    assert asked == wanted
    assert asked.total() == 13 + len(MACHINES["flavors"])


def _few() -> None:
    runpy.run_path(str(FEW))


def _literal(inputs: Mapping[str, Any], index: int) -> str:
    """What tells one from others of its type: its name in the cloud, or the port that it opens."""
    told = inputs.get("name") or inputs.get("description") or inputs.get("portRangeMin", inputs.get("port_range_min"))
    return str(told).replace("${count.index + 1}", str(index + 1)).removesuffix(".0")


def _keys(inputs: Mapping[str, Any]) -> frozenset[str]:
    """Names of inputs as Terraform has them, but for a plural."""
    words = {re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", key).rstrip("s") for key in inputs}
    return frozenset(words - {"count", "depends_on"})


def test_who_waited_how_long_and_who_in_vain() -> None:
    told = fifty_starts.Started([float(seconds) for seconds in range(1, 102)], ["full"]).numbers("x_")
    assert told == {
        "x_p50_seconds": 51,
        "x_p95_seconds": 96,
        "x_p99_seconds": 100,
        "x_most_seconds": 101,
        "x_failed": 1,
    }
    assert fifty_starts.Started([], ["full"] * 50).numbers()["failed"] == 50


class Person:
    """Somebody whose start the hub answers so."""

    def __init__(self, status: int, *events: dict[str, Any]) -> None:
        self._status, self._events = status, events

    def ask_for_session(self) -> Any:
        return type("Answer", (), {"status_code": self._status, "text": "full"})

    def progress(self) -> str:
        return "\n\n".join(f"data: {json.dumps(event)}" for event in self._events)


@pytest.mark.parametrize(
    ("person", "trouble"),
    [
        (Person(201), ""),
        (Person(202, {"progress": 50}, {"progress": 100, "ready": True}), ""),
        (Person(202, {"progress": 50}, {"progress": 100, "failed": True, "message": "no"}), '"message": "no"'),
        (Person(202), "no progress"),
        (Person(429), "429 full"),
    ],
)
def test_a_start_has_succeeded_when_the_page_hears_so(person: Any, trouble: str) -> None:
    found = fifty_starts._session_of(person)
    assert trouble in found
    assert bool(found) == bool(trouble)
