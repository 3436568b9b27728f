"""The Pulumi program: one service, as the stack's file declares it."""

import pulumi

from components import config
from components.service import Service

stack = pulumi.get_stack()
service = Service(stack, config.load(stack))
for output, value in service.outputs().items():
    pulumi.export(output, value)
