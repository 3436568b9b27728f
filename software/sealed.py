"""The two signed files of a repository: the manifest names a revision, the whitelist who may sign manifests.

Each is its lines, `--`, the SHA-1 of the lines in hexadecimal, and a signature of these forty digits. Signatures are
PKCS #1 v1.5, the same for the same lines: a file is as it should be when writing it again makes no difference.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

from software.keys import Keys, load

MANIFEST = ".cvmfspublished"
WHITELIST = ".cvmfswhitelist"
# Clients look for a new revision when their last look is so many seconds ago.
TTL_SECONDS = 60
_DATE = "%Y%m%d%H%M%S"
_MD5_OF_ROOT = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What a revision is: the names of its root catalog, certificate and history among the objects."""

    fqrn: str
    revision: int
    published: int
    """Seconds of Unix time."""
    root: str
    root_size: int
    """The size of the root catalog, uncompressed."""
    certificate: str
    history: str

    def sealed(self, keys: Keys) -> bytes:
        """The file, signed by the repository key."""
        lines = f"C{self.root} B{self.root_size} R{_MD5_OF_ROOT} D{TTL_SECONDS} S{self.revision} Gno Ano N{self.fqrn}"
        lines += f" X{self.certificate} H{self.history} T{self.published}"
        body, digest = _body(lines.split())
        return body + load(keys.repository).sign(digest, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - CVMFS's

    @classmethod
    def read(cls, store: Path) -> Manifest | None:
        """The manifest of a store; None when nothing was published yet."""
        field = _fields(store / MANIFEST)
        if not field:
            return None
        numbers = {"revision": int(field["S"]), "published": int(field["T"]), "root_size": int(field["B"])}
        return cls(field["N"], root=field["C"], certificate=field["X"], history=field["H"], **numbers)


def whitelist(fqrn: str, keys: Keys, written: dt.datetime, end: dt.datetime) -> bytes:
    """A whitelist for the certificate of `keys`, signed by the master key."""
    body, digest = _body([f"{written:{_DATE}}", f"E{end:{_DATE}}", f"N{fqrn}", keys.fingerprint])
    return body + load(keys.master).sign(digest, padding.PKCS1v15(), NoDigestInfo())


def whitelist_dates(store: Path) -> tuple[dt.datetime, dt.datetime] | None:
    """When the whitelist of a store was written, and when it ends; None when there is none."""
    field = _fields(store / WHITELIST)
    if not field:
        return None
    written, end = (dt.datetime.strptime(date, _DATE).replace(tzinfo=dt.UTC) for date in (field[""], field["E"]))
    return written, end


def write(file: Path, content: bytes) -> None:
    """Puts a file in its place, in one step: who reads it gets the old one or the new one."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    with unfinished.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    unfinished.rename(file)


def _body(lines: list[str]) -> tuple[bytes, bytes]:
    """A file up to its signature, and what is signed."""
    text = "".join(f"{line}\n" for line in lines).encode()
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return b"".join((text, b"--\n", digest, b"\n")), digest


def _fields(file: Path) -> dict[str, str]:
    """The lines of a signed file by their letter; a date has none. Empty when there is no file."""
    try:
        text = file.read_bytes().partition(b"--\n")[0].decode()
    except FileNotFoundError:
        return {}
    return {line[0] if line[0].isalpha() else "": line[line[0].isalpha() :] for line in reversed(text.splitlines())}
