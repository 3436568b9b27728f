"""What is compared is alike."""

import re
import runpy
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks import tofu
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
