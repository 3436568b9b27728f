"""Numbers of users on machines: of the name alone, so that they are the same on all of them."""

import hashlib
from collections.abc import Iterable, Sequence

# Above what Debian gives to people, services and systemd; below what a signed number of 32 bits holds.
_FIRST_USER_ID = 2**16
_USER_IDS = 2**30


def user_id(name: str) -> int:
    """The number that stands for a user on machines.

    >>> user_id("ada")
    1039090445
    """
    return _FIRST_USER_ID + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % _USER_IDS


def same_user_id(names: Iterable[str]) -> Sequence[str]:
    """Two of the names that have one number; nothing if there are no such two.

    >>> same_user_id(["ada", "bob"])
    ()
    """
    known: dict[int, str] = {}
    for name in names:
        if (other := known.setdefault(user_id(name), name)) != name:
            return other, name
    return ()
