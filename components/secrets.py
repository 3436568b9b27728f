"""What a stack makes once and keeps: passwords, keys, certificates.

Each is a dynamic resource, so that a value is made when it is first needed, lives encrypted in the state as a
secret output, and stays the same until its inputs change (or, for a certificate, until it nears its end).
"""

import secrets
import string
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from argon2 import PasswordHasher
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.certificates import issue_certificate, lets_issue, nears_its_end, new_authority, new_issuer
from software.keys import make_keys

# Letters and digits that nobody confuses when reading them off a sheet of paper.
_READABLE = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))


def new_password(length: int = 16) -> str:
    """A password of `length` readable characters (5.8 bits each).

    >>> len(new_password(20))
    20
    """
    return "".join(secrets.choice(_READABLE) for _ in range(length))


class _TokenProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        value = secrets.token_hex(int(props["length"]))
        return CreateResult(id_=secrets.token_hex(4), outs={**props, "value": value})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=olds["length"] != news["length"], replaces=["length"])


class Token(Resource, module="cygnet", name="Token"):
    """A random key of `length` bytes, as hexadecimal text in `value` (secret)."""

    value: pulumi.Output[str]

    def __init__(self, name: str, *, length: int = 32, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_TokenProvider(), name, {"length": length, "value": None}, _secret(opts, "value"))


class _KeytabProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=secrets.token_hex(4), outs={**props, "value": new_keytab()})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=False)


def new_keytab() -> str:
    """A fresh key of XRootD's protocol sss, as a line of a keytab: whoever has it says in whose name he comes."""
    # "anybody", "usrgroup": XRootD's own words for "as the client says". Never expires.
    made, number = int(time.time()), secrets.randbits(62)
    return f"0 u:anybody g:usrgroup n:cygnet N:{number} c:{made} e:0 f:0 k:{secrets.token_hex(32)}\n"


class Keytab(Resource, module="cygnet", name="Keytab"):
    """The key with which a stack's machines come to its file server; its keytab is `value` (secret)."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_KeytabProvider(), name, {"value": None}, _secret(opts, "value"))


class _PasswordsProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=secrets.token_hex(4), outs=keep_or_make(props["names"], {}, {}))

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=keep_or_make(news["names"], olds["values"], olds["hashes"]))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=sorted(olds["names"]) != sorted(news["names"]))


def keep_or_make(names: Sequence[str], values: Mapping[str, str], hashed: Mapping[str, str]) -> dict[str, Any]:
    """Passwords and their Argon2 hashes for `names`: those already known are kept, the others made, the rest dropped.

    >>> keep_or_make(["ada"], {"ada": "old", "bob": "gone"}, {"ada": "hash"})
    {'names': ['ada'], 'values': {'ada': 'old'}, 'hashes': {'ada': 'hash'}}
    """
    kept = {name: values.get(name) or new_password() for name in names}
    hasher = PasswordHasher()
    return {
        "names": list(names),
        "values": kept,
        "hashes": {name: hashed.get(name) or hasher.hash(password) for name, password in kept.items()},
    }


class Passwords(Resource, module="cygnet", name="Passwords"):
    """One password for each of `names`: `values` and their Argon2id `hashes`, both by name and secret."""

    values: pulumi.Output[dict[str, str]]
    hashes: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, names: Sequence[str], opts: pulumi.ResourceOptions | None = None) -> None:
        props = {"names": list(names), "values": None, "hashes": None}
        super().__init__(_PasswordsProvider(), name, props, _secret(opts, "values", "hashes"))


class _KeyPairProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        private, public = new_ssh_key(props["comment"])
        return CreateResult(id_=secrets.token_hex(4), outs={**props, "private_key": private, "public_key": public})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=False)  # a comment is not worth a new key


def new_ssh_key(comment: str) -> tuple[str, str]:
    """A fresh Ed25519 key: (private key in OpenSSH's format, public key in one line)."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), f"{public.decode()} {comment}"


class KeyPair(Resource, module="cygnet", name="KeyPair"):
    """An SSH key: `private_key` (OpenSSH's format, secret) and `public_key` (one line)."""

    private_key: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(self, name: str, *, comment: str = "cygnet", opts: pulumi.ResourceOptions | None = None) -> None:
        props = {"comment": comment, "private_key": None, "public_key": None}
        super().__init__(_KeyPairProvider(), name, props, _secret(opts, "private_key"))


class _RepositoryKeysProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        made = make_keys(props["repository"])
        outs = {
            **props,
            "master_key": made.master,
            "key": made.repository,
            "certificate": made.certificate,
            "public_key": made.master_public,
        }
        return CreateResult(id_=secrets.token_hex(4), outs=outs)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=olds["repository"] != news["repository"], replaces=["repository"])


