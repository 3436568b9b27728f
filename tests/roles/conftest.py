"""One machine for all tests of roles, with everything on it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from testinfra.host import Host

from components.local_machines import host
from tests.roles.node import MEMORY_MIB, NAME, Node, Played


@dataclass(frozen=True)
class Prepared:
    """A machine on which everything was run twice."""

    node: Node
    first: Played
    second: Played


@pytest.fixture(scope="module")  # it has to be gone when a stack compares this computer before and after
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    assert host.findings({NAME: MEMORY_MIB}) == [], "this host cannot carry local machines"
    node = Node.up(tmp_path_factory.mktemp("node"))
    try:
        yield Prepared(node, node.play(), node.play())
    finally:
        node.down()


@pytest.fixture(scope="module")
def node(prepared: Prepared) -> Node:
    assert prepared.first.successful, prepared.first.failures
    return prepared.node


@pytest.fixture(scope="module")
def inside(node: Node) -> Host:
    """The machine, over SSH."""
    return node.inside()
