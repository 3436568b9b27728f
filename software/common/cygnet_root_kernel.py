"""ROOT's C++ kernel, able to redraw a canvas that it has drawn before.

ROOT asks for a handle of what it displays, and updates that when the canvas changes. metakernel, which its kernel is
made of, gives none: without this the first cell that changes or saves a canvas again never ends.
"""

from __future__ import annotations

import uuid
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from ROOT._jupyroot.kernel.rootkernel import ROOTKernel


class Handle:
    """Something displayed, in the cell where it is; `update` shows something else there."""

    def __init__(self, kernel: Any) -> None:
        self._kernel, self._identity = kernel, uuid.uuid4().hex

    def show(self, message: str, shown: Any) -> None:
        """Sends `shown` in one of the two display messages of Jupyter's protocol."""
        data, metadata = self._kernel._display_formatter.format(shown)
        content = {"data": data, "metadata": metadata, "transient": {"display_id": self._identity}}
        self._kernel.send_response(self._kernel.iopub_socket, message, content)

    def update(self, shown: Any) -> None:
        """Replaces what is displayed."""
        self.show("update_display_data", shown)


class RootKernel(ROOTKernel):  # type: ignore[misc]
    """ROOT's kernel with displays that can be updated."""

    def Display(self, *objects: Any, display_id: bool = False, **options: Any) -> Handle | None:  # noqa: N802
        """As metakernel's, which overlooks `display_id`; the handle of the only object when that is given."""
        if not display_id:
            super().Display(*objects, **options)
            return None
        (shown,) = objects
        handle = Handle(self)
        handle.show("display_data", shown)
        return handle


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=RootKernel)
