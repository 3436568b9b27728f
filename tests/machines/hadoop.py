"""A small Hadoop on this computer: HDFS with a name node and a data node, YARN with a resource and a node manager.

All four are Hadoop's own, of the artifact that it publishes for tests of its clients, each a process of the session's
image: what containers run needs a Python, and libraries, as the driver has them. Nobody has to show who they are.
"""

import asyncio
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cygnet_hub import yarn

from components.software import SoftwareConfig
from engine import cache
from engine.process import Runner
from engine.progress import Progress
from images import context
from software import build
from tests.live.ports import HOST, free_ports, listens
from tests.live.waiting import until
from tests.machines import image_root, spark_lab
from tests.machines.spark_lab import ENVIRONMENT, USERS

LOCK = Path(__file__).with_name("hadoop.sha256")
VERSION = LOCK.read_text().split(":")[2]
JARS, TOLD, DATA = "/opt/hadoop", "/etc/cygnet/hadoop", "/srv"
"""Where daemons have what."""
CLASSES = {
    "namenode": "org.apache.hadoop.hdfs.server.namenode.NameNode",
    "datanode": "org.apache.hadoop.hdfs.server.datanode.DataNode",
    "resourcemanager": "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager",
    "nodemanager": "org.apache.hadoop.yarn.server.nodemanager.NodeManager",
}
# Of the artifact's classes, those that it leaves to its clients are in Spark's own folder.
_RUN = """\
jars=$CYGNET_SPARK/python/pyspark/jars
clients=$(echo "$jars"/hadoop-client-* "$jars"/slf4j-api-* "$jars"/log4j-* "$jars"/jcl-over-* | tr ' ' ':')
exec "$CYGNET_SPARK/java/bin/java" -Xmx256m -XX:+UseSerialGC --add-opens=java.base/java.lang=ALL-UNNAMED \
    -Dlog4j2.configurationFile="$0/log4j2.properties" -cp "$0:/opt/hadoop/*:$clients" "$@"
"""
_LOGGING = """\
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
"""


def artifacts() -> Path:
    """Hadoop, as its makers publish it."""
    folder = cache.root() / "tests" / f"hadoop-{VERSION}"
    if len(list(folder.glob("*.jar"))) != len(LOCK.read_text().splitlines()):
        context._maven(LOCK, folder, Runner("hadoop", folder.with_suffix(".log"), Progress()))
    return folder


