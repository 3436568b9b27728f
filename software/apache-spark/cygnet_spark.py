"""IPython's extension for kernels that may have a driver of Spark: CERN's SparkMonitor and SparkConnector.

Both are as they are published. Their pages are extensions of JupyterLab; this loads what they have in the kernel.
SparkMonitor shows jobs, stages and tasks of any driver that the kernel starts. SparkConnector starts one by a click;
how it reaches the session's cluster is in `cygnet_spark_connector`.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from types import SimpleNamespace
from typing import Any

from sparkmonitor import kernelextension


def load_ipython_extension(ipython: Any) -> None:
    """IPython calls it when a kernel starts, and when a prompt does, which has no page that would show anything."""
    if getattr(ipython, "kernel", None) is None:
        return
    _watch(ipython)
    ipython.kernel.comm_manager.register_target(
        "SparkConnector", lambda *opened: _connector(ipython).target_func(*opened)
    )


class _Ears(kernelextension.SocketThread):  # type: ignore[misc]
    """What hears Spark's listener; a kernel that was told to end does not wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.daemon = True


def _watch(ipython: Any) -> None:
    """Has all drivers of this kernel tell SparkMonitor what they do."""
    kernelextension.SocketThread = _Ears
    # Until a page asks for it, and in a kernel without one, what is heard is told to nobody.
    kernelextension.ScalaMonitor.comm = SimpleNamespace(send=lambda _: None)
    # The session's log is for what is wrong; one of the other messages is, too, as a message.
    logging.getLogger("tornado.sparkmonitor.kernel").addFilter(lambda record: record.levelno >= logging.WARNING)
    kernelextension.load_ipython_extension(ipython)
    # It has left its settings in a variable, for users to hand on. What listens is for drivers of this kernel, and not
    # in spark-defaults.conf: where nobody hears it, as in a terminal, it fills the driver's log.
    listener = ipython.user_ns["swan_spark_conf"].get("spark.extraListeners")
    further = os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--conf spark.extraListeners={listener} {further}"


@cache
def _connector(ipython: Any) -> Any:
    """The kernel's one, made when a page asks for it: not every kernel should wait for all of Spark's Python."""
    from cygnet_spark_connector import Connector  # noqa: PLC0415 - see above

    return Connector(ipython)
