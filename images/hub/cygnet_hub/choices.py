"""What may be chosen for a session, and what it is: as functions of plain data.

The start page shows it, and whatever is sent is held to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cygnet_hub import spark, swan
from cygnet_hub.clusters import NONE, OPTION
from cygnet_hub.gpus import Pool
from cygnet_hub.model import Choice
from cygnet_hub.rights import may_choose
from cygnet_hub.settings import Gpu, Interface, Profile, Release, Sessions, Size
from cygnet_hub.start import SCRIPT, Refusal, only_known

GIB = 2**30
TEMPLATES = "/usr/local/share/cygnet/templates"


def choices(sessions: Sessions, pool: Pool | None = None) -> dict[str, Any]:
    """The start page, and what keeps to it whatever is sent.

    Args:
        sessions: What the settings say of them.
        pool: Of GPUs, where a size has some.
    """
    for_groups = any(one.groups for offered in _offered(sessions).values() for one in offered)
    swans = sessions.page == "swan"
    check = only_known(lambda user: titles(open_to(user, sessions)), scripts=sessions.scripts)
    page: Any = start_page(sessions)
    if pool:
        page = partial(_with_gpus, sessions=sessions, pool=pool)
    elif for_groups or (swans and page):
        page = lambda spawner: start_page(open_to(spawner.user, sessions))  # noqa: E731 - one of three
    return {
        "profile_list": page,
        "additional_profile_form_template_paths": template_paths(sessions),
        "options_from_form": partial(_read, sessions=sessions) if swans else "simple",
        "apply_user_options": partial(_admitted, check=check, pool=pool) if pool else check,
    }


def template_paths(sessions: Sessions) -> list[str]:
    """Where pages are looked for: what is SWAN's here comes before our own, and beside it what CERN publishes."""
    return [f"{TEMPLATES}/swan", TEMPLATES, swan.FOLDER] if sessions.page == "swan" else [TEMPLATES]


def _read(form_data: Mapping[str, Sequence[Any]], spawner: Any = None, *, sessions: Sessions) -> dict[str, Any]:
    """What was chosen on SWAN's page; what our own pages send, such as "start as before", is in our words already."""
    if swan.SOURCE not in form_data:
        return {name: values[0] if len(values) == 1 else values for name, values in form_data.items()}
    if spawner is None:  # by a link, which the page's own script reads, too
        raise Refusal(400, "The link has filled in this page, and starts nothing by itself. Look it over, and start.")
    return dict(swan.chosen(form_data, open_to(spawner.user, sessions)))


async def _with_gpus(spawner: Any, sessions: Sessions, pool: Pool) -> list[dict[str, Any]]:
    """The start page with what is free now."""
    mine = open_to(spawner.user, sessions)
    said = {one.name: await pool.said(one, spawner) for one in mine.profiles}
    return [{**size, "now": said.get(size["slug"], "")} for size in start_page(mine)]


async def _admitted(spawner: Any, chosen: Mapping[str, Any], check: Any, pool: Pool) -> None:
    """Refuses what is no choice, and gives a place in the list to whom GPUs are not free for."""
    check(spawner, chosen)
    await pool.admit(spawner)


def open_to(user: Any, sessions: Sessions) -> Sessions:
    """The sessions that a user may have: what is for groups is there for their members only."""
    groups = [group.name for group in user.groups]
    mine = {name: tuple(may_choose(offered, groups)) for name, offered in _offered(sessions).items()}
    return sessions.model_copy(update=mine)


def _offered(sessions: Sessions) -> dict[str, Sequence[Choice]]:
    """All that there is to choose, by the names that it has in the settings."""
    return {name: getattr(sessions, name) for name in ("profiles", "releases", "clusters", "interfaces")}


def start_page(sessions: Sessions) -> list[dict[str, Any]]:
    """What there is to choose, in KubeSpawner's terms: sizes, of which all else are options; else there is no page."""
    sizes = [profile(one, sessions, default=one is sessions.profiles[0]) for one in sessions.profiles]
    options = {}
    if sessions.releases:
        options["release"] = {"display_name": "Software", "choices": dict(map(release, sessions.releases))}
    if sessions.clusters:
        options[OPTION] = {"display_name": "Spark", "choices": spark.choices(sessions.clusters)}
    if sessions.interfaces:
        options["interface"] = {"display_name": "Page", "choices": dict(map(interface, sessions.interfaces))}
    if options or sessions.scripts:
        # There has to be something of which they are options.
        sizes = sizes or [{"slug": "session", "display_name": "Session", "default": True}]
        sizes = [{**size, "profile_options": options, SCRIPT: sessions.scripts} for size in sizes]
    if sizes and sessions.page == "swan":
        sizes[0] = {**sizes[0], "swan": swan.page(sessions)}
    return sizes


