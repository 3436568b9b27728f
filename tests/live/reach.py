"""What is reached by TCP from where code of a session runs."""

import json
from collections.abc import Sequence

from tests.live.kernel import Kernel
from tests.live.visitor import Visitor

_ATTEMPTS = """\
import json, socket
from concurrent.futures import ThreadPoolExecutor

def attempt(target):
    try:
        with socket.create_connection(target, timeout=4):
            return "open"
    except OSError as error:
        return type(error).__name__

def attempts(targets):
    with ThreadPoolExecutor(len(targets)) as pool:
        return list(pool.map(attempt, targets))

"""
_HERE = "print(json.dumps([attempts({targets})]))"
_ON_EXECUTORS = "print(json.dumps(sc.parallelize(range(2), 2).map(lambda _: attempts({targets})).collect()))"


def reached(session: Visitor | Kernel, targets: Sequence[tuple[str, int]]) -> list[str]:
    """What comes of it for each host and port: "open", or the name of an error."""
    (row,) = _run(session, _HERE, targets)
    return row


def reached_by_executors(notebook: Kernel, targets: Sequence[tuple[str, int]]) -> list[list[str]]:
    """The same from executors of the driver `sc`, a row for each of two tasks."""
    return _run(notebook, _ON_EXECUTORS, targets)


def _run(session: Visitor | Kernel, code: str, targets: Sequence[tuple[str, int]]) -> list[list[str]]:
    said = session.run(_ATTEMPTS + code.format(targets=repr(list(targets))), seconds=90)
    rows: list[list[str]] = json.loads(said.splitlines()[-1])
    return rows
