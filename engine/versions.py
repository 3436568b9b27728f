"""The pinned versions: engine/versions.yaml as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from engine.errors import EngineError

FILE = Path(__file__).with_name("versions.yaml")
_LISTS = ("host_packages", "test_packages")


def read(file: Path = FILE) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    """Versions by name, and the lists of Debian packages by name.

    Raises EngineError for a version that YAML does not read as text: `1.10` without quotes would become 1.1.
    """
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    packages = {name: tuple(data.pop(name)) for name in _LISTS}
    for name, version in data.items():
        if not isinstance(version, str):
            raise EngineError(
                f"{name}: {version!r} is not text",
                where=str(file),
                why="YAML reads an unquoted 1.10 as the number 1.1",
                cure=f'put it in quotes: {name}: "{version}"',
            )
    return MappingProxyType(data), MappingProxyType(packages)


VERSIONS, PACKAGES = read()
