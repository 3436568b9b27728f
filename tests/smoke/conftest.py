"""What smoke tests look at the stack with. They change nothing, and may run against a service in use."""

from collections.abc import Mapping

import pytest
import requests
from testinfra.host import Host

from tests.live.stack import LiveStack
from tests.live.visitor import http_session


@pytest.fixture(scope="session")
def hosts(stack: LiveStack) -> Mapping[str, Host]:
    """Every machine by name, over SSH."""
    return {name: stack.host(name, keep_seconds=5) for name in stack.machines}


@pytest.fixture
def http(stack: LiveStack) -> requests.Session:
    """HTTP that trusts the stack's authority and nobody else."""
    return http_session(stack.ca_file)
