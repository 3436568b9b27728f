"""Runs notebooks in a session as `jupyter execute` does, and tells what they showed."""

import json
from dataclasses import dataclass
from typing import Any

from tests.live.kernel import Kernel
from tests.live.visitor import Visitor

# Runs in the session. It works on a copy of the tutorials' folder, so that a user's own stays as it is.
_RUN = """
import json, pathlib, shutil, subprocess, sys, time
home = pathlib.Path.home()
copy = home / ".{folder}-under-test"
if not copy.exists():
    shutil.copytree(home / {folder!r}, copy)
began = time.monotonic()
execute = ["jupyter", "execute", "--timeout={cell_seconds}", "--allow-errors", "--inplace", {name!r}]
done = subprocess.run(execute, cwd=copy, capture_output=True, text=True)
seconds = time.monotonic() - began
cells = json.loads((copy / {name!r}).read_text())["cells"]
outputs = [output for cell in cells for output in cell.get("outputs", [])]
print("notebook: " + json.dumps({{
    "seconds": seconds,
    "failure": done.stderr[-2000:] if done.returncode else "",
    "errors": [output for output in outputs if output["output_type"] == "error"],
    "not_run": [cell["id"] for cell in cells if cell["cell_type"] == "code" and not cell["execution_count"]],
    "text": "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream"),
    "images": sum("image/png" in output.get("data", {{}}) for output in outputs),
    "drawings": sum("JSROOT" in "".join(output.get("data", {{}}).get("text/html", "")) for output in outputs),
    "files": sorted(str(file.relative_to(copy)) for file in copy.rglob("results/*")),
}}))
"""

CLEAN = """
import pathlib, shutil
for copy in pathlib.Path.home().glob(".*-under-test"):
    shutil.rmtree(copy)
"""
"""What takes away the copy in which notebooks ran; Python for the session."""


@dataclass(frozen=True)
class Ran:
    """A notebook that has been run.

    Attributes:
        seconds: How long it took, with the start of its kernel.
        failure: What `jupyter execute` said when it could not go on; empty when it could.
        errors: Outputs of cells that raised.
        not_run: Ids of cells without a number.
        text: All that its cells printed.
        images: How many images it shows.
        drawings: How many interactive drawings it shows.
        files: What lies in the folder `results` afterwards, from this notebook and those before.
    """

    seconds: float
    failure: str
    errors: list[dict[str, Any]]
    not_run: list[str]
    text: str
    images: int
    drawings: int
    files: list[str]


def run_notebook(
    visitor: Visitor | Kernel, name: str, *, folder: str = "tutorials", seconds: float = 200, cell_seconds: int = 120
) -> Ran:
    """Runs one of the notebooks in the user's tutorials, or in another folder of the home; no cell takes longer.

    Raises:
        KernelError: The session has no tutorials, or not this one.
        websocket.WebSocketException: It did not end in time.
    """
    printed = visitor.run(_RUN.format(name=name, folder=folder, cell_seconds=cell_seconds), seconds=seconds)
    (line,) = (line for line in printed.splitlines() if line.startswith("notebook: "))
    return Ran(**json.loads(line.removeprefix("notebook: ")))