class RepositoryKeys(Resource, module="cygnet", name="RepositoryKeys"):
    """The keys of a software repository, all PEM: `master_key` and `key` (both secret), `certificate`, `public_key`."""

    master_key: pulumi.Output[str]
    key: pulumi.Output[str]
    certificate: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(self, name: str, *, repository: str, opts: pulumi.ResourceOptions | None = None) -> None:
        props = {"repository": repository, **dict.fromkeys(("master_key", "key", "certificate", "public_key"))}
        super().__init__(_RepositoryKeysProvider(), name, props, _secret(opts, "master_key", "key"))


class _AuthorityProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        certificate, key = new_authority(props["common_name"])
        return CreateResult(id_=secrets.token_hex(4), outs={**props, "certificate": certificate, "private_key": key})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        # Those of former times cannot have an issuer below them.
        renamed = olds["common_name"] != news["common_name"]
        return DiffResult(changes=renamed or not lets_issue(olds["certificate"]), replaces=["common_name"])


class Authority(Resource, module="cygnet", name="Authority"):
    """The stack's own certificate authority: `certificate` (PEM) and `private_key` (PEM, secret)."""

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]

    def __init__(self, name: str, *, common_name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        props = {"common_name": common_name, "certificate": None, "private_key": None}
        super().__init__(_AuthorityProvider(), name, props, _secret(opts, "private_key"))


class _CertificateProvider(ResourceProvider):
    def _issue(self, props: dict[str, Any]) -> dict[str, Any]:
        certificate, key = issue_certificate(
            props["names"], authority=props["authority"], authority_key=props["authority_key"]
        )
        return {**props, "certificate": certificate, "private_key": key}

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=secrets.token_hex(4), outs=self._issue(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=self._issue(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        edited = any(olds[key] != news[key] for key in ("names", "authority"))
        return DiffResult(changes=edited or nears_its_end(olds["certificate"]))


class Certificate(Resource, module="cygnet", name="Certificate"):
    """A server certificate for `names` (host names or IP addresses), issued by `authority`.

    Gives `certificate` (PEM, the server's followed by the authority's) and `private_key` (PEM, secret). A
    `pulumi up` in the last 60 days of its 397 issues a new one.
    """

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        names: pulumi.Input[Sequence[pulumi.Input[str]]],
        *,
        authority: Authority,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "names": names,
            "authority": authority.certificate,
            "authority_key": authority.private_key,
            "certificate": None,
            "private_key": None,
        }
        super().__init__(_CertificateProvider(), name, props, _secret(opts, "private_key", "authority_key"))


class _IssuerProvider(ResourceProvider):
    def _make(self, props: dict[str, Any]) -> dict[str, Any]:
        certificate, key = new_issuer(
            props["hosts"], authority=props["authority"], authority_key=props["authority_key"]
        )
        return {**props, "certificate": certificate, "private_key": key}

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=secrets.token_hex(4), outs=self._make(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=self._make(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds[key] != news[key] for key in ("hosts", "authority")))


class Issuer(Resource, module="cygnet", name="Issuer"):
    """An authority below `authority` that can vouch for `hosts` and for nothing else, as long as that one lasts.

    Gives `certificate` (PEM) and `private_key` (PEM, secret).
    """

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        hosts: pulumi.Input[Sequence[pulumi.Input[str]]],
        *,
        authority: Authority,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "hosts": hosts,
            "authority": authority.certificate,
            "authority_key": authority.private_key,
            "certificate": None,
            "private_key": None,
        }
        super().__init__(_IssuerProvider(), name, props, _secret(opts, "private_key", "authority_key"))


def _secret(opts: pulumi.ResourceOptions | None, *outputs: str) -> pulumi.ResourceOptions:
    """`opts`, with these outputs kept encrypted in the state."""
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=list(outputs)))
