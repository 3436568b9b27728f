"""Spark's history server of a session's user: what drivers did, also in former sessions, as long as somebody looks.

It reads the folder of the home in which drivers note what they do. It is a process of the session, with no port but for
the session itself, and takes memory of it: so it is there from the first look until IDLE_SECONDS after the last one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tornado.ioloop import PeriodicCallback

PORT = 18080
START_SECONDS, IDLE_SECONDS = 90, 600
MEMORY = "512m"
_LOOK_SECONDS = 0.2
_FOLDER = "spark.history.fs.logDirectory "


class History:
    """One session's; `told` is what Spark is told of its cluster."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._told = Path(environment.get("SPARK_CONF_DIR", ""), "spark-defaults.conf")
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._asked = 0.0

    def is_kept(self) -> bool:
        """Whether drivers note what they do."""
        return self._told.is_file() and any(line.startswith(_FOLDER) for line in self._told.read_text().splitlines())

    async def port(self) -> int:
        """Where it listens, when it does; it is started where it is not there.

        Raises:
            OSError: It ended, or does not listen after START_SECONDS.
        """
        self._asked = time.monotonic()
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await self._started()
                await self._listens(self._process)
        return PORT

    def rest(self) -> None:
        """Ends it where nobody looked for a while."""
        if self._process and self._process.returncode is None and time.monotonic() - self._asked > IDLE_SECONDS:
            self._process.terminate()

    def watch(self) -> None:
        """Looks after that from now on."""
        PeriodicCallback(self.rest, 60_000).start()

    async def _started(self) -> asyncio.subprocess.Process:
        program = f"{self._environment['SPARK_HOME']}/bin/spark-class"
        arguments = ["org.apache.spark.deploy.history.HistoryServer", "--properties-file", str(self._told)]
        own = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": MEMORY}
        environment = {**self._environment, **own, "SPARK_HISTORY_OPTS": f"-Dspark.history.ui.port={PORT}"}
        return await asyncio.create_subprocess_exec(program, *arguments, env=environment)

    async def _listens(self, process: asyncio.subprocess.Process) -> None:
        end = time.monotonic() + START_SECONDS
        while process.returncode is None and time.monotonic() < end:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            except OSError:
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                writer.close()
                return
        if process.returncode is None:
            process.kill()
        raise OSError("Spark's history server does not start; the session's log says why")


def of_this_session() -> History | None:
    """The one of this notebook server, where its cluster keeps a history."""
    history = History(os.environ)
    return history if history.is_kept() else None
