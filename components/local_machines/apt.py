"""Where this host gets Debian packages: the base of local machines is made from the same places."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from components.local_machines.host import HostError

_FOLDER: Final = Path("/etc/apt")


def sources_of(suite: str, folder: Path = _FOLDER) -> str:
    """The host's apt sources of one Debian suite (with its updates and security), in deb822 format.

    Raises:
        HostError: It has none.
    """
    texts = [file.read_text() for file in sorted((folder / "sources.list.d").glob("*.sources"))]
    stanzas = [stanza for text in texts for stanza in _deb822(text)]
    for file in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]:
        if file.exists():
            stanzas += _one_line(file.read_text())
    chosen = [stanza for stanza in stanzas if _offers(stanza, suite)]
    if not chosen:
        raise HostError(
            f"no apt source in {folder} offers Debian {suite}, which local machines are made of; add one, for example "
            f"{folder}/sources.list.d/{suite}.sources"
        )
    return "\n\n".join("\n".join(f"{field}: {value}" for field, value in stanza.items()) for stanza in chosen) + "\n"


def _offers(stanza: dict[str, str], suite: str) -> bool:
    """Whether it has Debian's own packages of the suite; other publishers name other components."""
    suites = stanza.get("Suites", "").split()
    ours = all(name == suite or name.startswith(f"{suite}-") for name in suites)
    enabled = stanza.get("Enabled", "yes").lower() not in ("no", "false")
    return (
        enabled
        and bool(suites)
        and ours
        and "deb" in stanza["Types"].split()
        and "main" in stanza["Components"].split()
    )


def _deb822(text: str) -> Iterable[dict[str, str]]:
    r"""The stanzas of a .sources file.

    >>> list(_deb822("Types: deb\nURIs: http://mirror.example/debian\n# a comment\nSuites: bookworm\n"))
    [{'Types': 'deb', 'URIs': 'http://mirror.example/debian', 'Suites': 'bookworm'}]
    """
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        stanza: dict[str, str] = {}
        field = ""
        for line in block.splitlines():
            if line[:1].isspace():
                stanza[field] += f"\n{line.rstrip()}"  # a key inside the file goes on over many lines
            elif line:
                field, _, value = line.partition(":")
                stanza[field] = value.strip()
        if stanza:
            yield stanza


def _one_line(text: str) -> Iterable[dict[str, str]]:
    """The lines of a sources.list, as stanzas.

    >>> list(_one_line("deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main"))[0]["Signed-By"]
    '/k.gpg'
    """
    pattern = r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#]+)"
    for line in text.splitlines():
        if found := re.match(pattern, line.strip()):
            options = dict(option.split("=", 1) for option in (found["options"] or "").split())
            signed = {"Signed-By": options["signed-by"]} if "signed-by" in options else {}
            yield {
                "Types": "deb",
                "URIs": found["uri"],
                "Suites": found["suite"],
                "Components": found["components"].strip(),
                **signed,
            }
