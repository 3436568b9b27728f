"""The cluster: Kubernetes on the stack's machines."""

import base64
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

import pulumi
import pulumi_kubernetes as k8s
from pydantic import Field, model_validator

from components.base import PartConfig
from components.kubernetes import machines_claim, machines_volume
from components.machines import Machines
from components.member import Member
from components.playbook import Playbook
from components.registry import Registry
from components.secrets import Token
from components.sources.source import Host

# What kubeadm starts on the machines, by the names it expects.
_SYSTEM_IMAGES = (
    "pause", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "coredns",
)  # fmt: skip

_LINK_LOCAL = "169.254.0.0/16"  # clouds answer for a machine's credentials at 169.254.169.254


class ClusterConfig(PartConfig):
    """What a stack says about its cluster, under `cygnet:cluster`."""

    pod_network: Annotated[IPv4Network, Field(description="Addresses of pods; one /24 of it for each machine")] = (
        IPv4Network("10.244.0.0/16")
    )
    service_network: Annotated[IPv4Network, Field(description="Addresses of services inside the cluster")] = (
        IPv4Network("10.96.0.0/16")
    )
    api_address: Annotated[
        IPv4Address | Literal["own"] | None,
        Field(
            description="Virtual address of API and gateway, which moves to another control plane when one dies: own, "
            "or a free address of the machines' network; none: the control plane's address, or, of several, own"
        ),
    ] = None

    @model_validator(mode="after")
    def _networks_are_apart(self) -> "ClusterConfig":
        if self.pod_network.overlaps(self.service_network):
            raise ValueError(
                f"pod_network {self.pod_network} and service_network {self.service_network} overlap; move one of them"
            )
        return self


class Cluster(pulumi.ComponentResource):
    """Kubernetes, made by kubeadm. Stands on machines, which have a shared folder, and a registry.

    Gives `kubeconfig` (secret), `address` and `public_address` (of API and gateway: IPv4 among machines, and for the
    outside), `moves` (whether these go to another control plane when one dies), `api_servers` (the address of each
    control plane), `node` (the first one's name), `inner_networks` (all that users' programs may not reach), and
    `inside(parent)`, the options of resources that live in it.
    """

    kubeconfig: pulumi.Output[str]
    address: pulumi.Output[str]
    public_address: pulumi.Output[str]
    moves: bool
    api_servers: pulumi.Output[list[str]]
    node: str
    inner_networks: pulumi.Output[list[str]]
    provider: k8s.Provider

    def __init__(
        self,
        name: str,
        config: ClusterConfig,
        *,
        machines: Machines,
        registry: Registry,
        shared_folder: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Cluster", name, None, opts)
        self.config = config
        self.anchor = machines.anchor
        inside = pulumi.ResourceOptions(parent=self)
        self.address, self.public_address = machines.entry.inner, machines.entry.public
        self.moves = machines.is_virtual
        at_rest = Token(f"{name}-encryption", opts=inside)
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
        self.node = next(iter(machines.machines))
        inner = [str(config.pod_network), str(config.service_network), _LINK_LOCAL]
        self.inner_networks = machines.network.apply(lambda network: [*inner, network])
        self.kubeconfig = pulumi.Output.secret(playbook.results.apply(lambda results: str(results["kubeconfig"])))
        self.provider = k8s.Provider(
            name,
            kubeconfig=self.kubeconfig,
            # A kubeconfig with fresh credentials is still the same cluster, and must not replace what is in it.
            cluster_identifier=pulumi.get_stack(),
            # Changed settings are changed in place; pods that read them at their start carry a digest of them.
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=inside,
        )
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

    def _member_options(self, machine: pulumi.Resource) -> pulumi.ResourceOptions:
        """A member goes before its machine does, unless the whole cluster goes: then nothing needs to be drained."""
        return pulumi.ResourceOptions(parent=self, depends_on=[machine], deleted_with=self.anchor)


def api_servers(hosts: Sequence[Host]) -> list[str]:
    """Where Kubernetes' API is behind its service's address: on each control plane."""
    return [str(host["address"]) for host in hosts if host["group"] == "control_plane"]


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
