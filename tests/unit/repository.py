"""A reader of repositories, for tests: it follows the format alone and shares nothing with what publishes.

CVMFS's own digests are used as CVMFS does: they name objects, and are what is signed.
"""

import datetime as dt
import hashlib
import sqlite3
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

FQRN = "software.example.org"
DIRECTORY, MOUNTPOINT, FILE, LINK, NESTED_ROOT, CHUNKED = 1, 2, 4, 8, 32, 64

Found = dict[bytes, tuple[int, int, object]]
"""What is at each path: its mode, its time in nanoseconds, and a file's content or a link's target."""


@dataclass
class Reader:
    """Reads a store as a client does: from the master key on, and believes nothing that is not named by its hash."""

    store: Path
    master: str
    fqrn: str = FQRN

    def field(self, name: str, letter: str) -> str:
        lines = (self.store / name).read_bytes().partition(b"--\n")[0].decode().splitlines()
        return next(line[1:] for line in lines if line.startswith(letter))

    def verified_root(self, at: dt.datetime | None = None) -> str:
        """The name of the root catalog, when the whole chain of signatures holds."""
        master = serialization.load_pem_public_key(self.master.encode())
        assert isinstance(master, rsa.RSAPublicKey)
        text, digest, signature = self.signed(".cvmfswhitelist")
        bare = pow(int.from_bytes(signature), master.public_numbers().e, master.public_numbers().n).to_bytes(256)
        assert bare == b"\0\1" + b"\xff" * (256 - 3 - 40) + b"\0" + digest, "PKCS #1 v1.5 of the forty digits, bare"
        lines = text.decode().splitlines()
        assert f"N{self.fqrn}" in lines
        written, end = (dt.datetime.strptime(line[-14:], "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC) for line in lines[:2])
        assert written <= (at or dt.datetime.now(dt.UTC)) < end
        text, digest, signature = self.signed(".cvmfspublished")
        certificate = x509.load_pem_x509_certificate(self.content(self.field(".cvmfspublished", "X"), "X"))
        assert certificate.fingerprint(hashes.SHA1()).hex(":").upper() in lines  # noqa: S303
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(signature, digest, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
        assert self.field(".cvmfspublished", "N") == self.fqrn
        return text.decode().split("\n")[0].removeprefix("C")

    def signed(self, name: str) -> tuple[bytes, bytes, bytes]:
        text, _, rest = (self.store / name).read_bytes().partition(b"--\n")
        digest, _, signature = rest.partition(b"\n")
        assert hashlib.sha1(text, usedforsecurity=False).hexdigest().encode() == digest
        return text, digest, signature

    def content(self, name: str, kind: str = "") -> bytes:
        stored = (self.store / "data" / name[:2] / f"{name[2:]}{kind}").read_bytes()
        assert hashlib.sha1(stored, usedforsecurity=False).hexdigest() == name
        return zlib.decompress(stored)

    def catalog(self, name: str) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:")
        database.deserialize(self.content(name, "C"))
        database.text_factory = bytes
        return database

    def everything(self, root: str = "") -> Found:
        """Path: mode, time, and a file's content or a link's target; the way down goes from parent to child."""
        found: Found = {}
        self._down(self.catalog(root or self.verified_root()), b"", found)
        return found

    def _down(self, catalog: sqlite3.Connection, path: bytes, found: Found) -> None:
        query = "SELECT name, flags, mode, mtime, mtimens, size, hash, symlink, hardlinks FROM catalog"
        rows = catalog.execute(f"{query} WHERE (parent_1, parent_2) = (?, ?)", halves(path)).fetchall()
        if path == b"":
            ((*_, links),) = catalog.execute(f"{query} WHERE (md5path_1, md5path_2) = (?, ?)", halves(b"")).fetchall()
            assert links == 2 + sum(bool(row[1] & DIRECTORY) for row in rows)
        for name, flags, mode, mtime, nanoseconds, size, digest, target, _ in rows:
            inner = path + b"/" + name
            content: object = None
            if flags & MOUNTPOINT:
                ((sha1, bytes_),) = catalog.execute(
                    "SELECT sha1, size FROM nested_catalogs WHERE CAST(path AS BLOB) = ?", (inner,)
                ).fetchall()
                assert len(self.content(sha1.decode(), "C")) == bytes_
                nested = self.catalog(sha1.decode())
                assert dict(nested.execute("SELECT key, value FROM properties"))[b"root_prefix"] == inner
                ((root_flags,),) = nested.execute(
                    "SELECT flags FROM catalog WHERE (md5path_1, md5path_2) = (?, ?)", halves(inner)
                ).fetchall()
                assert root_flags == DIRECTORY | NESTED_ROOT
                self._down(nested, inner, found)
            elif flags & DIRECTORY:
                self._down(catalog, inner, found)
            elif flags & LINK:
                content = target
            elif flags & CHUNKED:
                assert digest is None
                content = b""
                chunks = "SELECT offset, size, hash FROM chunks WHERE (md5path_1, md5path_2) = (?, ?) ORDER BY offset"
                for offset, length, chunk in catalog.execute(chunks, halves(inner)):
                    assert offset == len(content)
                    content += self.content(chunk.hex(), "P")
                    assert len(content) == offset + length
                assert len(content) == size
            else:
                content = self.content(digest.hex())
                assert len(content) == size
            found[inner] = (mode, mtime * 10**9 + nanoseconds, content)

    def catalogs(self) -> dict[str, str]:
        """The catalogs below the root by the folders that they are of."""
        found: dict[str, str] = {}
        waiting = [self.verified_root()]
        while waiting:
            rows = self.catalog(waiting.pop()).execute("SELECT path, sha1 FROM nested_catalogs").fetchall()
            found |= {path.decode(): name.decode() for path, name in rows}
            waiting += [name.decode() for _, name in rows]
        return found

    def past(self) -> dict[int, str]:
        """The root catalogs of the revisions that can be had."""
        database = sqlite3.connect(":memory:")
        database.deserialize(self.content(self.field(".cvmfspublished", "H"), "H"))
        return dict(database.execute("SELECT revision, hash FROM tags").fetchall())


def halves(path: bytes) -> tuple[int, int]:
    low, high = struct.unpack("<qq", hashlib.md5(path, usedforsecurity=False).digest())
    return low, high
