"""Who asks for a page of files: the hub's service that the gateway asks before it lets anybody in.

Besides the user it names their groups, and where their home is.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Iterable
from typing import Any

from cygnet_hub import door

NAME = "files"
PREFIX = "/files/"
CALLBACK = f"{PREFIX}oauth_callback"
# By these the gateway knows groups and home; it removes those of a client.
GROUPS_HEADER, HOME_HEADER = "X-Cygnet-Groups", "X-Cygnet-Home"


class Who(door.Who):
    """Tells in headers who sent the cookies, and what is theirs."""

    def told(self, user: dict[str, Any]) -> dict[str, str]:
        """The headers of a user, as the hub describes them."""
        name = user["name"]
        return {
            **super().told(user),
            GROUPS_HEADER: groups(name, user.get("groups", ())),
            HOME_HEADER: home(name),
        }


def home(name: str) -> str:
    """Where a user's files are.

    >>> home("ada")
    '/files/eos/user/a/ada/'
    """
    return f"{PREFIX}eos/user/{name[0]}/{name}/"


def groups(name: str, known: Iterable[str]) -> str:
    """A user's groups as the page of files has them: one for the letter that homes lie below, and those of the user.

    A provider's groups may have names that a header or a list cannot hold, so they stand for themselves as digests;
    components/copyparty.py makes the same.

    >>> groups("ada", ["Domain Users"])
    'home-a,g-73801bce916ad44e'
    """
    digests = (f"g-{hashlib.sha256(group.encode()).hexdigest()[:16]}" for group in sorted(known))
    return ",".join([f"home-{name[0]}", *digests])


if __name__ == "__main__":
    asyncio.run(door.serve(door.application(PREFIX, Who), int(sys.argv[1])))