def titles(sessions: Sessions) -> dict[str, dict[str, str]]:
    """What there is to choose: for each name its values, and how users read them."""
    offered: Mapping[str, Sequence[Choice]] = {
        "profile": sessions.profiles,
        "release": sessions.releases,
        OPTION: sessions.clusters,
        "interface": sessions.interfaces,
    }
    found = {name: {one.name: one.title for one in ones} for name, ones in offered.items() if ones}
    return {**found, OPTION: {NONE: "None", **found[OPTION]}} if OPTION in found else found


def last_choice(user: Any, sessions: Sessions) -> dict[str, Any] | None:
    """What a user chose for the session before: `options`, and `title`; None where that cannot be had again."""
    options = user.spawner.orm_spawner.user_options or {}
    offered = titles(open_to(user, sessions))
    allowed = {*offered, *([SCRIPT] if sessions.scripts else [])}
    if not options or not options.keys() <= allowed:
        return None
    if any(options[name] not in offered[name] for name in options.keys() & offered.keys()):
        return None
    chosen = {name: options.get(name, next(iter(values))) for name, values in offered.items()}
    words = [offered[name][value] for name, value in chosen.items() if value != NONE]
    script = [str(options[SCRIPT])] if options.get(SCRIPT) else []
    return {"options": options, "title": ", ".join([*words, *script])}


def resources(size: Size, *, own_numbers: bool) -> dict[str, Any]:
    """What a size is, as the spawner names it; memory is in bytes there.

    Args:
        size: Of sessions.
        own_numbers: Whether each user has another number. Only then the processes of a user are those of a session.
    """
    cores = size.cores / 10 if size.cores_guaranteed is None else size.cores_guaranteed
    memory_gib = size.memory_gib / 4 if size.memory_gib_guaranteed is None else size.memory_gib_guaranteed
    processes = {"CYGNET_PROCESSES": str(size.processes)} if size.processes and own_numbers else {}
    return {
        "cpu_limit": size.cores,
        "cpu_guarantee": cores,
        "mem_limit": round(size.memory_gib * GIB),
        "mem_guarantee": round(memory_gib * GIB),
        # /tmp and what the container logs. Without a guarantee of its own Kubernetes would keep all of it free.
        "extra_resource_limits": {"ephemeral-storage": f"{size.tmp_gib:g}Gi"},
        "extra_resource_guarantees": {"ephemeral-storage": "64Mi"},
        "environment": processes,
        "idle_hours": size.idle_hours,
    }


def profile(one: Profile, sessions: Sessions, *, default: bool) -> dict[str, Any]:
    """A choice on the start page, as the spawner wants it."""
    override = resources(one, own_numbers=sessions.home is None)
    # An override replaces the common selector, it is not added to it.
    nodes = {**sessions.node_selector, **one.node_selector}
    words = [f"{one.cores:g} core{'' if one.cores == 1 else 's'}", f"{one.memory_gib:g} GiB of memory"]
    if gpu := one.gpu:
        words.insert(0, f"{gpu.count} GPU{'s' if gpu.count > 1 else ''} ({gpu.model})")
        nodes[Gpu.LABEL] = gpu.model
        for key in ("extra_resource_limits", "extra_resource_guarantees"):
            override[key] = {**override[key], gpu.resource: str(gpu.count)}
        override["tolerations"] = [{"key": Gpu.TAINT, "operator": "Exists", "effect": "NoSchedule"}]
    return {
        "slug": one.name,
        "display_name": one.title,
        "description": one.description or ", ".join(words),
        "default": default,
        "kubespawner_override": {**override, "node_selector": nodes},
    }


def release(one: Release) -> tuple[str, dict[str, Any]]:
    """A choice of software, by its name, as the spawner wants it; the first one is the default."""
    described = {"display_name": one.title, "description": one.description}
    return one.name, {**described, "kubespawner_override": {"environment": literal({"CYGNET_VIEW": one.view})}}


def interface(one: Interface) -> tuple[str, dict[str, Any]]:
    """A choice of the page on which a session opens, likewise."""
    described = {"display_name": one.title, "description": one.description}
    return one.name, {**described, "kubespawner_override": {"default_url": one.url}}


def literal(environment: dict[str, str]) -> dict[str, str]:
    """The same values for a spawner that would expand what stands in braces.

    >>> literal({"PS1": "{me}"})
    {'PS1': '{{me}}'}
    """
    return {name: value.replace("{", "{{").replace("}", "}}") for name, value in environment.items()}
