"""The whole service: the parts of a stack, wired in order."""

import pulumi

from components.auth import Auth
from components.cluster import OwnCluster
from components.config import ServiceConfig
from components.cvmfs import Cvmfs
from components.eos import Eos
from components.files import Files, has_page
from components.gateway import Gateway, public_url, service_host
from components.health import Health
from components.hub import Hub
from components.login import Login
from components.machines import Machines
from components.registry import OwnRegistry
from components.secrets import Authority
from components.software import Software
from components.sources.source import Opening
from components.storage import Storage


class Service(pulumi.ComponentResource):
    """A web-based analysis service, as a stack file declares it.

    `outputs()` is all that smoke tests, operations and other stacks may use.
    """

    def __init__(self, name: str, config: ServiceConfig, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cygnet:index:Service", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        self.authority = Authority("authority", common_name=f"cygnet {name}", opts=inside)
        self.machines = Machines(
            "machines",
            config.machines,
            authority=self.authority,
            openings=openings(config),
            virtual=config.virtual_address,
            opts=inside,
        )
        self.registry = OwnRegistry("registry", machines=self.machines, authority=self.authority, opts=inside)
        self.cluster = OwnCluster(
            "cluster",
            config.cluster,
            machines=self.machines,
            registry=self.registry,
            shared_folder=config.storage.folder,
            opts=inside,
        )
        self.storage = Storage("storage", config.storage, cluster=self.cluster, registry=self.registry, opts=inside)
        self.software = Software("software", config.software, machines=self.machines, opts=inside)
        self.cvmfs = Cvmfs("cvmfs", config.cvmfs, machines=self.machines, software=self.software, opts=inside)
        self.auth = Auth(
            "auth",
            config.auth,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            title=config.hub.title,
            url=service_host(config.gateway, self.cluster).apply(
                lambda host: public_url(host, config.gateway.https_port)
            ),
            opts=inside,
        )
        self.eos = Eos("eos", config.eos, machines=self.machines, auth=self.auth, opts=inside)
        self.health = Health(
            "health",
            config.health,
            machines=self.machines,
            cluster=self.cluster,
            cvmfs=self.cvmfs,
            eos=self.eos,
            opts=inside,
        )
        self.hub = Hub(
            "hub",
            config.hub,
            cluster=self.cluster,
            storage=self.storage,
            registry=self.registry,
            software=self.software,
            cvmfs=self.cvmfs,
            auth=self.auth,
            eos=self.eos,
            with_files=has_page(config.files, config.eos),
            trusted_proxies=config.gateway.trusted_proxies,
            opts=inside,
        )
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
        self.files = self._files(config, inside)
        self.gateway = Gateway(
            "gateway",
            config.gateway,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            hub=self.hub,
            sign_in=self.auth.provided,
            authority=self.authority,
            sites=[self.files.site] if self.files else [],
            opts=inside,
        )
        self.register_outputs(self.outputs())

    def _files(self, config: ServiceConfig, inside: pulumi.ResourceOptions) -> Files | None:
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
            opts=inside,
        )

    def outputs(self) -> dict[str, pulumi.Input[object]]:
        """What the stack tells: addresses, how to get in, and where each part is."""
        return {
            "url": self.gateway.url,
            "accounts": self.auth.passwords,
            **({"realm": self.auth.provided.administration} if self.auth.provided.administration else {}),
            "certificate_authority": self.gateway.certificate_authority,
            "inventory": self.machines.hosts,
            "private_key": self.machines.private_key,
            "kubeconfig": self.cluster.kubeconfig,
            "parts": {
                "machines": self.machines.hosts.apply(lambda hosts: {host["name"]: host["address"] for host in hosts}),
                "registry": {"address": self.registry.address},
                "cluster": {"address": self.cluster.address, "moves": self.cluster.moves},
                "storage": {"storage_class": self.storage.storage_class, "folder": self.storage.folder},
                "software": self.software.told,
                "cvmfs": {"client": self.cvmfs.client, "repositories": self.cvmfs.repositories},
                "auth": {"kind": self.auth.kind, "admins": self.auth.admins},
                "eos": self.eos.told,
                "health": {"mounts": self.health.mounts},
                "hub": {"namespace": self.hub.namespace, "sessions_namespace": self.hub.sessions_namespace},
                "login": self.login.told,
                "files": {"url": self.gateway.site_urls["files"], **self.files.told} if self.files else {},
                "gateway": self.gateway.told,
            },
        }


def openings(config: ServiceConfig) -> list[Opening]:
    """What users reach of the machines: the gateway, and what has a port of its own."""
    gateway, login = config.gateway, config.login
    found = [Opening((gateway.https_port, gateway.http_port), gateway.allowed_networks)]
    if has_page(config.files, config.eos):
        found.append(Opening((config.files.https_port,), gateway.allowed_networks))
    if login.enabled:
        found.append(Opening((login.port,), login.allowed_networks))
    return found
