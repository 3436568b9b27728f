"""A cluster that is there already, such as a cloud's managed Kubernetes: the stack lives in it and does not change it.

It needs what such clusters have: a StorageClass for volumes of several machines, network policies that are enforced,
and machines that can reach the registry.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.cluster import LINK_LOCAL, Cluster, ClusterConfig
from components.errors import CygnetError
from components.registry import ExistingRegistry
from components.sources.source import API_PORT

_PRIVATE = [IPv4Network(given) for given in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")]
"""Where machines, pods and services of others' clusters are (RFC 1918, RFC 6598)."""

_REGISTRY = "registry"


class ExistingCluster(Cluster):
    """Of which a kubeconfig is all that is known."""

    has_control_plane = False

    def __init__(
        self,
        name: str,
        config: ClusterConfig,
        *,
        registry: ExistingRegistry,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        self.kubeconfig = pulumi.Output.secret(kubeconfig(config))
        self.pod_network = config.pod_network
        self.provider = self._provide(name)
        self._login = registry.login
        self.pull_secrets = [{"name": _REGISTRY}] if self._login else []
        inner = [*_PRIVATE, LINK_LOCAL, config.pod_network, config.service_network, *config.closed_networks]
        self.inner_networks = pulumi.Output.from_input([str(network) for network in collapse_addresses(inner)])
        # What is behind the service `kubernetes`: policies look at a packet when its address is a server's own.
        behind = k8s.discovery.v1.EndpointSlice.get("kubernetes", "default/kubernetes", opts=self.inside(self))
        self.api_servers = behind.endpoints.apply(
            lambda endpoints: sorted(address for endpoint in endpoints for address in endpoint.addresses)
        )
        self.api_port = behind.ports.apply(lambda ports: int(ports[0].port or API_PORT))
        self.register_outputs({"kubeconfig": self.kubeconfig})

    def namespace(self, name: str, *, level: str = "restricted", parent: pulumi.Resource) -> pulumi.Output[str]:
        """Makes a namespace as elsewhere, whose pods may get images from the registry."""
        namespace = super().namespace(name, level=level, parent=parent)
        if self._login is None:
            return namespace
        inside = self.inside(parent)
        login = k8s.core.v1.Secret(
            f"{name}-{_REGISTRY}",
            metadata={"name": _REGISTRY, "namespace": namespace},
            type="kubernetes.io/dockerconfigjson",
            string_data={".dockerconfigjson": self._login},
            opts=inside,
        )
        account = k8s.core.v1.ServiceAccountPatch(
            f"{name}-{_REGISTRY}",
            metadata={"name": "default", "namespace": namespace},
            image_pull_secrets=[{"name": _REGISTRY}],
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(depends_on=[login])),
        )
        # Whatever is made in it comes after.
        return pulumi.Output.all(namespace, account.id).apply(lambda known: str(known[0]))

    def load_balancer(
        self,
        name: str,
        metadata: Mapping[str, Any],
        *,
        selector: Mapping[str, str],
        ports: Mapping[int, int],
        opts: pulumi.ResourceOptions,
    ) -> pulumi.Output[str]:
        """Has the cluster put a load balancer before pods; gives its address or name, once it has one.

        Args:
            name: Of the resource.
            metadata: Of the service.
            selector: Labels of the pods.
            ports: TCP ports of the pods, by those of the load balancer.
            opts: Of the resource.
        """
        made = k8s.core.v1.Service(
            name,
            metadata=dict(metadata),
            spec={
                "type": "LoadBalancer",
                "selector": dict(selector),
                "ports": [
                    {"name": f"tcp-{outer}", "port": outer, "targetPort": inner} for outer, inner in ports.items()
                ],
                # Pods are told from where somebody comes, and policies look at it.
                "externalTrafficPolicy": "Local",
            },
            opts=opts,
        )
        # Pulumi waits until it has one.
        return made.status.apply(_place)


def _place(status: Any) -> str:
    (first, *_) = status.load_balancer.ingress
    return str(first.ip or first.hostname)


def kubeconfig(config: ClusterConfig) -> str:
    """What opens the cluster: what the stack says, or else the one file that kubectl would use.

    Raises:
        CygnetError: There is none, or there are several.
    """
    if config.kubeconfig:
        return config.kubeconfig.get_secret_value()
    named = os.environ.get("KUBECONFIG") or "~/.kube/config"
    if os.pathsep in named:
        raise CygnetError(
            f"cygnet:cluster.source is existing, and KUBECONFIG names several files ({named}); name the one of this "
            "cluster: export KUBECONFIG=FILE"
        )
    file = Path(named).expanduser()
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise CygnetError(
            f"cygnet:cluster.source is existing, and {file} cannot be read: {error.strerror}. Set KUBECONFIG, or keep "
            "it with the stack: pulumi config set --secret --path cygnet:cluster.kubeconfig < FILE"
        ) from None
