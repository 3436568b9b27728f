"""Health: a machine takes sessions only while the mounts that they need answer."""

import base64
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pulumi
import yaml
from pydantic import Field

from components.base import PartConfig
from components.cluster import OwnCluster
from components.cvmfs import Cvmfs
from components.eos import Eos
from components.kubernetes import NODE_CHANGES, NODE_FIELDS, UNWELL_TAINT
from components.machines import Machines
from components.permissions import deny, grant, group
from components.playbook import Playbook
from components.sources.source import API_PORT

_NAME = "cygnet-health"
_GROUP = "cygnet:health"


class HealthConfig(PartConfig):
    """What a stack says about the care for its machines' mounts, under `cygnet:health`."""

    deadline_seconds: Annotated[
        float, Field(ge=1, le=300, description="Seconds a mount has to answer; after twice that its client is killed")
    ] = 10
    every_seconds: Annotated[float, Field(ge=1, le=300, description="Seconds between two looks at a mount")] = 5


class Health(pulumi.ComponentResource):
    """Looks after mounts on every machine. Stands on machines, their cluster, and what they mount.

    Gives `mounts`, those that are looked after.
    """

    mounts: pulumi.Output[list[dict[str, str]]]

    def __init__(
        self,
        name: str,
        config: HealthConfig,
        *,
        machines: Machines,
        cluster: OwnCluster,
        cvmfs: Cvmfs,
        eos: Eos,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Health", name, None, opts)
        permission = self._permission(cluster)
        # With both folders: they are known when all of it is mounted.
        known = pulumi.Output.all(cvmfs.repositories, eos.told, cvmfs.folder, eos.folder)
        self.mounts = known.apply(lambda told: [*cvmfs_mounts(cvmfs.client, told[0]), *eos_mounts(told[1])])
        Playbook(
            name,
            "health.yml",
            hosts=machines.hosts,
            private_key=machines.private_key,
            variables={
                "health_mounts": self.mounts,
                "health_deadline_seconds": config.deadline_seconds,
                "health_every_seconds": config.every_seconds,
                "health_certificate_until": certificate_until(dt.datetime.now(dt.UTC).date()),
                "health_api": cluster.address.apply(lambda address: f"{address}:{API_PORT}"),
                "health_authority": cluster.kubeconfig.apply(authority),
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*cluster.members, permission]),
        )
        self.register_outputs({"mounts": self.mounts})

    def _permission(self, cluster: OwnCluster) -> pulumi.Resource:
        """Lets each machine change the one taint of its own node; gives what is made last."""
        inside = cluster.inside(self)
        metadata = {"name": _NAME}
        after = deny("health", metadata, POLICY, inside)
        return grant("health", metadata, RULES, group(_GROUP), after)


def cvmfs_mounts(client: str, repositories: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    r"""The mounts of software repositories, each with its systemd unit.

    >>> cvmfs_mounts("cvmfs2", [{"name": "sft-nightlies.cern.ch"}])[0]["unit"]
    'cvmfs-sft\\x2dnightlies.cern.ch.mount'
    """
    names = [str(repository["name"]) for repository in repositories]
    units = {
        name: f"swfs@{name}.service" if client == "swfs" else f"{_escaped(f'cvmfs/{name}')}.mount" for name in names
    }
    return [{"part": "cvmfs", "path": f"/cvmfs/{name}", "unit": unit} for name, unit in units.items()]


def authority(kubeconfig: str) -> str:
    """The certificate of the authority of the cluster that a kubeconfig leads to, in PEM."""
    cluster = yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]
    return base64.b64decode(cluster["certificate-authority-data"]).decode()


def eos_mounts(told: Mapping[str, Any]) -> list[dict[str, str]]:
    """The mounts below /eos, as the part `eos` tells of them, each with its systemd unit and its server.

    >>> told = {"client": "eosxd", "mounts": [{"name": "lhc", "folder": "/eos/lhc", "server": "mgm.example.org:1094"}]}
    >>> eos_mounts(told)[0]["unit"]
    'eos-lhc.mount'
    """
    return [
        {
            "part": "eos",
            "path": one["folder"],
            "unit": f"xrdmount@{one['name']}.service"
            if told["client"] == "xrdmount"
            else f"{_escaped(one['folder'][1:])}.mount",
            "server": one["server"],
        }
        for one in told.get("mounts", [])
    ]


def _escaped(path: str) -> str:
    """A path in a unit's name, as systemd writes it."""
    return path.replace("-", "\\x2d").replace("/", "-")


def certificate_until(today: dt.date) -> str:
    """The day up to which a machine's certificate has to be good: the end of the next half-year.

    It changes twice a year, and the next `pulumi up` then renews certificates that end earlier; they are made for one
    and a half years.

    >>> certificate_until(dt.date(2026, 3, 1)), certificate_until(dt.date(2026, 7, 1))
    ('2027-01-01', '2027-07-01')
    """
    return f"{today.year + 1}-{'01' if today.month <= 6 else '07'}-01"


RULES: list[dict[str, Any]] = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}]
"""What machines may do to nodes as far as roles can say it."""

POLICY: dict[str, Any] = {
    "failurePolicy": "Fail",
    "matchConstraints": NODE_CHANGES,
    "matchConditions": [{"name": "by-the-checker", "expression": f"'{_GROUP}' in request.userInfo.groups"}],
    "validations": [
        {
            "expression": f"request.userInfo.username == '{_GROUP}:' + object.metadata.name",
            "message": "a machine may change its own node only",
        },
        {
            "expression": " == ".join(
                f"{node}.spec.?taints.orValue([]).filter(taint, taint.key != '{UNWELL_TAINT}')"
                for node in ("object", "oldObject")
            ),
            "message": f"of the taints only {UNWELL_TAINT} may be changed",
        },
        {
            "expression": " && ".join(f"object.{field} == oldObject.{field}" for field in NODE_FIELDS),
            "message": f"nothing but the taint {UNWELL_TAINT} may be changed",
        },
    ],
}
"""What narrows that down: one taint of the machine's own node, which its certificate names."""
