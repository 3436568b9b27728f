"""The login machine: it answers with its own key, and gives nothing to who has no account."""

import socket
from pathlib import Path

import pytest

from tests.live.login import Shell
from tests.live.stack import LiveStack


@pytest.fixture(autouse=True)
def _there_is_one(stack: LiveStack) -> None:
    if not stack.parts["login"]:
        pytest.skip("no login machine: cygnet:login is not enabled")


def test_it_answers(stack: LiveStack) -> None:
    host, _, port = stack.parts["login"]["address"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        assert connection.recv(8) == b"SSH-2.0-"


def test_an_account_that_is_not_there_is_refused(stack: LiveStack, tmp_path: Path) -> None:
    refused = Shell(stack, "nobody-of-this-name", "nothing", tmp_path).run("true")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_root_is_refused(stack: LiveStack, tmp_path: Path) -> None:
    assert "Permission denied" in Shell(stack, "root", "", tmp_path).run("true").stderr
