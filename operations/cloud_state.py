"""What Pulumi's state knows of a stack's cloud, beside what the cloud has."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from openstack.connection import Connection
from pydantic import ValidationError

from components.clouds import cloud as clouds
from components.clouds import cloud_resources
from components.clouds.cloud_resources import KINDS, CloudResource
from components.sources.openstack import OpenStackConfig
from operations.stack import Stack

_PROVIDER = "openstack:"
CREATING = "creating"
_ANSWER_SECONDS = 120.0
"""More than the pre-flight waits: what is slow is waited for when something has to be mended."""
_LONGEST_CREATION = timedelta(hours=1)
"""Longer than the provider waits for anything; an older server of the name is not the one that was being made."""


@dataclass(frozen=True)
class State:
    """A state, as `pulumi stack export` writes it: secrets stay encrypted."""

    resources: list[dict[str, Any]]
    pending: list[dict[str, Any]]
    """What Pulumi was doing when it was killed: `type`, such as "creating", and `resource`."""
    written: datetime
    """When Pulumi last wrote it."""

    @classmethod
    def of(cls, stack: Stack) -> "State":
        """The state of a stack; empty where the backend does not know it.

        Raises:
            CygnetError: It cannot be read.
        """
        if not stack.exists():
            return cls([], [], datetime.now(UTC))
        deployment = json.loads(stack.pulumi("stack", "export", capture=True))["deployment"]
        written = datetime.fromisoformat(deployment["manifest"]["time"])
        return cls(deployment.get("resources") or [], deployment.get("pending_operations") or [], written)

    @property
    def in_cloud(self) -> list[dict[str, Any]]:
        """The resources that are something in a cloud; one that waits for its replacement was removed there."""
        return [
            one
            for one in self.resources
            if one["type"].startswith(_PROVIDER) and one.get("id") and not one.get("pendingReplacement")
        ]

    def unknown(self, found: Sequence[CloudResource]) -> list[CloudResource]:
        """Those of the resources found in the cloud that the state does not know."""
        known = {(one["type"], one["id"]) for one in self.in_cloud}
        return [one for one in found if (KINDS[one.kind].type, one.id) not in known]

    def missing(self, found: Sequence[CloudResource]) -> list[str]:
        """The names of those that the state knows, and the cloud does not have."""
        there = {(KINDS[one.kind].type, one.id) for one in found}
        kinds = {kind.type: name for name, kind in KINDS.items()}
        gone = [one for one in self.in_cloud if one["type"] in kinds and (one["type"], one["id"]) not in there]
        return [f"{kinds[one['type']]} {one['urn'].rpartition('::')[2]} ({one['id']})" for one in gone]

    def interrupted(self, unknown: Sequence[CloudResource]) -> list[CloudResource]:
        """Those that were being made when Pulumi was killed, and that nobody has used yet.

        A volume is never among them: under its name there may be one with data, kept by a stack of the same name.
        """
        began = [one["resource"] for one in self.pending if one["type"] == CREATING]
        expected = {(one["type"], cloud_resources.same(one["type"], one.get("inputs", {}))) for one in began}
        return [
            one
            for one in unknown
            if (KINDS[one.kind].type, one.same) in expected
            and one.kind != "volume"
            and (one.created is None or one.created > self.written - _LONGEST_CREATION)
        ]


def config_of(stack: Stack) -> OpenStackConfig | None:
    """Where in which cloud a stack has its machines; None: they are no cloud's, or its file does not say it well."""
    if not stack.file.exists():
        return None
    said = (yaml.safe_load(stack.file.read_text()) or {}).get("config") or {}
    machines = said.get("cygnet:machines") or {}
    if machines.get("source") != "openstack":
        return None
    try:
        return OpenStackConfig.model_validate(machines.get("openstack"))
    except ValidationError:
        return None  # Pulumi's program says what is wrong in the file, better than this would


def cloud_of(stack: Stack) -> Connection | None:
    """A connection to the cloud where a stack has its machines; None: they are no cloud's.

    Raises:
        CloudError: The cloud cannot be asked.
    """
    config = config_of(stack)
    if config is None:
        return None
    cloud = clouds.connect(config)
    cloud.session.timeout = _ANSWER_SECONDS
    return cloud
