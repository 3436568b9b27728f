"""What copyparty, the server of the page of files, is told: a volume per home, and nothing that the page is not for."""

import hashlib
from collections.abc import Iterable, Mapping
from string import ascii_lowercase

from components.eos import FOLDER, HOMES, home

PORT = 3923
PREFIX = "/files"
"""Below which all its addresses are, such as /files/eos/user/a/ada/."""
SHARES = "/share"
SIGN_OUT = "/sign-out"
USER_HEADER, GROUPS_HEADER = "X-Cygnet-User", "X-Cygnet-Groups"
KEY_VARIABLE = "FILES_KEY"
"""Environment variable with the name of a header: who knows it is the gateway, and says who is asking."""

_OPTIONS = f"""\
[global]
  p: {PORT}
  http-only
  no-crt
  rp-loc: {PREFIX}
  name: files
  no-ansi
  no-voldump

  # Who is asking: the gateway says so, and nobody else. Nobody has a password here.
  idp-h-usr: {USER_HEADER.lower()}
  idp-h-key: ${{{KEY_VARIABLE}}}
  idp-logout: {PREFIX}{SIGN_OUT}
  auth-ord: idp
  no-bauth
  no-ses
  rproxy: -1
  xf-proto-fb: https
  # All users of a site can come from one address.
  dont-ban: any

  # A symlink out of a home is not followed.
  xvol
  shr: {SHARES}

  # What others wrote is shown, and never runs.
  no-html
  no-mime
  no-readme
  no-logues
  no-zls
  no-thumb
  no-acode
  no-mtag-ff

  # Protocols, pages and jobs that this page is not for.
  no-dav
  no-reload
  no-rescan
  no-stack
  no-ups-page
  no-up-list
  dl-list: 0
  ups-who: 0
  unpost: 0
  no-clone
  no-dirsz
  md-hist: n
  no-robots

  # How it looks.
  theme: 1
  dotpart
  localtime
  glang
  ui-nocpla
  ui-norepl
  ui-nosrvi
  nb
  nid
  nih
"""


def settings(
    homes: Iterable[str],
    data: Mapping[str, tuple[Iterable[str], Iterable[str]]],
    *,
    folder: str,
    state: str,
    trusted: str,
    guests: bool = False,
) -> str:
    """Its configuration file.

    Args:
        homes: Names of the users who have one.
        data: For each folder of experiment data, who may read it and who may change it; "@" is before a group's.
        folder: Where all this lies.
        state: Where it may keep its own files.
        trusted: The network of the gateway.
        guests: Whether others have homes, too: whoever the gateway names. They are remembered, for their links' sake.
    """
    own = [f"  xff-src: {trusted}, 127.0.0.0/8", f"  shr-db: {state}/shares.db", f"  hist: {state}/volumes"]
    # With vol-nospawn, a guest who has no home yet would keep others from making links (copyparty 1.20). Nothing can
    # make that folder: those above it are root's.
    known = ["vol-nospawn", "idp-store: 0"]
    unknown = [f"idp-h-grp: {GROUPS_HEADER.lower()}", "idp-store: 3", f"idp-db: {state}/people.db"]
    own += [f"  {line}" for line in (unknown if guests else known)]
    volumes = [_guests_homes(letter, folder) for letter in ascii_lowercase] if guests else []
    volumes += [_volume(home(name), folder, {"rwmd.": [name]}) for name in homes]
    volumes += [
        _volume(f"{FOLDER}/{name}", folder, {"r": readers, "rwmd.": writers})
        for name, (readers, writers) in sorted(data.items())
    ]
    return "\n".join([_OPTIONS, *own, "", *volumes])


def group(name: str) -> str:
    """A group, as the gateway names it: the hub's service tells it so (images/hub/cygnet_hub/files.py).

    >>> group("Domain Users")
    '@g-73801bce916ad44e'
    """
    return f"@g-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


EVERYONE = "@acct"
"""copyparty's own group of all whom it knows."""


def _guests_homes(letter: str, folder: str) -> str:
    """The home of each user with this first letter, as soon as the user comes."""
    there = {"rwmd.": ["${u}"]}
    return _volume(f"{HOMES}/{letter}/${{u%+home-{letter}}}", folder, there, below=f"/user/{letter}/${{u}}")


def _volume(path: str, folder: str, rights: Mapping[str, Iterable[str]], *, below: str = "") -> str:
    r"""A folder that users have at the path that it has in their sessions.

    >>> print(_volume("/eos/opendata", "/srv/files", {"r": ["ada", "bob"], "rwmd.": []}))
    [/eos/opendata]
      /srv/files/opendata
      accs:
        r: ada, bob
    <BLANKLINE>
    """
    given = [f"    {letters}: {', '.join(names)}" for letters, names in rights.items() if names]
    return "\n".join([f"[{path}]", f"  {folder}{below or path.removeprefix(FOLDER)}", "  accs:", *given, ""])
