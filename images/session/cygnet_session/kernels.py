"""Kernels that may lie below a mount that hangs: who asks for their list waits, and the notebook server does not."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager


class PatientKernelSpecManager(KernelSpecManager):
    """Lists kernels in a thread. JupyterLab asks for them every minute, also while a release's folder hangs."""

    async def get_all_specs(self) -> dict[str, Any]:
        """All kernels with their files, by name."""
        return await asyncio.to_thread(super().get_all_specs)
