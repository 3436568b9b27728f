"""A small Hadoop on this computer: HDFS with a name node and a data node, YARN with a resource and a node manager.

All four are Hadoop's own, of the artifact that it publishes for tests of its clients, each a process of the session's
image: what containers run needs a Python, and libraries, as the driver has them. With a realm everybody shows who they
are (tests/machines/hadoop_kerberos.py); without, nobody has to.
"""

import asyncio
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
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
from tests.machines import hadoop_kerberos, image_root, spark_lab
from tests.machines.daemons import Daemons
from tests.machines.kdc import Kdc
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


class Hadoop(Daemons):
    """It; a daemon can be ended without being asked, and started again.

    Args:
        folder: Empty.
        host: The address at which it is.
        software: A release and Spark, and where drivers have them.
        realm: Where everybody shows who they are; none: nobody has to.
        token_seconds: How long it takes the word that it gives to whoever has shown a ticket.
    """

    def __init__(
        self,
        folder: Path,
        host: str = HOST,
        software: Mapping[Path, str] | None = None,
        *,
        realm: Kdc | None = None,
        token_seconds: int = 86400,
    ) -> None:
        super().__init__(folder)
        self._host = host
        self._software = spark_lab.software() if software is None else software
        self._spark = next(path for path in self._software.values() if Path(path).name.startswith("spark"))
        (files, self.manager, *rest) = free_ports(15)
        ports = iter(f"{host}:{port}" for port in rest)
        self.clients: dict[str, dict[str, str]] = {
            "core_site": {"fs.defaultFS": f"hdfs://{host}:{files}"},
            "hdfs_site": {"dfs.replication": "1"},
            "yarn_site": {
                "yarn.resourcemanager.hostname": host,
                "yarn.resourcemanager.address": f"{host}:{self.manager}",
                "yarn.resourcemanager.scheduler.address": next(ports),
            },
        }
        """What its clients are told, in the words of a stack file."""
        told = folder / "told"
        told.mkdir()
        # Nobody makes folders for its users where there is no realm.
        more: dict[str, Mapping[str, str]] = {"hdfs-site": {"dfs.permissions.enabled": "false"}}
        self.realm, self._knows = realm, dict[str, str]()
        if realm:
            for file, properties in hadoop_kerberos.CLIENTS.items():
                self.clients[file].update(properties)
            more = hadoop_kerberos.own(realm, told, TOLD, token_seconds)
            self._knows = {"JDK_JAVA_OPTIONS": f"-Djava.security.krb5.conf={TOLD}/krb5.conf"}
        own = _own(host, ports)
        for name in {*own, *more}:
            of = self.clients.get(name.replace("-", "_"), {})
            (told / f"{name}.xml").write_text(yarn.xml({**of, **own.get(name, {}), **more.get(name, {})}))
        (told / "log4j2.properties").write_text(_LOGGING)

    def program(self, name: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """A daemon."""
        return self.run(name, CLASSES[name])

    def run(self, name: str, *words: str, **more: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """A program of it, by its class and arguments; what it says is the log of `name`. `more` are variables."""
        return image_root.running(
            "session",
            ["tini", "--", "sh", "-c", _RUN, TOLD, *words],
            data=self.folder / "data",
            inside=DATA,
            log=self.log(name),
            environment={
                **ENVIRONMENT,
                "SPARK_LOCAL_IP": self._host,
                "CYGNET_SPARK": self._spark,
                "USER": "user",
                "HOME": DATA,
                **self._knows,
                **more,
            },
            beside={
                **self._software,
                artifacts(): JARS,
                self.folder / "told": TOLD,
                spark_lab.known_user(self.folder): USERS,
            },
            knows_itself=True,
        )

    def ready(self) -> None:
        """All of it, from nothing."""
        self.finish("namenode", CLASSES["namenode"], "-format", "-nonInteractive")
        self.start(*CLASSES)
        until(lambda: self.said("namenode", "BLOCK* registerDatanode"), "HDFS has its data node", seconds=120)
        until(lambda: self.said("resourcemanager", "NodeManager from node"), "YARN has its node", seconds=120)

    def finish(self, name: str, *words: str, **more: str) -> None:
        """Runs a program of it to its end."""
        with self.run(name, *words, **more) as process:
            assert process.wait(120) == 0, self.log(name).read_text()[-2000:]

    def administer(self, *words: str) -> None:
        """What HDFS's administrator does, in the words of `hdfs dfs`, with a ticket of the realm."""
        ticket = f"FILE:{TOLD}/{hadoop_kerberos.ADMINISTRATOR}"
        self.finish("administrator", "org.apache.hadoop.fs.FsShell", *words, KRB5CCNAME=ticket)

    def answers(self) -> bool:
        """Whether the resource manager does."""
        return listens(self.manager, self._host)


def _own(host: str, ports: Iterator[str]) -> dict[str, Mapping[str, str]]:
    """What daemons are told beyond what clients are, by file."""
    return {
        "core-site": {"hadoop.tmp.dir": f"{DATA}/of-hadoop"},
        "hdfs-site": {
            **{f"dfs.{key}": next(ports) for key in (
                "namenode.http-address", "namenode.https-address", "datanode.address", "datanode.ipc.address",
                "datanode.http.address", "datanode.https.address",
            )},
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        },
        "yarn-site": {
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
        yield {**site.clients, "networks": [f"{host}/32"], "queue": "lab", "without_kerberos": True}
    finally:
        site.close()
