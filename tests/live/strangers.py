"""What somebody outside of a stack gets from what is meant for its machines."""

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

_CONNECT_SECONDS = 3


def answer(http: requests.Session, url: str) -> int | None:
    """The status of the answer; None when none comes back at all, as from behind a cloud's security group.

    Raises:
        requests.RequestException: Nothing listens there, or it broke: that is no refusal.
    """
    try:
        return http.get(url, timeout=(_CONNECT_SECONDS, 10)).status_code
    except requests.exceptions.ConnectionError as error:
        reason = getattr(error.args[0], "reason", None)
        reason = getattr(reason, "original_error", reason)  # what a proxy's error is about
        if isinstance(reason, ConnectTimeoutError) and not isinstance(reason, NewConnectionError):
            return None
        raise
