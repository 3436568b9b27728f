"""The Pulumi program: one service, as the stack's file declares it."""

import pulumi

from components import config, preflight
from components.managed import ManagedService
from components.service import Service

stack = pulumi.get_stack()
wanted = config.load(stack)
preflight.check(stack, wanted)
service = (ManagedService if wanted.cluster.source == "existing" else Service)(stack, wanted)
for output, value in service.outputs().items():
    pulumi.export(output, value)