class Hadoop:
    """It; a daemon can be ended without being asked, and started again.

    Args:
        folder: Empty.
        host: The address at which it is.
        software: A release and Spark, and where drivers have them.
    """

    def __init__(self, folder: Path, host: str = HOST, software: Mapping[Path, str] | None = None) -> None:
        self._folder, self._host = folder, host
        self._software = spark_lab.software() if software is None else software
        self._spark = next(path for path in self._software.values() if Path(path).name.startswith("spark"))
        self._running: dict[str, ExitStack] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (self._files, self.manager, *rest) = free_ports(15)
        ports = iter(f"{host}:{port}" for port in rest)
        self.core_site = {"fs.defaultFS": f"hdfs://{host}:{self._files}"}
        self.yarn_site = {
            "yarn.resourcemanager.hostname": host,
            "yarn.resourcemanager.address": f"{host}:{self.manager}",
            "yarn.resourcemanager.scheduler.address": next(ports),
        }
        told = folder / "told"
        told.mkdir()
        own: dict[str, Mapping[str, str]] = {
            "core-site": {**self.core_site, "hadoop.tmp.dir": f"{DATA}/of-hadoop"},
            "hdfs-site": {
                "dfs.replication": "1",
                **{f"dfs.{key}": next(ports) for key in (
                    "namenode.http-address", "datanode.address", "datanode.http.address", "datanode.ipc.address",
                )},
                "dfs.namenode.datanode.registration.ip-hostname-check": "false",
                # Nobody makes folders for its users here.
                "dfs.permissions.enabled": "false",
            },
            "yarn-site": {
                **self.yarn_site,
                **{f"yarn.{key}": next(ports) for key in (
                    "resourcemanager.resource-tracker.address", "resourcemanager.admin.address",
                    "resourcemanager.webapp.address", "nodemanager.address", "nodemanager.localizer.address",
                    "nodemanager.webapp.address",
                )},
                "yarn.nodemanager.hostname": host,
                "yarn.nodemanager.resource.memory-mb": "8192",
                "yarn.nodemanager.resource.cpu-vcores": "8",
                "yarn.scheduler.minimum-allocation-mb": "256",
                "yarn.nodemanager.local-dirs": f"{DATA}/local",
                "yarn.nodemanager.log-dirs": f"{DATA}/logs",
                "yarn.nodemanager.delete.debug-delay-sec": "600",
                "yarn.nodemanager.vmem-check-enabled": "false",
                "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99",
                # A resource manager that was started anew knows what ran.
                "yarn.resourcemanager.recovery.enabled": "true",
                "yarn.resourcemanager.store.class":
                    "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore",
                "yarn.resourcemanager.fs.state-store.uri": f"file://{DATA}/manager",
            },
            "capacity-scheduler": {
                "yarn.scheduler.capacity.root.queues": "default,lab",
                "yarn.scheduler.capacity.root.default.capacity": "0",
                "yarn.scheduler.capacity.root.lab.capacity": "100",
                "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
            },
        }  # fmt: skip
        for name, properties in own.items():
            (told / f"{name}.xml").write_text(yarn.xml(properties))
        (told / "log4j2.properties").write_text(_LOGGING)

    def run(self, name: str, *arguments: str) -> tuple[ExitStack, "subprocess.Popen[bytes]"]:
        """Starts a daemon's program."""
        stack = ExitStack()
        process = stack.enter_context(
            image_root.running(
                "session",
                ["tini", "--", "sh", "-c", _RUN, TOLD, CLASSES[name], *arguments],
                data=self._folder / "data",
                inside=DATA,
                log=self.log(name),
                environment={
                    **ENVIRONMENT,
                    "SPARK_LOCAL_IP": self._host,
                    "CYGNET_SPARK": self._spark,
                    "USER": "user",
                    "HOME": DATA,
                },
                beside={
                    **self._software,
                    artifacts(): JARS,
                    self._folder / "told": TOLD,
                    spark_lab.known_user(self._folder): USERS,
                },
                knows_itself=True,
            )
        )
        return stack, process

    def start(self, *names: str) -> None:
        """Starts daemons."""
        for name in names:
            self._running[name], self._processes[name] = self.run(name)

    def ready(self) -> None:
        """All of it, from nothing."""
        stack, process = self.run("namenode", "-format", "-nonInteractive")
        with stack:
            assert process.wait(120) == 0, self.log("namenode").read_text()[-2000:]
        self.start(*CLASSES)
        until(lambda: self.said("namenode", "BLOCK* registerDatanode"), "HDFS has its data node", seconds=120)
        until(lambda: self.said("resourcemanager", "NodeManager from node"), "YARN has its node", seconds=120)

    def log(self, name: str) -> Path:
        """What it said."""
        return self._folder / f"{name}.log"

    def said(self, name: str, words: str) -> int:
        """How many times it said that, all of its lives together; it is alive."""
        assert self._processes[name].poll() is None, self.log(name).read_text()[-2000:]
        return self.log(name).read_text().count(words)

    def kill(self, name: str) -> None:
        """Ends it as a machine does that loses its power."""
        self._running.pop(name).close()

    def answers(self) -> bool:
        """Whether the resource manager does."""
        return listens(self.manager, self._host)

    def close(self) -> None:
        """Ends all."""
        for name in list(self._running):
            self.kill(name)


@contextmanager
def node(address: str, ports: Sequence[int], pod: str = HOST) -> Iterator[list[int]]:
    """A machine on which a session is, by its ports that lead to the session: what a Service of Kubernetes' makes.

    Args:
        address: Of the machine, one of this computer's loopback.
        ports: Of it, and of the session.
        pod: Where that is.

    Gives the ports to which somebody came.
    """
    came: list[int] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        came.append(port)
        try:
            there, to = await asyncio.open_connection(pod, port)
            await asyncio.gather(copy(reader, to), copy(there, writer))
        except OSError:
            pass
        finally:
            writer.close()

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while found := await source.read(65536):
            to.write(found)
            await to.drain()
        to.close()

    loop = asyncio.new_event_loop()
    servers: list[Any] = [loop.run_until_complete(asyncio.start_server(pass_on, address, port)) for port in ports]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield came
    finally:
        for server in servers:
            loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def for_stacks(folder: Path, host: str) -> Iterator[dict[str, Any]]:
    """One whose machine has the software that stacks of this checkout have; gives what a stack file says of it.

    Args:
        folder: Empty.
        host: The address at which it is, such as that of this computer in a local stack's network.
    """
    release, spark = build.ensure("stable"), build.ensure_spark(Progress())
    repository = f"/cvmfs/{SoftwareConfig().repository}"
    site = Hadoop(folder, host, {one: f"{repository}/{one.name}" for one in (release, spark)})
    try:
        site.ready()
        yield {
            "core_site": site.core_site,
            "hdfs_site": {"dfs.replication": "1"},
            "yarn_site": site.yarn_site,
            "networks": [f"{host}/32"],
            "queue": "lab",
            "without_kerberos": True,
        }
    finally:
        site.close()
