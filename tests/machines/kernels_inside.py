"""Runs in a session's image: starts kernels as the notebook server does, and writes what came of it to a file."""

import asyncio
import functools
import json
import sys
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets.config import Config


async def main(asked: dict[str, list[str]], answer: Path) -> None:
    """Runs the code of each kernel, and notes outputs or the reason that there are none."""
    settings = json.loads(Path("/etc/jupyter/jupyter_server_config.json").read_text())
    manager = AsyncMappingKernelManager(config=Config(settings), connection_dir=jupyter_runtime_dir())
    answer.write_text(json.dumps({name: await ran(manager, name, cells) for name, cells in asked.items()}))


async def ran(manager: Any, name: str, cells: list[str]) -> dict[str, Any]:
    """What the cells of a kernel showed, each as a list of kinds and texts."""
    try:
        identity = await manager.start_kernel(kernel_name=name)
    except Exception as error:
        return {"refused": str(error)}
    client = manager.get_kernel(identity).client()
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    shown = []
    for cell in cells:
        found: list[tuple[str, str]] = []
        await client.execute_interactive(cell, output_hook=functools.partial(note, found), timeout=90)
        shown.append(found)
    client.stop_channels()
    await manager.shutdown_kernel(identity, now=True)
    return {"shown": shown}


def note(found: list[tuple[str, str]], message: dict[str, Any]) -> None:
    """Adds an output."""
    content = message["content"]
    if message["msg_type"] == "stream":
        found.append((content["name"], content["text"]))
    elif message["msg_type"] == "error":
        found.append(("error", content["evalue"]))
    elif "data" in content:
        found.extend((kind, str(data)) for kind, data in content["data"].items())


asyncio.run(main(json.loads(sys.argv[1]), Path(sys.argv[2])))
