"""What Kubernetes' own command line does for us, with a kubeconfig that is in a file only meanwhile."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from components.errors import CygnetError
from engine import tools


def kubectl(kubeconfig: str, *arguments: str, seconds: float = 120) -> str:
    """Runs kubectl and returns what it prints.

    Raises:
        CygnetError: It failed, and the message is its own; or it did not end within `seconds`.
    """
    with _command(kubeconfig, *arguments) as command:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise CygnetError(f"kubectl {' '.join(arguments)}: no answer from Kubernetes in {seconds:g} s") from None
    if done.returncode:
        raise CygnetError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return done.stdout


@contextmanager
def forwarded(kubeconfig: str, pod: str, port: int, *, namespace: str) -> Iterator[int]:
    """A port of this computer's loopback that leads to a port of a pod's own loopback.

    It goes by way of Kubernetes' API and the pod's machine: network policies do not come into it.

    Raises:
        CygnetError: There is no such way.
    """
    arguments = ("port-forward", f"--namespace={namespace}", f"pod/{pod}", f":{port}", "--address=127.0.0.1")
    pipe = subprocess.PIPE
    with (
        _command(kubeconfig, *arguments) as command,
        subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process,
    ):
        try:
            said = next(iter(process.stdout or ()), "")
            if not (found := re.search(r"127\.0\.0\.1:(\d+) ->", said)):
                raise CygnetError(f"kubectl {' '.join(arguments)}: {said.strip()[-500:]}")
            yield int(found[1])
        finally:
            process.terminate()


@contextmanager
def _command(kubeconfig: str, *arguments: str) -> Iterator[list[str]]:
    with tempfile.NamedTemporaryFile("w", prefix="cygnet-kubeconfig-") as file:  # mode 600
        file.write(kubeconfig)
        file.flush()
        yield [str(tools.path("kubectl")), "--kubeconfig", file.name, *arguments]
