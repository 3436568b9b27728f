"""The kernel's half of CERN's SparkConnector, for the session's own cluster.

As published it knows three clusters: one in the session, CERN's by YARN, and CERN's on Kubernetes, for which it names
an image of CERN's and writes a Secret, and neither is let through here. How it talks with its page, makes the context
of what the user chose there and shows the driver's log is taken as it is; what it is told of the cluster is the hub's.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sparkconnector.configuration import SparkConfiguration
from sparkconnector.connector import SparkConnector
from sparkconnector.logreader import LogReader

PAGES = "cygnet/spark"
"""Where the notebook server shows the pages of drivers, by their ports; cygnet_session.spark says the same."""
_PORTS = {"spark.driver.port": "0", "spark.driver.blockManager.port": "0", "spark.ui.port": "4040"}
# What SparkConnector sets as CERN has it, and the hub as it is here.
_HUBS = ("spark.driver.host", "spark.port.maxRetries")


class Cluster(SparkConfiguration):  # type: ignore[misc]
    """The session's: Spark's own defaults lead to it."""

    def __init__(self, connector: Connector) -> None:
        super().__init__(connector, os.environ.get("SPARK_CLUSTER_NAME", "this session"))
        file = Path(os.environ.get("SPARK_CONF_DIR", "/tmp/spark-conf"), "spark-defaults.conf")  # noqa: S108
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.told = dict(line.partition(" ")[::2] for line in lines)

    def get_auth_mode(self) -> str:
        """Driver and executors know each other by a secret that both have already."""
        return "none"

    def configure(self, opts: dict[str, Any], ports: list[str]) -> Any:
        """The user's choices, and the driver where its executors look for it."""
        settings = super().configure(opts, ports)
        for name in _HUBS:
            if name in self.told:
                settings.set(name, self.told[name])
        return settings

    def get_spark_session_config(self) -> dict[str, str]:
        """Where the page of the driver is."""
        context = self.connector.ipython.user_ns.get("sc")
        address = context.uiWebUrl if context else None
        if not address:
            return {}
        prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/")
        return {"sparkwebui": f"{prefix}{PAGES}/{urlsplit(address).port}/jobs/"}


class Ports:
    """In place of CERN's allocator, a server of its own: of the ports that the hub opens, Spark takes the next free."""

    def __init__(self, told: dict[str, str]) -> None:
        self._first = [told.get(name, default) for name, default in _PORTS.items()]

    def get_ports(self, count: int) -> list[str]:
        """Where to begin, for driver, blocks and page."""
        return self._first[:count]

    def connect(self) -> None:
        """There is nobody to be asked."""

    set_connected = set_disconnected = connect


class Connector(SparkConnector):  # type: ignore[misc]
    """It, with the session's cluster and without the allocator, which its own constructor would ask."""

    def __init__(self, ipython: Any) -> None:
        self.ipython, self.log, self.connected = ipython, logging.getLogger("cygnet_spark"), False
        self.file_thread = LogReader(self, self.log)
        self.file_thread.daemon = True
        self.log4j_file = self.create_properties_file(self.file_thread.create_file())
        with open(self.log4j_file, "a", encoding="utf-8") as file:
            # Of each of its pages the driver's web server would say that it is there.
            file.write("logger.jetty1.level = warn\n")
        self.spark_configuration = Cluster(self)
        self.port_allocator = Ports(self.spark_configuration.told)

    def handle_comm_message(self, msg: dict[str, Any]) -> None:
        """Does what the page asks for. The driver's log, looked at ten times in a second, is so from then on only."""
        if msg["content"]["data"]["action"] == "sparkconn-action-connect" and self.file_thread.ident is None:
            self.file_thread.start()
        super().handle_comm_message(msg)
