"""The service in a Kubernetes that is there already: the parts that need no machines of the stack's own, in order."""

import pulumi

from components.config import ServiceConfig
from components.cvmfs_pods import CvmfsPods
from components.eos import Eos
from components.existing_cluster import ExistingCluster
from components.gateway import public_url
from components.registry import ExistingRegistry
from components.service import AnyService
from components.software import Software
from components.storage import Storage


class ManagedService(AnyService):
    """A web-based analysis service in a cluster of others.

    Homes are volumes; software comes from repositories of others; users come by a load balancer of the cluster's.
    """

    def __init__(self, name: str, config: ServiceConfig, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, config, opts)
        inside = self._inside
        registry = ExistingRegistry("registry", config.registry, opts=inside)
        self.registry = registry
        self.cluster = ExistingCluster("cluster", config.cluster, registry=registry, opts=inside)
        self.storage = Storage("storage", config.storage, cluster=self.cluster, registry=self.registry, opts=inside)
        self.software = Software("software", config.software, machines=None, opts=inside)
        self.cvmfs = CvmfsPods("cvmfs", config.cvmfs, cluster=self.cluster, registry=self.registry, opts=inside)
        self.auth = self._auth(
            pulumi.Output.from_input(public_url(config.gateway.hostname or "", config.gateway.https_port))
        )
        self.eos = Eos("eos", config.eos, machines=None, cluster=None, auth=self.auth, opts=inside)
        self.spark = self._spark()
        self.hub = self._hub()
        self.gateway = self._gateway()
        self.register_outputs(self.outputs())

    def _told(self) -> dict[str, pulumi.Input[object]]:
        return {
            "machines": {},
            "cluster": {"address": self.cluster.api_servers.apply(lambda servers: servers[0])},
            "gpu": {},
            "storage": {"storage_class": self.storage.storage_class},
            "cvmfs": {"client": "swfs", "repositories": self.cvmfs.repositories},
            "health": {"mounts": []},
            "login": {},
            "files": {},
            "monitor": {},
        }

    def _access(self) -> dict[str, pulumi.Input[object]]:
        return {"inventory": [], "private_key": pulumi.Output.secret("")}
