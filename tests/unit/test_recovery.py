"""What is compared before Pulumi goes on: state and cloud, and what is adopted as what."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from components.clouds import cloud_removal, cloud_resources
from components.clouds.cloud_resources import KINDS, CloudResource
from operations.adoption import Wanted
from operations.cloud_state import State

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


def there(kind: str, name: str, minutes: float | None = 5, same: str | None = None) -> CloudResource:
    """One of the cloud, that many minutes old."""
    created = None if minutes is None else NOW - timedelta(minutes=minutes)
    return CloudResource(kind, f"id of {name}", name, name if same is None else same, created=created)


def resource(kind: str, name: str, /, **inputs: Any) -> dict[str, Any]:
    """One of a state."""
    type_ = KINDS[kind].type
    return {"urn": f"urn:pulumi:a::cygnet::{type_}::{name}", "type": type_, "id": f"id of {name}", "inputs": inputs}


def creating(kind: str, name: str) -> dict[str, Any]:
    return {"type": "creating", "resource": resource(kind, name, name=name)}


# The state


def test_what_the_state_does_not_know_is_told_by_type_and_id() -> None:
    state = State([resource("server", "one"), resource("volume", "two")], [], NOW)
    found = [there("server", "one"), there("server", "two"), there("volume", "two")]
    assert [str(one) for one in state.unknown(found)] == ["server two"]


def test_what_the_cloud_does_not_have_is_told() -> None:
    state = State([resource("server", "one"), resource("volume", "two")], [], NOW)
    assert state.missing([there("server", "one")]) == ["volume two (id of two)"]


def test_what_waits_for_its_replacement_is_not_missed() -> None:
    assert State([{**resource("server", "one"), "pendingReplacement": True}], [], NOW).missing([]) == []


@pytest.mark.parametrize(
    ("one", "removed"),
    [
        (there("server", "new"), True),
        (there("server", "other"), False),
        (there("server", "new", minutes=120), False),
        (there("key pair", "new", minutes=None), True),
        (there("volume", "new"), False),
    ],
    ids=["the one", "of another name", "one that is older", "of unknown age, without data", "with data, perhaps"],
)
def test_only_what_was_being_made_is_interrupted(one: CloudResource, removed: bool) -> None:
    state = State([], [creating("server", "new"), creating("key pair", "new"), creating("volume", "new")], NOW)
    assert bool(state.interrupted([one])) is removed


def test_what_was_being_removed_is_not_taken_for_new() -> None:
    state = State([], [{**creating("server", "old"), "type": "deleting"}], NOW)
    assert state.interrupted([there("server", "old")]) == []


def test_a_rule_is_known_by_what_it_lets_in() -> None:
    rule = {"securityGroupId": "g", "direction": "ingress", "protocol": "tcp", "portRangeMin": 22}
    type_ = KINDS["security rule"].type
    everywhere = cloud_resources.same(type_, {**rule, "remoteIpPrefix": "0.0.0.0/0"})
    assert everywhere == cloud_resources.same(type_, rule)
    assert everywhere != cloud_resources.same(type_, {**rule, "remoteIpPrefix": "192.0.2.0/24"})


# Adoption


SPECS: dict[str, dict[str, Any]] = {
    "machines": {"type": "cygnet:index:Machines", "name": "machines", "component": True},
    "cloud": {"type": "pulumi:providers:openstack", "name": "cloud", "parent": "machines"},
    "homes": {
        "type": KINDS["volume"].type,
        "name": "homes",
        "id": "<PLACEHOLDER>",
        "parent": "machines",
        "provider": "cloud",
    },
    "machinesSecGroup": {
        "type": KINDS["security group"].type,
        "name": "machinesSecGroup",
        "logicalName": "machines",
        "parent": "machines",
        "provider": "cloud",
    },
}
"""As Pulumi writes them."""
MACHINES = "urn:pulumi:a::cygnet::cygnet:index:Machines::machines"
WANTED = Wanted(
    {"there": "urn:there"},
    SPECS,
    {
        (SPECS["machines"]["type"], "machines"): {"urn": MACHINES},
        (SPECS["homes"]["type"], "homes"): {"urn": "", "inputs": {"name": "cygnet-a-homes"}},
        (SPECS["machinesSecGroup"]["type"], "machines"): {"urn": "", "inputs": {"name": "cygnet-a"}},
    },
)


def test_what_is_declared_is_found_by_type_and_name() -> None:
    assert WANTED.spec(there("volume", "cygnet-a-homes")) == SPECS["homes"]
    assert WANTED.spec(there("security group", "cygnet-a")) == SPECS["machinesSecGroup"]
    assert WANTED.spec(there("server", "cygnet-a-homes")) is None


def test_components_are_imported_first_then_the_provider_and_what_it_reads() -> None:
    first, second = WANTED.import_files({"homes": "9d2f"})
    assert first == {"nameTable": {"there": "urn:there"}, "resources": [SPECS["machines"]]}
    assert second == {
        "nameTable": {"there": "urn:there", "machines": MACHINES},
        "resources": [SPECS["cloud"], {**SPECS["homes"], "id": "9d2f"}],
    }


def test_nothing_is_imported_where_nothing_is_adopted() -> None:
    assert list(WANTED.import_files({})) == []


def test_every_kind_can_be_removed() -> None:
    assert cloud_removal.REMOVALS.keys() == KINDS.keys()
