"""Numbers of users on machines, for those whom nobody knew before they signed in."""

from __future__ import annotations

import hashlib

FIRST = 2**16
COUNT = 2**30


def user_id(name: str) -> int:
    """The number of a name: the same that machines compute, by components/auth.py.

    >>> user_id("ada")
    1039090445
    """
    return FIRST + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % COUNT
