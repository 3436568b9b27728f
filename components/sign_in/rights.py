"""The table of groups: who may sign in, who is an operator, who may choose what, and how old sessions may become."""

from typing import Annotated

from pydantic import Field, StringConstraints

from components.base import PartConfig

# A provider's groups have names of many forms: swan-users, /physics/atlas, "Domain Users".
GroupOfRights = Annotated[str, StringConstraints(pattern=r"^[\w/.:@+ -]{1,128}$")]
Feature = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class RightsConfig(PartConfig):
    """What groups may do; the hub holds everybody to it, whatever a browser sends."""

    sign_in: Annotated[
        tuple[GroupOfRights, ...], Field(description="Groups whose members may sign in; empty: everyone who is known")
    ] = ()
    admin: Annotated[
        tuple[GroupOfRights, ...], Field(description="Groups whose members may see and stop all sessions")
    ] = ()
    features: Annotated[
        dict[Feature, tuple[GroupOfRights, ...]],
        Field(
            description="Who may choose what on the start page: names of software releases and of cygnet:hub.sizes, "
            "each with its groups; what is not named is for everyone"
        ),
    ] = Field(default_factory=dict)

    max_age_hours: Annotated[
        dict[GroupOfRights, Annotated[float, Field(gt=0, le=8760)]],
        Field(
            description="How many hours sessions of a group's members may last, by group; who is in several has the "
            "most, and who is in none what cygnet:hub.max_age_hours says"
        ),
    ] = Field(default_factory=dict)

    @property
    def groups(self) -> set[str]:
        """All groups that are named."""
        of_features = (group for named in self.features.values() for group in named)
        return {*self.sign_in, *self.admin, *of_features, *self.max_age_hours}
