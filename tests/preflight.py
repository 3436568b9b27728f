"""The messages of the pre-flight, as docs/reference/preflight.md promises them."""

import re
from collections.abc import Sequence
from typing import Final

from tests.unit.program import PROJECT

PAGE: Final = PROJECT / "docs/reference/preflight.md"


def promised() -> dict[str, str]:
    """What the page says one reads, by what is wrong; `…` stands for what differs."""
    rows = re.findall(r"^\| ([^|`]+) \| `([^`|]+)` \|$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(rows)


def assert_happened(what: str, said: Sequence[str]) -> None:
    """That one of the messages is, word by word, the one that the page has for this."""
    parts = [re.escape(part) for part in promised()[what].split("…")]
    pattern = re.compile(".+?".join(parts), flags=re.DOTALL)
    assert [message for message in said if pattern.fullmatch(message)], f"{what}: {pattern.pattern}\n{list(said)}"
