"""SWAN's own start page: what it is told of this hub's choices, and what it sends, read as these.

The page is CERN's: a template and a script of its package `swanspawner`, as they are (`FOLDER`). It asks in fields of
its own: a stack of software with a platform, cores, memory, a GPU, a cluster for Spark, a box for JupyterLab, a script.
Each choice of ours is some of these fields with values (`fields`); what is sent has to be one of them. So there is one
table for both ways, and all that holds for a choice holds on either page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cygnet_hub.clusters import NONE, OPTION
from cygnet_hub.settings import Release, Sessions, Size
from cygnet_hub.start import SCRIPT, Refusal

FOLDER = "/usr/local/share/cygnet/swan"
"""Where SWAN's packages are, by their names."""
LOGO = "swanhub/static/logos/logo_swan_cloudhisto.png"
"""There."""
SOURCE = "software_source"
"""The field by which its forms, and its links that fill in a form, are known."""
_STACKS = "lcg"
_SCRIPT = "scriptenv"
_LAB, _TICKED = "use-jupyterlab", "checked"
_HOME = "$CERNBOX_HOME/"
_EMPTY = ("", NONE, "0")
_PLATFORM = re.compile(r"(x86_64|aarch64)(-[\w+]+)+", re.ASCII)

Fields = Mapping[str, str]


def fields(sessions: Sessions) -> dict[str, dict[str, Fields]]:
    """What the page's fields are for each choice: for each of its names and values. Without a name there is no choice.

    Args:
        sessions: Those that a user may have.
    """
    boxes: dict[str, Fields] = {one.name: {_LAB: _TICKED if one.name == "lab" else ""} for one in sessions.interfaces}
    return {
        "profile": {one.name: _size(one) for one in sessions.profiles} or {"": _size(sessions.size)},
        "release": _releases(sessions.releases) or {"": {_STACKS: NONE, "platforms": NONE}},
        OPTION: {name: {"clusters": name} for name in (NONE, *(one.name for one in sessions.clusters))},
        # A box has two states.
        "interface": boxes if len(boxes) == 2 else {"": {_LAB: ""}},
    }


def page(sessions: Sessions) -> dict[str, Any]:
    """What the page is told: its `config`, and our choices as its `fields`."""
    known = fields(sessions)
    sizes = known["profile"].values()
    titles = {one.name: one.title for one in sessions.clusters}
    common: dict[str, Any] = {
        "cores": [_listed(one) for one in sorted({size["cores"] for size in sizes}, key=float)],
        "memory": [_listed(one, f"{one} GiB") for one in sorted({size["memory"] for size in sizes}, key=float)],
        "gpu": [_listed(one) for one in dict.fromkeys(size["gpu"] for size in sizes)],
        "clusters": [_listed(one, titles.get(one)) for one in known[OPTION]],
        # What this page has, and this hub has not.
        "condor": [_listed(NONE)],
        "rucio": [{**_listed(NONE), "rse_options": [_listed(NONE)]}],
    }
    return {
        "fields": known,
        "config": {
            "enable_customenv_form": "false",
            "enable_network_form": "false",
            # Without it the page's script fails.
            "enable_generate_url_form": "true",
            "hidden_sections": [name for name, hidden in _hidden(sessions, known).items() if hidden],
            "lcg_options": [{"type": "selection", **one, **common} for one in _stacks(sessions, known["release"])],
            "customenv_options": [],
        },
    }


