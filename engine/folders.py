"""Where cygnet keeps what is its own; XDG's rule: a variable that names a relative path does not count."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """What can be had again, and may be removed by anybody."""
    return _own("XDG_CACHE_HOME", ".cache")


def state() -> Path:
    """What has to stay."""
    return _own("XDG_STATE_HOME", ".local/state")


def _own(variable: str, usual: str) -> Path:
    base = Path(os.environ.get(variable, ""))
    return (base if base.is_absolute() else Path.home() / usual) / "cygnet"
