"""What roles have to know of local machines: settings that exist only because a machine is a container on this host.

A production machine has none of these limits and gets none of these variables.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from components.local_machines import host, nspawn

ALWAYS: Final[dict[str, Any]] = {
    # The operator's store of tools is bound into the machine, at the operator's paths.
    "machines_tools_are_local": True,
    # A container loads no modules; the host has loaded them.
    "machines_kernel_modules": [],
    # On the host's own disk, and kept when the first control plane machine is made anew, as volumes are.
    "xrootd_image": f"{nspawn.SHARED_FOLDER}/eos.btrfs",
    # The kernel's configuration is the host's, and is not found in a container.
    "cluster_ignore_preflight_errors": ["SystemVerification"],
    # Writable in the host's own network namespace only.
    "cluster_kube_proxy_conntrack_untouched": True,
    # These machines are thrown away; several etcds waiting for one disk would slow all of them down.
    "cluster_etcd_unsafe_no_fsync": True,
    # Swap and disk are the host's: their fill says nothing of the machine, and must not empty or stop it.
    "kubernetes_fail_swap_on": False,
    "kubernetes_image_gc_high_threshold_percent": 100,
    "kubernetes_eviction_hard": {
        "memory.available": "100Mi",
        "nodefs.available": "1Gi",
        "imagefs.available": "1Gi",
    },
}
WITHOUT_CGROUP_V2: Final[dict[str, Any]] = {
    # systemd delegates cgroup v1's controllers to nobody.
    "kubernetes_cgroup_driver": "cgroupfs",
    "containerd_systemd_cgroup": False,
    "kubernetes_fail_cgroup_v1": False,
}
WITHOUT_SYS_RESOURCE: Final[dict[str, Any]] = {
    # Lowering oom_score_adj takes CAP_SYS_RESOURCE, which this host's root does not have.
    "kubernetes_oom_score_adj": 0,
    "containerd_restrict_oom_score_adj": True,
}
WITHOUT_NFT_QUEUE: Final[dict[str, Any]] = {
    # The kernel lacks nftables' "queue" expression; the older NFQUEUE target does the same.
    "cni_nfqueue_xt": True,
}
_SYSTEM_MIB: Final = 256  # what the machine's own services take, beside its pods


@dataclass(frozen=True)
class Facts:
    """What this host has."""

    memory_mib: int
    cgroup_v2: bool
    sys_resource: bool
    nft_queue: bool


def facts(root: Path) -> Facts:
    """Looks at this host.

    Args:
        root: A file system that has the nft command.
    """
    return Facts(
        memory_mib=host.memory_mib(),
        cgroup_v2=host.has_cgroup_v2(),
        sys_resource=host.may_raise_limits(),
        nft_queue=host.has_nft_queue(root),
    )


def variables(memory_mib: int, found: Facts) -> dict[str, Any]:
    """The variables of a machine with this much memory.

    >>> variables(4096, Facts(16384, True, True, True))["kubernetes_system_reserved_memory_mib"]
    12544
    """
    return {
        **ALWAYS,
        **({} if found.cgroup_v2 else WITHOUT_CGROUP_V2),
        **({} if found.sys_resource else WITHOUT_SYS_RESOURCE),
        **({} if found.nft_queue else WITHOUT_NFT_QUEUE),
        # A container sees all of the host's memory, and the kubelet would give it to pods.
        "kubernetes_system_reserved_memory_mib": found.memory_mib - memory_mib + _SYSTEM_MIB,
    }
