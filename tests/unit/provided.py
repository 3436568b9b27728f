"""What a dynamic provider gives for a resource, whose outputs Pulumi lets be none: ours always give some."""

from typing import Any

from pulumi.dynamic import ResourceProvider


def created(provider: ResourceProvider, props: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a resource that is made."""
    outs = provider.create(props).outs
    assert outs is not None
    return outs


def updated(provider: ResourceProvider, olds: dict[str, Any], props: dict[str, Any]) -> dict[str, Any]:
    """Those of one that is changed."""
    outs = provider.update("id", olds, props).outs
    assert outs is not None
    return outs
