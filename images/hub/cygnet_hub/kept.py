"""Where the hub keeps what it knows, and what it keeps of sign-ins there: encrypted, after a rotation with the new key.

JupyterHub writes it anew at each user's next sign-in only, and reads it with any of its keys; what is written anew
here needs the former keys no more.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

# It is in the same pod, and asks nobody there for a password.
SERVER = "postgresql+psycopg2://jupyterhub@127.0.0.1/jupyterhub"


def database_url(kind: str, state: Path) -> str:
    """Where the hub's database is, as SQLAlchemy has it.

    >>> database_url("sqlite", Path("/srv/jupyterhub"))
    'sqlite:////srv/jupyterhub/jupyterhub.sqlite'
    """
    return SERVER if kind == "postgresql" else f"sqlite:///{state / 'jupyterhub.sqlite'}"


def encrypt_anew(url: str, keys: Sequence[bytes]) -> int:
    """Encrypts all of it with the first of the keys; nothing with one key only. Gives how many users have such.

    Args:
        url: Of the hub's database, which no hub uses now.
        keys: The newest first.
    """
    if len(keys) < 2:
        return 0
    # As JupyterHub does it (jupyterhub/crypto.py).
    fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
    count = 0
    with create_engine(url, poolclass=NullPool).begin() as database:
        if not inspect(database).has_table("users"):  # before the first start
            return 0
        kept = database.execute(
            text("SELECT id, encrypted_auth_state FROM users WHERE encrypted_auth_state IS NOT NULL")
        )
        for user, encrypted in kept.fetchall():
            try:
                anew = fernet.rotate(bytes(encrypted))
            except InvalidToken:  # of a key that is lost: that user signs in again
                continue
            change = text("UPDATE users SET encrypted_auth_state = :anew WHERE id = :user")
            database.execute(change, {"anew": anew, "user": user})
            count += 1
    return count
