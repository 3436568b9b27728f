"""Finds what somebody has named, and tells the nearest names when there is nothing of that name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from engine.errors import EngineError

Named = TypeVar("Named")


def find(name: str, known: Mapping[str, Named], *, kind: str, where: object, cure: str) -> Named:
    """What has this name.

    Args:
        name: As somebody wrote it.
        known: All there are.
        kind: What they are, for the message: "image".
        where: The file that names them.
        cure: The command that lists them.

    Raises:
        EngineError: Nothing has it.

    >>> find("stabel", {"stable": 1}, kind="release", where="releases.yaml", cure="python -m software list")
    Traceback (most recent call last):
    engine.errors.EngineError: there is no release 'stabel'
      where: releases.yaml
      why:   the nearest names are stable
      cure:  choose one of: python -m software list
    """
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known)
    raise EngineError(
        f"there is no {kind} {name!r}",
        where=str(where),
        why=f"the nearest names are {', '.join(near)}" if near else "no name is like it",
        cure=f"choose one of: {cure}",
    )
