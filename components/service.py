"""The whole service: the parts of a stack, wired in order."""

from collections.abc import Sequence

import pulumi

from components.auth import Auth
from components.cluster import OwnCluster
from components.config import ServiceConfig
from components.cvmfs import Cvmfs
from components.cvmfs_pods import CvmfsPods
from components.eos import Eos
from components.existing_cluster import ExistingCluster
from components.files import Files, has_page
from components.gateway import Gateway, service_host
from components.gateway_config import Site, public_url
from components.gpu import Gpu
from components.health import Health
from components.hub import Hub
from components.login import Login
from components.machines import Machines
from components.monitor import Monitor
from components.parts import PARTS
from components.registry import OwnRegistry, Registry
from components.secrets import Authority
from components.software import Software
from components.sources.source import Opening
from components.spark import Spark
from components.spark_yarn import NODE_PORTS
from components.storage import Storage


class AnyService(pulumi.ComponentResource):
    """Base of both services.

    A subclass makes the parts in its constructor, in their order; those that both have, by the methods here.

    `outputs()` is all that smoke tests, operations and other stacks may use.
    """

    authority: Authority
    registry: Registry
    cluster: OwnCluster | ExistingCluster
    storage: Storage
    software: Software
    cvmfs: Cvmfs | CvmfsPods
    auth: Auth
    eos: Eos
    spark: Spark
    hub: Hub
    gateway: Gateway

    def __init__(self, name: str, config: ServiceConfig, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__("cygnet:index:Service", name, None, opts)
        self._config = config
        self._inside = pulumi.ResourceOptions(parent=self)
        self.authority = Authority("authority", common_name=f"cygnet {name}", opts=self._inside)

    def _auth(self, url: pulumi.Output[str]) -> Auth:
        """Sign-in, at the service's address."""
        return Auth(
            "auth",
            self._config.auth,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            title=self._config.hub.title,
            url=url,
            opts=self._inside,
        )

    def _spark(self) -> Spark:
        return Spark(
            "spark",
            self._config.spark,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            repository=self._config.software.repository,
            folders={"cvmfs": self.cvmfs.folder, "eos": self.eos.folder},
            rights=self.auth.rights,
            opts=self._inside,
        )

    def _hub(self) -> Hub:
        return Hub(
            "hub",
            self._config.hub,
            cluster=self.cluster,
            storage=self.storage,
            registry=self.registry,
            software=self.software,
            cvmfs=self.cvmfs,
            auth=self.auth,
            eos=self.eos,
            spark=self.spark,
            with_files=has_page(self._config.files, self._config.eos),
            with_monitor=self._config.monitor.enabled,
            trusted_proxies=self._config.gateway.trusted_proxies,
            opts=self._inside,
        )

    def _gateway(self, sites: Sequence[Site] = ()) -> Gateway:
        return Gateway(
            "gateway",
            self._config.gateway,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            hub=self.hub,
            sign_in=self.auth.provided,
            authority=self.authority,
            sites=sites,
            opts=self._inside,
        )

    def outputs(self) -> dict[str, pulumi.Input[object]]:
        """What the stack tells: addresses, how to get in, and where each part is."""
        told = {
            "registry": {"address": self.registry.address},
            "software": self.software.told,
            "auth": {"kind": self.auth.kind, "admins": self.auth.admins},
            "eos": self.eos.told,
            "spark": self.spark.told,
            "hub": {"namespace": self.hub.namespace, "sessions_namespace": self.hub.sessions_namespace},
            "gateway": self.gateway.told,
            **self._told(),
        }
        return {
            "url": self.gateway.url,
            "accounts": self.auth.passwords,
            **({"realm": self.auth.provided.administration} if self.auth.provided.administration else {}),
            "certificate_authority": self.gateway.certificate_authority,
            **self._access(),
            "kubeconfig": self.cluster.kubeconfig,
            "parts": {part: told[part] for part in PARTS},
        }

    def _told(self) -> dict[str, pulumi.Input[object]]:
        """What is told of the parts that are not alike everywhere."""
        raise NotImplementedError

    def _access(self) -> dict[str, pulumi.Input[object]]:
        """`inventory`, the machines, and `private_key`, which opens them."""
        raise NotImplementedError


class Service(AnyService):
    """A web-based analysis service on machines, as a stack file declares it."""

    cluster: OwnCluster
    cvmfs: Cvmfs

    def __init__(self, name: str, config: ServiceConfig, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, config, opts)
        inside = self._inside
        self.machines = Machines(
            "machines",
            config.machines,
            authority=self.authority,
            openings=openings(config),
            virtual=config.virtual_address,
            opts=inside,
        )
        registry = OwnRegistry("registry", machines=self.machines, authority=self.authority, opts=inside)
        self.registry = registry
        self.cluster = OwnCluster(
            "cluster",
            config.cluster,
            machines=self.machines,
            registry=registry,
            shared_folder=config.storage.folder,
            opts=inside,
        )
        self.gpu = self._gpu(config)
        self.storage = Storage("storage", config.storage, cluster=self.cluster, registry=self.registry, opts=inside)
        self.software = Software(
            "software",
            config.software,
            machines=self.machines,
            with_spark=bool(config.spark.clusters),
            opts=inside,
        )
        self.cvmfs = Cvmfs("cvmfs", config.cvmfs, machines=self.machines, software=self.software, opts=inside)
        self.auth = self._auth(
            service_host(config.gateway, self.cluster).apply(lambda host: public_url(host, config.gateway.https_port))
        )
        self.eos = Eos("eos", config.eos, machines=self.machines, cluster=self.cluster, auth=self.auth, opts=inside)
        self.health = Health(
            "health",
            config.health,
            machines=self.machines,
            cluster=self.cluster,
            cvmfs=self.cvmfs,
            eos=self.eos,
            opts=inside,
        )
        self.spark = self._spark()
        self.hub = self._hub()
        self.login = Login(
            "login",
            config.login,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            software=self.software,
            cvmfs=self.cvmfs,
            eos=self.eos,
            auth=self.auth,
            opts=inside,
        )
        self.files = self._files(config)
        self.monitor = self._monitor(config)
        self.gateway = self._gateway([part.site for part in (self.files, self.monitor) if part])
        self.register_outputs(self.outputs())

    def _gpu(self, config: ServiceConfig) -> Gpu | None:
        """What makes GPUs known, where machines have some."""
        gpus = config.machines.gpus
        if not gpus:
            return None
        return Gpu("gpu", gpus, machines=self.machines, cluster=self.cluster, opts=self._inside)

    def _files(self, config: ServiceConfig) -> Files | None:
        """The page of files, where there is something that it could show."""
        if not has_page(config.files, config.eos):
            return None
        return Files(
            "files",
            config.files,
            cluster=self.cluster,
            machines=self.machines,
            registry=self.registry,
            storage=self.storage,
            eos=self.eos,
            data=config.eos.data,
            auth=self.auth,
            service_port=config.gateway.https_port,
            opts=self._inside,
        )

    def _monitor(self, config: ServiceConfig) -> Monitor | None:
        """What looks after the service, where that is wanted."""
        if not config.monitor.enabled:
            return None
        return Monitor(
            "monitor",
            config.monitor,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            hub=self.hub,
            service_port=config.gateway.https_port,
            opts=self._inside,
        )

    def _told(self) -> dict[str, pulumi.Input[object]]:
        return {
            "machines": self.machines.hosts.apply(lambda hosts: {host["name"]: host["address"] for host in hosts}),
            "cluster": {"address": self.cluster.address, "moves": self.cluster.moves},
            "gpu": self.gpu.told if self.gpu else {},
            "storage": {"storage_class": self.storage.storage_class, "folder": self.storage.folder},
            "cvmfs": {"client": self.cvmfs.client, "repositories": self.cvmfs.repositories},
            "health": {"mounts": self.health.mounts},
            "login": self.login.told,
            "files": {"url": self.gateway.site_urls["files"], **self.files.told} if self.files else {},
            "monitor": {"url": self.gateway.site_urls["monitor"], **self.monitor.told} if self.monitor else {},
        }

    def _access(self) -> dict[str, pulumi.Input[object]]:
        return {"inventory": self.machines.hosts, "private_key": self.machines.private_key}


def openings(config: ServiceConfig) -> list[Opening]:
    """What is reached of the machines: the gateway, what has a port of its own, and drivers of Spark from a YARN."""
    gateway, login = config.gateway, config.login
    found = [Opening((gateway.https_port, gateway.http_port), gateway.allowed_networks)]
    if has_page(config.files, config.eos):
        found.append(Opening((config.files.https_port,), gateway.allowed_networks))
    if config.monitor.enabled:
        found.append(Opening((config.monitor.https_port,), gateway.allowed_networks))
    if login.enabled:
        found.append(Opening((login.port,), login.allowed_networks))
    found += [Opening((NODE_PORTS,), yarn.networks, everywhere=True) for yarn in config.spark.yarn.values()]
    return found
