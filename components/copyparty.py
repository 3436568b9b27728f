"""What copyparty, the server of the page of files, is told: a volume per home, and nothing that the page is not for."""

from collections.abc import Iterable, Mapping

from components.eos import FOLDER, home

PORT = 3923
PREFIX = "/files"
"""Below which all its addresses are, such as /files/eos/user/a/ada/."""
SHARES = "/share"
SIGN_OUT = "/sign-out"
USER_HEADER = "X-Cygnet-User"
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
  idp-store: 0
  idp-logout: {PREFIX}{SIGN_OUT}
  auth-ord: idp
  no-bauth
  no-ses
  rproxy: -1
  xf-proto-fb: https
  # All users of a site can come from one address.
  dont-ban: any

  # A folder that is not there is not made, a symlink out of a home is not followed.
  vol-nospawn
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
) -> str:
    """Its configuration file.

    Args:
        homes: Names of the users who have one.
        data: For each folder of experiment data, who may read it and who may change it.
        folder: Where all this lies.
        state: Where it may keep its own files.
        trusted: The network of the gateway.
    """
    own = [f"  xff-src: {trusted}, 127.0.0.0/8", f"  shr-db: {state}/shares.db", f"  hist: {state}/volumes"]
    volumes = [_volume(home(name), folder, {"rwmd.": [name]}) for name in homes]
    volumes += [
        _volume(f"{FOLDER}/{name}", folder, {"r": readers, "rwmd.": writers})
        for name, (readers, writers) in sorted(data.items())
    ]
    return "\n".join([_OPTIONS, *own, "", *volumes])


def _volume(path: str, folder: str, rights: Mapping[str, Iterable[str]]) -> str:
    r"""A folder that users have at the path that it has in their sessions.

    >>> print(_volume("/eos/opendata", "/srv/files", {"r": ["ada", "bob"], "rwmd.": []}))
    [/eos/opendata]
      /srv/files/opendata
      accs:
        r: ada, bob
    <BLANKLINE>
    """
    given = [f"    {letters}: {', '.join(names)}" for letters, names in rights.items() if names]
    return "\n".join([f"[{path}]", f"  {folder}{path.removeprefix(FOLDER)}", "  accs:", *given, ""])
