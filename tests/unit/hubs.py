"""The hub's own modules, of which tests take what is told apart by kinds, and a user's session as they have it."""

import importlib
from types import ModuleType
from typing import Any


def hubs(name: str) -> ModuleType:
    """A module of the hub."""
    return importlib.import_module(f"cygnet_hub.{name}")


def adas() -> Any:
    """The owner of Ada's session."""
    return hubs("clusters").Owner(
        slug="ada", place="spark-ada-1", sessions="sessions", uid=70001, gid=100, image="i", home="/eos/user/a/ada",
        user="ada",
    )  # fmt: skip
