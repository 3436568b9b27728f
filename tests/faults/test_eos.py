"""Homes are away: nothing that was acknowledged is lost, and those who work go on when they are back."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.live.stack import LiveStack
from tests.live.units import stopped
from tests.live.visitor import Visitor
from tests.live.waiting import until

RECORDS = 300
FOLDER = "/srv/eos"  # where the server has homes

# Each record counts when fsync has come back.
WRITE = f"""
import os, time
acknowledged = 0
with open("records", "wb", buffering=0) as file:
    for number in range({RECORDS}):
        file.write(number.to_bytes(4, "big") * 256)
        os.fsync(file.fileno())
        acknowledged += 1
        time.sleep(0.03)
print(acknowledged)
"""
CHECK = f"""
data = open("records", "rb").read()
print(data == b"".join(number.to_bytes(4, "big") * 256 for number in range({RECORDS})))
"""

WRITE_MUCH = """
import os
try:
    with open("much", "wb", buffering=0) as file:
        for _ in range(32):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    print("written")
except OSError as error:
    print(error.strerror)
"""


def test_a_server_that_is_killed_during_a_write_loses_nothing(
    stack: LiveStack, started: Callable[[str], Visitor]
) -> None:
    physicist = started("physicist")
    server = stack.host(stack.group("control_plane")[0])
    kernel = physicist.kernel()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(kernel.run, WRITE, seconds=200)
        time.sleep(4)
        server.check_output("systemctl kill --signal=KILL xrootd@cygnet")
        assert writing.result() == f"{RECORDS}\n"
    kernel.close()
    assert physicist.run(CHECK) == "True\n"
    assert server.service("xrootd@cygnet").is_running


def test_a_running_session_sees_its_home_again_when_its_client_was_killed(
    stack: LiveStack, started: Callable[[str], Visitor]
) -> None:
    physicist = started("physicist")
    kernel = physicist.kernel()
    kernel.run("open('kept.txt', 'w').write('kept')")
    machine = stack.host(stack.session_machine(physicist.name))
    machine.check_output("systemctl kill --signal=KILL xrdmount@user")
    read = (
        "import os\n"
        "try:\n    print(open(os.environ['HOME'] + '/kept.txt').read())\nexcept OSError as error:\n    print(error)"
    )
    until(lambda: kernel.run(read) == "kept\n", "the session sees its home", seconds=20)
    kernel.close()


def test_a_session_that_starts_waits_for_its_home(stack: LiveStack) -> None:
    """What it says when the minute for that is over is shown with its script, how the hub tells it in test_cvmfs."""
    physicist = Visitor(stack, "physicist")
    try:
        # Stopped as well: what repairs it.
        with stopped([stack.host(name) for name in stack.group("worker")], "cygnet-health", "xrdmount@user"):
            answer = physicist.ask_for_session()  # comes when the session is ready, or after 10 s
            assert (answer.status_code, physicist.is_ready()) == (202, False)
            assert stack.session_pod(physicist.name), "it was not refused"
        until(physicist.is_ready, "the session has started", seconds=60)
        assert physicist.run("import os; print(os.access(os.environ['HOME'], os.W_OK))") == "True\n"
    finally:
        physicist.stop()


def test_a_full_disk_of_homes_is_an_error_and_passes(stack: LiveStack, started: Callable[[str], Visitor]) -> None:
    physicist = started("physicist")
    server = stack.host(stack.group("control_plane")[0])
    kernel = physicist.kernel()
    kernel.run("open('kept.txt', 'w').write('kept')")
    free_mib = int(server.check_output(f"df --output=avail --block-size=1M {FOLDER} | tail -1"))
    try:
        # What is left is less than what is going to be written.
        server.check_output(f"fallocate --length {free_mib - 16}MiB {FOLDER}/filler")
        assert kernel.run(WRITE_MUCH, seconds=60) == "No space left on device\n"
        assert kernel.run("print(open('kept.txt').read())") == "kept\n"
    finally:
        server.check_output(f"rm --force {FOLDER}/filler")
    until(lambda: kernel.run(WRITE_MUCH, seconds=60) == "written\n", "there is room again", seconds=60)
    kernel.run("import os; os.remove('much')")
    kernel.close()
