"""What a stack makes once and keeps: passwords, keys, certificates.

Each is a dynamic resource, so that a value is made when it is first needed, lives encrypted in the state as a
secret output, and stays the same until its inputs change (or, for a certificate, until it nears its end).
"""

import datetime as dt
import ipaddress
import secrets
import string
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from software.keys import make_keys

# Letters and digits that nobody confuses when reading them off a sheet of paper.
_READABLE = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))
_AUTHORITY_DAYS = 3650
_CERTIFICATE_DAYS = 397
_RENEW_BEFORE_DAYS = 60


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
        return DiffResult(changes=olds["common_name"] != news["common_name"], replaces=["common_name"])


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


def new_authority(common_name: str) -> tuple[str, str]:
    """A self-signed certificate authority (P-256): (certificate, private key), both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate), _key_pem(key)


def issue_certificate(names: Sequence[str], *, authority: str, authority_key: str) -> tuple[str, str]:
    """A server certificate for `names`, signed by the authority: (chain, private key), both PEM.

    Raises:
        ValueError: `names` is empty, or the authority's PEM cannot be read.
    """
    if not names:
        raise ValueError("a certificate needs at least one name")
    issuer = x509.load_pem_x509_certificate(authority.encode())
    issuer_key = serialization.load_pem_private_key(authority_key.encode(), None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an elliptic-curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), _CERTIFICATE_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(certificate) + authority, _key_pem(key)


def nears_its_end(certificate: str, now: dt.datetime | None = None) -> bool:
    """Whether a certificate (PEM) ends within 60 days from `now`."""
    end = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
    return end - (now or dt.datetime.now(dt.UTC)) < dt.timedelta(days=_RENEW_BEFORE_DAYS)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)  # clocks of machines differ a little
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _secret(opts: pulumi.ResourceOptions | None, *outputs: str) -> pulumi.ResourceOptions:
    """`opts`, with these outputs kept encrypted in the state."""
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=list(outputs)))
