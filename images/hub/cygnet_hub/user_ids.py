"""What users may be called, and the numbers of those on machines whom nobody knew before they signed in."""

from __future__ import annotations

import hashlib
import re

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
NUMBERS = range(1000, 2**31)
"""Below are those of systems."""
FIRST = 2**16
COUNT = 2**30


def user_id(name: str) -> int:
    """The number of a name: the same that machines compute, by components/sign_in/user_ids.py.

    >>> user_id("ada")
    1039090445
    """
    return FIRST + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % COUNT
