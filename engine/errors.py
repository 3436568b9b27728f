"""Errors of the engine: what is wrong, where, why, and the command or edit that cures it."""

from __future__ import annotations


class EngineError(Exception):
    """Something that a person has to know or do; its text is made to be read as it is."""

    def __init__(self, what: str, *, where: str, why: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.cure = what, where, why, cure

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  why:   {self.why}\n  cure:  {self.cure}"


class ToolMissing(EngineError):  # noqa: N818 - reads as what is the matter
    """A tool was asked for that has not been obtained yet."""


class BuildFailed(EngineError):  # noqa: N818 - as above
    """A command of a recipe ended with an error; `tail` is the end of what it said."""

    def __init__(self, what: str, *, where: str, why: str, cure: str, tail: str = "") -> None:
        super().__init__(what, where=where, why=why, cure=cure)
        self.tail = tail

    def __str__(self) -> str:
        return f"{self.tail}\n\n{super().__str__()}" if self.tail else super().__str__()
