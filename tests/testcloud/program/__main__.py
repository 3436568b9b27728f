"""Machines from the configuration of the stack, and what a test needs of them."""

import json

import pulumi

from components.machines import Machines, MachinesConfig
from components.secrets import Authority
from components.sources.source import Opening

config = MachinesConfig.model_validate(json.loads(pulumi.Config("cygnet").require("machines")))
authority = Authority("authority", common_name="cygnet testcloud")
machines = Machines(
    "machines",
    config,
    authority=authority,
    openings=[Opening((443, 80), ())],
    virtual="own" if config.control_planes > 1 else None,
)
pulumi.export("inventory", machines.hosts)
pulumi.export("private_key", machines.private_key)
pulumi.export("address", machines.entry.inner)
