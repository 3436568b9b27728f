"""The test cloud for the tests of this folder: one that is up, or one of their own."""

import os
from collections.abc import Iterator

import pytest
from openstack.config import OpenStackConfig
from openstack.connection import Connection

from components.sources import files
from engine import cache
from engine.progress import Progress
from tests.testcloud import cloud, names

collect_ignore = ["services"]  # they need packages that only the cloud has


@pytest.fixture(scope="package")  # it has to be gone when a stack compares this computer before and after
def testcloud(pytestconfig: pytest.Config) -> Iterator[None]:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    one_at_a_time = cache.root() / "locks" / f"tests-of-{names.WORD}"  # not the name of its stack's
    with files.locked(one_at_a_time, waiting=lambda: print("waiting for another run of these tests")):
        if cloud.is_up():
            yield
            return
        try:
            with capture.global_and_fixture_disabled():
                progress = Progress()
                progress.say(f"test cloud: up after {cloud.up(progress, owner=os.getpid()):.0f} s")
            yield
        finally:
            cloud.down()
        assert cloud.leftovers() == []


@pytest.fixture(scope="package")
def demo(testcloud: None) -> Connection:  # noqa: ARG001 - has to be up
    """A user of the cloud, without any privileges."""
    return _connected("demo")


@pytest.fixture(scope="package")
def admin(testcloud: None) -> Connection:  # noqa: ARG001 - has to be up
    return _connected("admin")


def _connected(user: str) -> Connection:
    settings = OpenStackConfig(config_files=[str(names.CLOUDS)], load_envvars=False)
    return Connection(config=settings.get_one(user))
