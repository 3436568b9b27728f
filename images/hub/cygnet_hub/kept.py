"""What the hub keeps of sign-ins in its database, encrypted: after a rotation with the new key, before it starts.

JupyterHub writes it anew at each user's next sign-in only, and reads it with any of its keys; what is written anew
here needs the former keys no more.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

DATABASE = "jupyterhub.sqlite"


def encrypt_anew(state: Path, keys: Sequence[bytes]) -> int:
    """Encrypts all of it with the first of the keys; nothing with one key only. Gives how many users have such.

    Args:
        state: The hub's own folder; no hub runs on it.
        keys: The newest first.
    """
    file = state / DATABASE
    if len(keys) < 2 or not file.exists():
        return 0
    # As JupyterHub does it (jupyterhub/crypto.py).
    fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
    count = 0
    with closing(sqlite3.connect(file)) as database, database:
        kept = database.execute("SELECT id, encrypted_auth_state FROM users WHERE encrypted_auth_state IS NOT NULL")
        for user, encrypted in kept.fetchall():
            try:
                anew = fernet.rotate(encrypted)
            except InvalidToken:  # of a key that is lost: that user signs in again
                continue
            database.execute("UPDATE users SET encrypted_auth_state = ? WHERE id = ?", (anew, user))
            count += 1
    return count
