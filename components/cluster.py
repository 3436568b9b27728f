"""The cluster: Kubernetes on the stack's machines."""

import base64
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

import pulumi
import pulumi_kubernetes as k8s
from pydantic import Field, SecretStr, model_validator

from components.base import PartConfig
from components.kubernetes import machines_claim, machines_volume
from components.machines import Machines
from components.member import Member
from components.playbook import Playbook
from components.registry import OwnRegistry
from components.secrets import Token
from components.sources.source import API_PORT, Host

# What kubeadm starts on the machines, by the names it expects.
_SYSTEM_IMAGES = (
    "pause", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "coredns",
)  # fmt: skip

LINK_LOCAL = IPv4Network("169.254.0.0/16")  # clouds answer for a machine's credentials at 169.254.169.254


class ClusterConfig(PartConfig):
    """What a stack says about its cluster, under `cygnet:cluster`."""

    source: Annotated[
        Literal["machines", "existing"],
        Field(
            description="machines: made on the stack's machines; existing: one that is there, with machines of others"
        ),
    ] = "machines"
    kubeconfig: Annotated[
        SecretStr | None,
        Field(description="For source existing: what opens it, a secret; none: the file that KUBECONFIG names"),
    ] = None
    pod_network: Annotated[IPv4Network, Field(description="Addresses of pods; one /24 of it for each machine")] = (
        IPv4Network("10.244.0.0/16")
    )
    service_network: Annotated[IPv4Network, Field(description="Addresses of services inside the cluster")] = (
        IPv4Network("10.96.0.0/16")
    )
    closed_networks: Annotated[
        tuple[IPv4Network, ...],
        Field(
            description="Further networks that sessions may not reach, e.g. the site's management network; those of "
            "pods, services and the stack's machines are closed anyway"
        ),
    ] = ()
    api_address: Annotated[
        IPv4Address | Literal["own"] | None,
        Field(
            description="Virtual address of API and gateway, which moves to another control plane when one dies: own, "
            "or a free address of the machines' network; none: the control plane's address, or, of several, own"
        ),
    ] = None

    @model_validator(mode="after")
    def _fits_its_source(self) -> "ClusterConfig":
        if self.kubeconfig and self.source != "existing":
            raise ValueError("kubeconfig is for source existing; remove it, or set that source")
        return self

    @model_validator(mode="after")
    def _networks_are_apart(self) -> "ClusterConfig":
        if any(network.prefixlen == 0 for network in self.closed_networks):
            raise ValueError("closed_networks has 0.0.0.0/0, which is everything; name what is to be closed")
        if self.pod_network.overlaps(self.service_network):
            raise ValueError(
                f"pod_network {self.pod_network} and service_network {self.service_network} overlap; move one of them"
            )
        return self


class Cluster(pulumi.ComponentResource):
    """Kubernetes, and how the other parts live in it.

    Gives `kubeconfig` (secret), `api_servers` and `api_port` (where its API is behind the address of its service),
    `pod_network`, `inner_networks` (all that users' programs may not reach), and `inside(parent)`, the options of
    resources that live in it.
    """

    kubeconfig: pulumi.Output[str]
    api_servers: pulumi.Output[list[str]]
    api_port: pulumi.Output[int]
    pod_network: IPv4Network
    inner_networks: pulumi.Output[list[str]]
    provider: k8s.Provider
    anchor: pulumi.Resource | None = None
    """With what all of it goes; without it, each resource is removed."""
    members: Sequence[pulumi.Resource] = ()
    """What has to be there before anything runs in it."""
    has_control_plane: bool
    """Whether pods may run on machines of the control plane."""
    moves: bool = False
    """Whether API and gateway go to another control plane when one dies, and pods of the service with them."""
    pull_secrets: Sequence[Mapping[str, str]] = ()
    """What pods with an account of their own need to get images."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__("cygnet:index:Cluster", name, None, opts)

    def inside(self, parent: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a resource that lives in this cluster: it comes after the members, and goes with the machines."""
        return pulumi.ResourceOptions(
            parent=parent, provider=self.provider, depends_on=self.members, deleted_with=self.anchor
        )

    def namespace(self, name: str, *, level: str = "restricted", parent: pulumi.Resource) -> pulumi.Output[str]:
        """Makes a namespace whose pods must keep to a pod security level; gives its name."""
        labels = {"pod-security.kubernetes.io/enforce": level}
        made = k8s.core.v1.Namespace(name, metadata={"name": name, "labels": labels}, opts=self.inside(parent))
        return made.metadata.apply(lambda metadata: str(metadata.name))

    def machines_folder(
        self,
        name: str,
        folder: pulumi.Input[str],
        access: str,
        *,
        namespace: pulumi.Input[str],
        parent: pulumi.Resource,
    ) -> pulumi.Output[str]:
        """Lets pods of a namespace have a folder of their machine, which they may not mount themselves.

        Args:
            name: Of the claim, and of the volume, which no other namespace may have.
            folder: On every machine that takes such pods.
            access: "ReadOnlyMany" or "ReadWriteMany".
            namespace: Of the pods.
            parent: What it is a part of.

        Returns:
            The claim's name, for volumes of pods.
        """
        volume = k8s.core.v1.PersistentVolume(
            name,
            metadata={"name": name},
            spec=pulumi.Output.all(folder, namespace).apply(
                lambda known: machines_volume(known[0], access, namespace=known[1], claim=name)
            ),
            opts=self.inside(parent),
        )
        claim = k8s.core.v1.PersistentVolumeClaim(
            name,
            metadata={"name": name, "namespace": namespace},
            spec=volume.metadata.apply(lambda given: machines_claim(str(given.name), access)),
            opts=self.inside(parent),
        )
        return claim.metadata.apply(lambda given: str(given.name))

    def _provide(self, name: str) -> k8s.Provider:
        """What makes resources in it."""
        return k8s.Provider(
            name,
            kubeconfig=self.kubeconfig,
            # A kubeconfig with fresh credentials is still the same cluster, and must not replace what is in it.
            cluster_identifier=pulumi.get_stack(),
            # Changed settings are changed in place; pods that read them at their start carry a digest of them.
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )


