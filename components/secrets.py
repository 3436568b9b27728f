"""What a stack makes once and keeps: passwords, keys, certificates.

Each is a dynamic resource, so that a value is made when it is first needed, lives encrypted in the state as a
secret output, and stays the same until its inputs change, a rotation asks for another one (`components.rotation`) or,
for a certificate, it nears its end. It is then made anew in place.
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

from components import rotation
from components.certificates import issue_certificate, lets_issue, nears_its_end, new_authority, new_issuer
from software.keys import Keys, make_keys

# Letters and digits that nobody confuses when reading them off a sheet of paper.
_READABLE = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))


def new_password(length: int = 16) -> str:
    """A password of `length` readable characters (5.8 bits each).

    >>> len(new_password(20))
    20
    """
    return "".join(secrets.choice(_READABLE) for _ in range(length))


class _Provider(ResourceProvider):
    """Makes a secret when it is first needed, and another one when its inputs or a rotation ask for that."""

    decisive: tuple[str, ...] = ()
    """The inputs with another value of which it is another one."""

    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a new one."""
        raise NotImplementedError

    def make_anew(self, props: dict[str, Any], _before: Mapping[str, Any]) -> dict[str, Any]:
        """Those that a rotation asks for, after what it was."""
        return self.make(props)

    def change(self, props: dict[str, Any], _before: Mapping[str, Any]) -> dict[str, Any]:
        """Those that another reason asks for: edited inputs, or that it is due."""
        return self.make(props)

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=secrets.token_hex(4), outs={**props, **self.make(props)})

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        made = self.make_anew if rotation.is_asked(olds, news) else self.change
        return UpdateResult(outs={**news, **made(news, olds)})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        edited = any(olds.get(key) != news.get(key) for key in self.decisive)
        return DiffResult(changes=edited or rotation.is_asked(olds, news) or self.is_due(olds, news))

    def is_due(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
        """Whether it has to be changed without that: former ones are to go."""
        return bool(news.get("forget") and olds.get("former"))


def _former(props: Mapping[str, Any], before: Mapping[str, Any], value: str) -> list[str]:
    """What is kept for those who do not have the new one yet, the newest first."""
    return [before[value], *before.get("former", ())] if props["keeps_former"] else []


class _TokenProvider(_Provider):
    decisive = ("length",)

    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        return {"value": secrets.token_hex(int(props["length"])), "former": []}

    def make_anew(self, props: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.make(props), "former": _former(props, before, "value")}

    def change(self, props: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        same = props["length"] == before["length"]
        return {"value": before["value"], "former": []} if same else self.make(props)


class Token(Resource, module="cygnet", name="Token"):
    """A random key of `length` bytes, as hexadecimal text in `value` (secret).

    `former` (secret) are those that were before it, the newest first, until all have the new one; where they are kept.
    """

    value: pulumi.Output[str]
    former: pulumi.Output[list[str]]

    def __init__(
        self,
        name: str,
        *,
        rotates: str,
        length: int = 32,
        keeps_former: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        asked = {"length": length, "keeps_former": keeps_former, **rotation.inputs(rotates)}
        props = {**asked, "value": None, "former": None}
        super().__init__(_TokenProvider(), name, props, _secret(opts, "value", "former"))


class _KeytabProvider(_Provider):
    def make(self, _props: dict[str, Any]) -> dict[str, Any]:
        return {"value": new_keytab()}


def new_keytab() -> str:
    """A fresh key of XRootD's protocol sss, as a line of a keytab: whoever has it says in whose name he comes."""
    # "anybody", "usrgroup": XRootD's own words for "as the client says". Never expires.
    made, number = int(time.time()), secrets.randbits(62)
    return f"0 u:anybody g:usrgroup n:cygnet N:{number} c:{made} e:0 f:0 k:{secrets.token_hex(32)}\n"


class Keytab(Resource, module="cygnet", name="Keytab"):
    """The key with which a stack's machines come to its file server; its keytab is `value` (secret)."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_KeytabProvider(), name, {**rotation.inputs("eos"), "value": None}, _secret(opts, "value"))


class _PasswordsProvider(_Provider):
    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        return keep_or_make(props["names"], {}, {})

    def change(self, props: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        return keep_or_make(props["names"], before["values"], before["hashes"])

    def is_due(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
        return sorted(olds["names"]) != sorted(news["names"])  # another order is the same people


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

    def __init__(
        self, name: str, names: Sequence[str], *, rotates: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        props = {"names": list(names), **rotation.inputs(rotates), "values": None, "hashes": None}
        super().__init__(_PasswordsProvider(), name, props, _secret(opts, "values", "hashes"))


class _KeyPairProvider(_Provider):  # a comment is not worth a new key
    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        private, public = new_ssh_key(props["comment"])
        return {"private_key": private, "public_key": public, "former": []}

    def make_anew(self, props: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.make(props), "former": _former(props, before, "private_key")}

    def change(self, _props: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        return {"private_key": before["private_key"], "public_key": before["public_key"], "former": []}


def new_ssh_key(comment: str) -> tuple[str, str]:
    """A fresh Ed25519 key: (private key in OpenSSH's format, public key in one line)."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private.decode(), f"{public_half(private.decode())} {comment}"


def public_half(private_key: str) -> str:
    """The public half of an SSH key (OpenSSH's format), in one line without a comment."""
    key = serialization.load_ssh_private_key(private_key.encode(), None)
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


class KeyPair(Resource, module="cygnet", name="KeyPair"):
    """An SSH key: `private_key` (OpenSSH's format, secret) and `public_key` (one line).

    `former` (secret) are the private keys that were before it, the newest first, until all know the new one; where they
    are kept.
    """

    private_key: pulumi.Output[str]
    public_key: pulumi.Output[str]
    former: pulumi.Output[list[str]]

    def __init__(
        self,
        name: str,
        *,
        rotates: str,
        comment: str = "cygnet",
        keeps_former: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        made = dict.fromkeys(("private_key", "public_key", "former"))
        props = {"comment": comment, "keeps_former": keeps_former, **rotation.inputs(rotates), **made}
        super().__init__(_KeyPairProvider(), name, props, _secret(opts, "private_key", "former"))


class _RepositoryKeysProvider(_Provider):
    decisive = ("repository",)

    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        return _repository_keys(make_keys(props["repository"]))

    def make_anew(self, props: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        if before["repository"] != props["repository"]:
            return self.make(props)
        return _repository_keys(make_keys(props["repository"], master=before["master_key"]))


def _repository_keys(made: Keys) -> dict[str, Any]:
    return {
        "master_key": made.master,
        "key": made.repository,
        "certificate": made.certificate,
        "public_key": made.master_public,
    }


class RepositoryKeys(Resource, module="cygnet", name="RepositoryKeys"):
    """The keys of a software repository, all PEM: `master_key` and `key` (both secret), `certificate`, `public_key`.

    A rotation keeps the master key, which is in the state and nowhere else: clients know its public half, and would
    have to be started anew under sessions.
    """

    master_key: pulumi.Output[str]
    key: pulumi.Output[str]
    certificate: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(self, name: str, *, repository: str, opts: pulumi.ResourceOptions | None = None) -> None:
        made = dict.fromkeys(("master_key", "key", "certificate", "public_key"))
        props = {"repository": repository, **rotation.inputs("software"), **made}
        super().__init__(_RepositoryKeysProvider(), name, props, _secret(opts, "master_key", "key"))


class _AuthorityProvider(_Provider):
    decisive = ("common_name",)

    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        certificate, key = new_authority(props["common_name"])
        return {"certificate": certificate, "private_key": key}

    def is_due(self, olds: Mapping[str, Any], _news: Mapping[str, Any]) -> bool:
        return not lets_issue(olds["certificate"])  # those of former times cannot have an issuer below them


class Authority(Resource, module="cygnet", name="Authority"):
    """The stack's own certificate authority: `certificate` (PEM) and `private_key` (PEM, secret)."""

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]

    def __init__(self, name: str, *, common_name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        made = dict.fromkeys(("certificate", "private_key"))
        props = {"common_name": common_name, **rotation.inputs("authority"), **made}
        super().__init__(_AuthorityProvider(), name, props, _secret(opts, "private_key"))


class _CertificateProvider(_Provider):
    decisive = ("names", "authority")

    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        certificate, key = issue_certificate(
            props["names"], authority=props["authority"], authority_key=props["authority_key"]
        )
        return {"certificate": certificate, "private_key": key}

    def is_due(self, olds: Mapping[str, Any], _news: Mapping[str, Any]) -> bool:
        return nears_its_end(olds["certificate"])


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
        rotates: str,
        authority: Authority,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"names": names, **_below(authority, rotates)}
        super().__init__(_CertificateProvider(), name, props, _secret(opts, "private_key", "authority_key"))


class _IssuerProvider(_Provider):
    decisive = ("hosts", "authority")

    def make(self, props: dict[str, Any]) -> dict[str, Any]:
        certificate, key = new_issuer(
            props["hosts"], authority=props["authority"], authority_key=props["authority_key"]
        )
        return {"certificate": certificate, "private_key": key}


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
        props = {"hosts": hosts, **_below(authority, "gateway")}
        super().__init__(_IssuerProvider(), name, props, _secret(opts, "private_key", "authority_key"))


def _below(authority: Authority, rotates: str) -> dict[str, Any]:
    """What all that an authority issues is made of."""
    return {
        "authority": authority.certificate,
        "authority_key": authority.private_key,
        **rotation.inputs(rotates),
        "certificate": None,
        "private_key": None,
    }


def _secret(opts: pulumi.ResourceOptions | None, *outputs: str) -> pulumi.ResourceOptions:
    """`opts`, with these outputs kept encrypted in the state."""
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=list(outputs)))
