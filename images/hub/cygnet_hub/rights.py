"""Who may sign in, who is an operator, and who may choose what: decided here, whatever a browser sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from tornado.web import HTTPError

from cygnet_hub.model import Choice, Model

OPERATORS = "operators"
"""The hub's group of those who may see and stop all sessions; what that is stands in the role of the hub."""


class Rights(Model):
    """The stack's table of groups, as far as it is not about choices."""

    sign_in: tuple[str, ...] = ()
    """Groups whose members may sign in; none: everyone who is known."""
    admin: tuple[str, ...] = ()
    """Groups whose members are operators."""
    admins: tuple[str, ...] = ()
    """Names of operators."""
    max_age_hours: dict[str, float] = Field(default_factory=dict)
    """How old sessions of a group's members may become."""


class NotAdmittedError(HTTPError):
    """403: who somebody is, is known, and that they may not come in. The user reads the text."""

    def __init__(self, message: str) -> None:
        super().__init__(403, message)
        self.jupyterhub_message = message


def admitted(name: str, groups: Iterable[str], rights: Rights, *, operator: bool = False) -> dict[str, Any]:
    """A user who may come in, as JupyterHub wants it. Nobody is an administrator there, who may open others' sessions.

    >>> admitted("root", ["staff", "operators"], Rights(admins=("root",)))
    {'name': 'root', 'admin': False, 'groups': ['operators', 'staff']}

    Raises:
        NotAdmittedError: The user is in no group that may sign in.
    """
    mine = {*groups} - {OPERATORS}  # a provider's group of that name makes nobody an operator
    operator = operator or name in rights.admins or not mine.isdisjoint(rights.admin)
    if rights.sign_in and mine.isdisjoint(rights.sign_in) and not operator:
        raise NotAdmittedError(
            f"{name} may not sign in here, which is for members of: {', '.join(rights.sign_in)}. "
            "Ask those who run this service to become one, then sign in again.",
        )
    return {"name": name, "admin": False, "groups": sorted({*mine, OPERATORS} if operator else mine)}


def may_choose(offered: Iterable[Choice], groups: Iterable[str]) -> list[Choice]:
    """Of what is offered that which a member of these groups may choose, in their order."""
    mine = {*groups}
    return [one for one in offered if not one.groups or not mine.isdisjoint(one.groups)]


def max_age_hours(groups: Iterable[str], rights: Rights, others: float) -> float:
    """How old a session of a member of these groups may become: what is most for them, or what is for others.

    >>> given = Rights(max_age_hours={"course": 12, "staff": 72})
    >>> [max_age_hours(groups, given, 24) for groups in (["course", "staff"], ["course"], [])]
    [72.0, 12.0, 24]
    """
    return max((rights.max_age_hours[group] for group in groups if group in rights.max_age_hours), default=others)