def chosen(form: Mapping[str, Sequence[Any]], sessions: Sessions) -> dict[str, str]:
    """What was chosen on the page, in our words. It is still to be checked, as if our own page had sent it.

    Args:
        form: Its fields, each with what was sent for it.
        sessions: Those that the user may have.

    Raises:
        HTTPError: 400, some of it is no choice.
    """
    sent = {name: values[0] for name, values in form.items() if values}
    offered = fields(sessions)
    ours = {name for values in offered.values() for one in values.values() for name in one} | {SOURCE, _SCRIPT}
    if sent.get(SOURCE) != _STACKS:
        raise Refusal(400, f"there is no {SOURCE} {sent.get(SOURCE)!s:.60} here; choose: {_STACKS}")
    for name, value in sent.items():
        if name not in ours and value not in _EMPTY:
            raise Refusal(400, f"there is no {name:.60} {value!s:.60} here")
    found = {option: _found(option, sent, values) for option, values in offered.items()}
    script = sent.get(_SCRIPT, "")
    if script and not sessions.scripts:
        raise Refusal(400, "there are no scripts here")
    found[SCRIPT] = f"~/{script.removeprefix(_HOME)}" if script.startswith(_HOME) else script
    if not sessions.clusters:
        del found[OPTION]
    return {option: value for option, value in found.items() if value}


def _found(option: str, sent: Mapping[str, Any], values: Mapping[str, Fields]) -> str:
    """The value of a choice whose fields are those that were sent."""
    names = next(iter(values.values()))
    asked = {name: sent.get(name, "") for name in names}
    for value, has in values.items():
        if has == asked:
            return value
    there = "; ".join(dict.fromkeys(map(_said, values.values())))
    raise Refusal(400, f"there is no {option} with {_said(asked)} here; choose one of: {there}")


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!s:.60}" for name, value in values.items())


def _size(size: Size) -> Fields:
    gpu = getattr(size, "gpu", None)
    model = NONE if gpu is None else gpu.model if gpu.count == 1 else f"{gpu.count} x {gpu.model}"
    return {"cores": f"{size.cores:g}", "memory": f"{size.memory_gib:g}", "gpu": model}


def _releases(releases: Iterable[Release]) -> dict[str, Fields]:
    """Views beside each other whose folders are named as LCG's platforms are one stack, for several of them.

    >>> views = [f"/cvmfs/sft.cern.ch/lcg/views/LCG_107/x86_64-el9-gcc13-{kind}" for kind in ("opt", "dbg")]
    >>> both = [Release(name=name, title="LCG", view=view) for name, view in zip(("lcg", "debug"), views)]
    >>> _releases(both)["debug"]
    {'lcg': 'lcg', 'platforms': 'x86_64-el9-gcc13-dbg'}
    """
    stacks: dict[str, str] = {}
    found: dict[str, Fields] = {}
    for one in releases:
        folder, _, last = one.view.rpartition("/")
        if _PLATFORM.fullmatch(last):
            found[one.name] = {_STACKS: stacks.setdefault(folder, one.name), "platforms": last}
        else:
            found[one.name] = {_STACKS: one.name, "platforms": NONE}
    return found


def _stacks(sessions: Sessions, releases: Mapping[str, Fields]) -> Iterable[dict[str, Any]]:
    """The stacks of software in the page's own form, each with its platforms."""
    words = {one.name: ", ".join(filter(None, (one.title, one.description))) for one in sessions.releases}
    for stack in dict.fromkeys(one[_STACKS] for one in releases.values()):
        platforms = [one["platforms"] for one in releases.values() if one[_STACKS] == stack]
        listed = [_listed(one, "Its own" if one == NONE else one) for one in platforms]
        yield {_STACKS: _listed(stack, words.get(stack)), "platforms": listed}


def _hidden(sessions: Sessions, known: Mapping[str, Mapping[str, Fields]]) -> dict[str, bool]:
    """Which pieces of the page have nothing to choose from here; its fields are there, and send that."""
    return {
        "interfaceSection": len(known["interface"]) == 1,
        "lcgSection": not sessions.releases,
        "localPackagesSection": True,  # what a user has installed is always there
        "platformSection": all(one["platforms"] == NONE for one in known["release"].values()),
        "scriptenvSection": not sessions.scripts,
        "gpuSection": all(one["gpu"] == NONE for one in known["profile"].values()),
        "clusterSection": not sessions.clusters,
        "external_res_config": not sessions.clusters,
        "condorSection": True,
        "extra_options_config": True,
    }


def _listed(value: str, text: str | None = None) -> dict[str, str]:
    return {"value": value, "text": text or (value.capitalize() if value == NONE else value)}
