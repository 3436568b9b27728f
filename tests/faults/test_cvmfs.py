"""Software is away: those who start then are told why, and those who work go on when it is back."""

from collections.abc import Callable

import pytest
from requests import RequestException

from tests.live.stack import LiveStack
from tests.live.units import stopped
from tests.live.visitor import Visitor
from tests.live.waiting import until

READ = "import os; print(os.path.exists(os.environ['CYGNET_VIEW'] + '/setup.sh'))"


@pytest.fixture
def unit(stack: LiveStack) -> str:
    """The client of the stack's own repository."""
    return f"swfs@{stack.parts['software']['repository']}.service"


def test_a_session_without_its_software_says_so(stack: LiveStack, unit: str) -> None:
    physicist = Visitor(stack, "physicist")
    # Stopped as well: what repairs it.
    with stopped([stack.host(name) for name in stack.group("worker")], "cygnet-health", unit):
        answer = physicist.ask_for_session(release="stable")
        # The hub answers when the session has failed, or after 10 s, and tells the rest on the page of its progress.
        said = answer.text + (physicist.progress() if answer.status_code == 202 else "")
        assert "is not there on the machine of this session" in said, said
        until(lambda: not physicist.server(), "the hub has given that session up", seconds=60)
    physicist.start()
    physicist.stop()


def test_a_running_session_sees_software_again_when_its_client_comes_back(
    stack: LiveStack, unit: str, started: Callable[[str], Visitor]
) -> None:
    physicist = started("physicist")
    machine = stack.host(stack.session_machine(physicist.name))
    assert physicist.run(READ) == "True\n"
    machine.check_output(f"systemctl kill --signal=KILL {unit}")
    until(lambda: machine.service(unit).is_running, "the client runs again", seconds=30)
    # A kernel is started from there, too.
    kernel = until(physicist.kernel, "a kernel starts", seconds=30, through=RequestException)
    until(lambda: kernel.run(READ) == "True\n", "the session sees the software", seconds=30)
    kernel.close()
