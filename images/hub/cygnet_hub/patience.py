"""How long one has to wait after wrong passwords: the arithmetic, without clocks of its own and without a hub."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

FREE_PER_USER = 3
# Higher: a whole class sits behind one address, and each of them mistypes now and then.
FREE_PER_ADDRESS = 30
LONGEST_SECONDS = 60
FORGOTTEN_AFTER_SECONDS = 15 * 60
REMEMBERED = 10_000


@dataclass
class _Count:
    wrong: int
    last: float


class Counter:
    """Counts wrong passwords by some key. After `free` of them each one costs 1, 2, 4 ... 60 seconds.

    It remembers a bounded number of keys (the one that was wrong longest ago goes first) and for a bounded time.
    """

    def __init__(self, free: int, clock: Callable[[], float]) -> None:
        self.free, self.clock = free, clock
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()

    def seconds(self, key: Hashable) -> int:
        """Whole seconds until the next try; 0: now."""
        count = self._counts.get(key)
        if count is None or count.wrong < self.free:
            return 0
        wait = min(2.0 ** min(count.wrong - self.free, 10), LONGEST_SECONDS)
        return max(0, math.ceil(count.last + wait - self.clock()))

    def add(self, key: Hashable) -> None:
        """One more wrong password."""
        now = self.clock()
        count = self._counts.pop(key, None)
        if count is None or now - count.last > FORGOTTEN_AFTER_SECONDS:
            count = _Count(0, now)
        self._counts[key] = _Count(count.wrong + 1, now)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """As if there had been no wrong one."""
        self._counts.pop(key, None)


class Patience:
    """Who has to wait: a user of whom wrong passwords come, and an address from which they come.

    Nobody is locked out by others for good: where a user has signed in rightly before, only what comes from there
    counts, so guesses from elsewhere do not keep the user waiting; and no wait is longer than a minute.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = Counter(FREE_PER_USER, clock)
        self._addresses = Counter(FREE_PER_ADDRESS, clock)
        self._familiar: OrderedDict[tuple[str, str], None] = OrderedDict()

    def seconds(self, user: str, address: str) -> int:
        """Whole seconds that `user` at `address` has to wait; 0: none."""
        return max(self._users.seconds(self._key(user, address)), self._addresses.seconds(address))

    def wrong(self, user: str, address: str) -> None:
        """One more wrong password for `user` from `address`."""
        self._users.add(self._key(user, address))
        self._addresses.add(address)

    def right(self, user: str, address: str) -> None:
        """`user` starts from nought. The address does not: whoever has an account could guess for others there."""
        self._users.forget(self._key(user, address))
        self._familiar[(user, address)] = None
        self._familiar.move_to_end((user, address))
        if len(self._familiar) > REMEMBERED:
            self._familiar.popitem(last=False)

    def _key(self, user: str, address: str) -> Hashable:
        return (user, address) if (user, address) in self._familiar else user
