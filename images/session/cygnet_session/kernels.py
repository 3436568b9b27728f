"""Kernels that may lie below a mount that hangs, or be a user's own: the notebook server waits for none of them.

A kernel that ends before it can be spoken to is usually somebody's own, whose kernel.json or setup.sh names what is not
there. Jupyter would start it five times more and say that it died; here the page shows what it said.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

# Afterwards a kernel that neither ended nor answers is left to itself: what it needs may come through the network.
START_SECONDS = 30
_LOOK_SECONDS = 0.05
_LAST_BYTES = 1500


class PatientKernelSpecManager(KernelSpecManager):
    """Lists kernels in a thread. JupyterLab asks for them every minute, also while a release's folder hangs."""

    async def get_all_specs(self) -> dict[str, Any]:
        """All kernels with their files, by name."""
        return await asyncio.to_thread(super().get_all_specs)


class TalkingKernelManager(ServerKernelManager):
    """Starts a kernel; one that ends at once is an error with its last words."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        read, write = os.pipe()
        said = LastWords(read)
        try:
            await super()._async_launch_kernel(kernel_cmd, **options, stderr=write)
        finally:
            os.close(write)
        if await self._ended():
            title = self.kernel_spec.display_name
            self.cleanup_connection_file()
            raise RuntimeError(f"The kernel {title} ended before it could run anything. {await said.words()}")

    async def _ended(self) -> bool:
        """Whether it ends; else it is waited for until it listens, or for START_SECONDS."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if await self.provisioner.poll() is not None:
                return True
            try:
                _, writer = await asyncio.open_connection(self.ip, self.shell_port)
            except OSError:
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                writer.close()
                return False
        return False


class LastWords:
    """Passes on what a kernel writes to its standard error, to the server's own, and remembers the end of it."""

    def __init__(self, pipe: int) -> None:
        self._last = b""
        self._thread = threading.Thread(target=self._pass_on, args=(pipe,), daemon=True)
        self._thread.start()

    def _pass_on(self, pipe: int) -> None:
        with open(pipe, "rb", buffering=0) as opened:
            while piece := opened.read(65536):
                self._last = (self._last + piece)[-_LAST_BYTES:]
                sys.stderr.buffer.write(piece)
                sys.stderr.buffer.flush()

    async def words(self) -> str:
        """What it wrote last, as a sentence for its user."""
        # Something that the kernel started may hold the pipe for longer.
        await asyncio.to_thread(self._thread.join, 1)
        said = self._last.decode(errors="replace").strip()
        return f"It said:\n{said}" if said else "It did not say why."
