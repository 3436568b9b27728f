"""The hub's own code in a process of its own, as the hub's user of a Kubernetes API: asked line by line, in JSON."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.unit import program


@contextmanager
def hubs_code(code: str, settings: Any, kubeconfig: Path) -> Iterator[Callable[..., str]]:
    """Asks it to do something: `ask("admit", "ada")` gives the line that it prints.

    Args:
        code: What runs; it reads lines from its standard input, a JSON list each, and prints a line for each.
        settings: Its argument, as JSON.
        kubeconfig: With which it comes to the API.
    """
    environment = {"PYTHONPATH": str(program.PROJECT / "images/hub"), "KUBECONFIG": str(kubeconfig)}
    argv = [sys.executable, "-c", code, json.dumps(settings)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        asks, answers = process.stdin, process.stdout

        def ask(*what: Any) -> str:
            asks.write(json.dumps(what) + "\n")
            asks.flush()
            return answers.readline().strip()

        yield ask
        asks.close()
