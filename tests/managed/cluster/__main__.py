"""What a cloud offers with its managed Kubernetes: a cluster, a registry, a StorageClass; and a software repository."""

from ipaddress import IPv4Network

import pulumi

from components.cluster import ClusterConfig, OwnCluster
from components.machines import Machines, MachinesConfig
from components.registry import OwnRegistry
from components.secrets import Authority
from components.software import Software, SoftwareConfig
from components.sources.source import Opening
from components.storage import Storage, StorageConfig

# Clouds close nothing to pods of their own accord: what sessions do not reach, the stack has to close.
OPEN_TO_PODS = {"cni_guard_open_ports": [6443, 5000, 8000], "software_networks": ["10.244.0.0/16"]}

groups = {"control_plane": {"count": 1, "memory_gib": 4}, "worker": {"count": 1, "memory_gib": 4}}
authority = Authority("authority", common_name="a cloud")
machines = Machines(
    "machines",
    MachinesConfig.model_validate({"source": "local", "groups": groups, "variables": OPEN_TO_PODS}),
    authority=authority,
    openings=[Opening((443, 80), (IPv4Network("10.240.0.0/16"),))],
    virtual=None,
)
registry = OwnRegistry("registry", machines=machines, authority=authority)
cluster = OwnCluster(
    "cluster", ClusterConfig(), machines=machines, registry=registry, shared_folder=StorageConfig().folder
)
storage = Storage("storage", StorageConfig(), cluster=cluster, registry=registry)
software = Software("software", SoftwareConfig(releases=("stable",)), machines=machines)

pulumi.export("url", cluster.address)  # what tells the command line that it is up
pulumi.export("inventory", machines.hosts)
pulumi.export("private_key", machines.private_key)
pulumi.export("kubeconfig", cluster.kubeconfig)
pulumi.export("registry", {"address": registry.folder, "username": registry.username, "password": registry.password})
pulumi.export("authority", authority.certificate)
pulumi.export("storage_class", storage.storage_class)
pulumi.export("software", software.told)
