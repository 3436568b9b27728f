"""The whole service on servers of the test cloud: the stack `testcloud`, in the shape of a private cloud's."""

from pathlib import Path
from typing import Any, Final

from components.local_machines import variables
from tests.testcloud import names
from tests.testcloud.preparation import FLAVORS, IMAGE

STACK: Final = "testcloud"
SEATS: Final = 3
_FLAVOR: Final = "large"
_ITS_SIZE: Final = {"sizes": {"gpu": {"title": "With a T4", "cores": 0.5, "memory_gib": 1, "gpu": {"model": "t4"}}}}
_OF_THE_OPERATOR: Final = ("machines_tools_are_local", "xrootd_image")
"""What local machines have of this computer's folders; servers have none of them."""


def config(*, workers: int = 1, with_gpu: bool = False) -> dict[str, Any]:
    """What its file says: of a control plane and workers, and, if so, of a worker with a graphics processor."""
    admins = f"{names.gateway(names.FLAT_NETWORKS['prov'])}/32"
    return {
        "cygnet:machines": {
            "source": "openstack",
            "groups": {
                "control_plane": {"count": 1, "flavor": _FLAVOR},
                "worker": {"count": workers, "flavor": _FLAVOR},
                "gpu-t4": {"count": int(with_gpu), "flavor": "large-t4", "gpu": {"model": "t4", "driver": "none"}},
            },
            "openstack": {"cloud": "demo", "network": "prov", "image": IMAGE, "admin_networks": [admins]},
            "variables": _because_servers_are_containers(),
        },
        "cygnet:storage": {"folder": names.SHARED_INSIDE},
        "cygnet:software": {"releases": ["stable"]},
        "cygnet:cvmfs": {"poll_seconds": 5},
        "cygnet:auth": {"accounts": ["physicist"], "admins": ["operator"], "seats": SEATS},
        "cygnet:eos": {"home_gib": 1, "image_gib": 8},
        "cygnet:hub": {
            "memory_gib_guaranteed": 0.2,
            "memory_gib": 2,
            "idle_hours": 1,
            **(_ITS_SIZE if with_gpu else {}),
        },
    }


def _because_servers_are_containers() -> dict[str, Any]:
    """What roles have to know of the servers of this cloud, as of local machines; those of real clouds need none."""
    memory_mib, _cores, _asked = FLAVORS[_FLAVOR]
    told = variables.variables(memory_mib, variables.facts(Path("/")))
    return {name: value for name, value in told.items() if name not in _OF_THE_OPERATOR}
