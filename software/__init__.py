"""Releases of software, and how they get to where sessions run: as folders of a CVMFS repository.

Others use `publish`, with keys of `make_keys`, and `renew_whitelist`; people use `python -m software`.
"""

from software.keys import Keys, make_keys
from software.publisher import Published, publish, renew_whitelist

__all__ = ["Keys", "Published", "make_keys", "publish", "renew_whitelist"]
