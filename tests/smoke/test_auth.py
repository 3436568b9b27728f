"""Who may sign in."""

import json
import secrets
from base64 import b64decode

from tests.live.stack import LiveStack
from tests.live.visitor import Visitor


def test_a_stranger_is_refused(stack: LiveStack) -> None:
    # Not a person's name: wrong passwords would make that person wait.
    stranger = Visitor(stack, f"nobody-{secrets.token_hex(4)}")
    page = stranger.sign_in(secrets.token_hex(8))
    assert page.status_code in (403, 429)  # the latter after many tries, as of a monitoring probe
    assert page.url.startswith(f"{stack.url}/hub/login")


def test_every_account_has_a_long_password_of_its_own(stack: LiveStack) -> None:
    assert min(len(password) for password in stack.accounts.values()) >= 12
    assert len(set(stack.accounts.values())) == len(stack.accounts)


def test_administrators_have_accounts(stack: LiveStack) -> None:
    assert set(stack.admins) <= set(stack.accounts)


def test_the_hub_knows_hashes_and_no_password(stack: LiveStack) -> None:
    secret = json.loads(
        stack.kubectl("get", "secret", "hub", "--namespace", stack.parts["hub"]["namespace"], "-o", "json")
    )
    contents = {key: b64decode(value).decode() for key, value in secret["data"].items()}
    hashes = [account["hash"] for account in json.loads(contents["accounts.json"]).values()]
    assert [hashed for hashed in hashes if not hashed.startswith("$argon2id$")] == []
    assert [
        name for name, password in stack.accounts.items() if any(password in text for text in contents.values())
    ] == []