class OwnCluster(Cluster):
    """Made by kubeadm. Stands on machines, which have a shared folder, and a registry.

    Gives besides `address` and `public_address` (of API and gateway: IPv4 among machines, and for the outside), and
    `node` (the first control plane's name).
    """

    address: pulumi.Output[str]
    public_address: pulumi.Output[str]
    node: str
    has_control_plane = True

    def __init__(
        self,
        name: str,
        config: ClusterConfig,
        *,
        machines: Machines,
        registry: OwnRegistry,
        shared_folder: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        self.pod_network = config.pod_network
        self.anchor = machines.anchor
        inside = pulumi.ResourceOptions(parent=self)
        self.address, self.public_address = machines.entry.inner, machines.entry.public
        self.moves = machines.is_virtual
        at_rest = Token(f"{name}-encryption", rotates="encryption", opts=inside)
        images = [registry.image(image) for image in _SYSTEM_IMAGES]
        playbook = Playbook(
            name,
            "cluster.yml",
            hosts=machines.hosts,
            private_key=machines.private_key,
            variables={
                "cluster_name": pulumi.get_stack(),
                "cluster_pod_subnet": str(config.pod_network),
                "cluster_service_subnet": str(config.service_network),
                "cluster_encryption_key": at_rest.value.apply(_base64),
                **registry.pull_variables,
                "cluster_images": pulumi.Output.all(*images),
                "cni_flannel_image": registry.image("flannel"),
                "cni_policies_image": registry.image("kube-network-policies"),
                "cluster_address": self.address,
                "cluster_public_address": self.public_address,
                "cni_api_address": self.address,
                "keepalived_address": self.address if self.moves else "",
                "storage_folder": shared_folder,
            },
            opts=inside,
        )
        self.api_servers = machines.hosts.apply(api_servers)
        self.api_port = pulumi.Output.from_input(API_PORT)
        self.node = next(iter(machines.machines))
        inner = [config.pod_network, config.service_network, LINK_LOCAL, *config.closed_networks]
        self.inner_networks = machines.networks.apply(lambda networks: [*map(str, inner), *networks])
        self.kubeconfig = pulumi.Output.secret(playbook.results.apply(lambda results: str(results["kubeconfig"])))
        self.provider = self._provide(name)
        self.members = [
            Member(
                machine,
                machines.nodes[machine],
                machine=resource.id,
                kubeconfig=self.kubeconfig,
                opts=self._member_options(resource),
            )
            for machine, resource in machines.machines.items()
        ]
        self.register_outputs({"kubeconfig": self.kubeconfig})

    def _member_options(self, machine: pulumi.Resource) -> pulumi.ResourceOptions:
        """A member goes before its machine does, unless the whole cluster goes: then nothing needs to be drained."""
        return pulumi.ResourceOptions(parent=self, depends_on=[machine], deleted_with=self.anchor)


def api_servers(hosts: Sequence[Host]) -> list[str]:
    """Where Kubernetes' API is behind its service's address: on each control plane."""
    return [str(host["address"]) for host in hosts if host["group"] == "control_plane"]


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
