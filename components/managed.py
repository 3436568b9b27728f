"""The service in a Kubernetes that is there already: the parts that need no machines of the stack's own, in order."""

import pulumi

from components.auth import Auth
from components.config import ServiceConfig
from components.cvmfs_pods import CvmfsPods
from components.eos import Eos
from components.existing_cluster import ExistingCluster
from components.gateway import Gateway, public_url
from components.hub import Hub
from components.registry import ExistingRegistry
from components.secrets import Authority
from components.software import Software
from components.storage import Storage


class ManagedService(pulumi.ComponentResource):
    """A web-based analysis service in a cluster of others, with the outputs of `Service`.

    Homes are volumes; software comes from repositories of others; users come by a load balancer of the cluster's.
    """

    def __init__(self, name: str, config: ServiceConfig, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cygnet:index:Service", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        self.authority = Authority("authority", common_name=f"cygnet {name}", opts=inside)
        self.registry = ExistingRegistry("registry", config.registry, opts=inside)
        self.cluster = ExistingCluster("cluster", config.cluster, registry=self.registry, opts=inside)
        self.storage = Storage("storage", config.storage, cluster=self.cluster, registry=self.registry, opts=inside)
        self.software = Software("software", config.software, machines=None, opts=inside)
        self.cvmfs = CvmfsPods("cvmfs", config.cvmfs, cluster=self.cluster, registry=self.registry, opts=inside)
        self.auth = Auth(
            "auth",
            config.auth,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            title=config.hub.title,
            url=pulumi.Output.from_input(public_url(config.gateway.hostname or "", config.gateway.https_port)),
            opts=inside,
        )
        self.eos = Eos("eos", config.eos, machines=None, auth=self.auth, opts=inside)
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
            with_files=False,
            opts=inside,
        )
        self.gateway = Gateway(
            "gateway",
            config.gateway,
            cluster=self.cluster,
            registry=self.registry,
            storage=self.storage,
            hub=self.hub,
            sign_in=self.auth.provided,
            authority=self.authority,
            opts=inside,
        )
        self.register_outputs(self.outputs())

    def outputs(self) -> dict[str, pulumi.Input[object]]:
        """What the stack tells: addresses, how to get in, and where each part is."""
        return {
            "url": self.gateway.url,
            "accounts": self.auth.passwords,
            "certificate_authority": self.gateway.certificate_authority,
            "inventory": [],
            "private_key": pulumi.Output.secret(""),
            "kubeconfig": self.cluster.kubeconfig,
            "parts": {
                "machines": {},
                "registry": {"address": self.registry.address},
                "cluster": {"address": self.cluster.api_servers.apply(lambda servers: servers[0])},
                "storage": {"storage_class": self.storage.storage_class},
                "software": self.software.told,
                "cvmfs": {"client": "swfs", "repositories": self.cvmfs.repositories},
                "auth": {"kind": self.auth.kind, "admins": self.auth.admins},
                "eos": self.eos.told,
                "health": {"mounts": []},
                "hub": {"namespace": self.hub.namespace, "sessions_namespace": self.hub.sessions_namespace},
                "login": {},
                "files": {},
                "gateway": self.gateway.told,
            },
        }
