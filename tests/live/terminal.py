"""A terminal of a session over its websocket: what JupyterLab does when somebody types, without a browser."""

import json
import ssl
from types import TracebackType
from typing import Self

import websocket


class Terminal:
    """A page with one terminal, which stays when the page closes."""

    def __init__(self, url: str, token: str, ca_file: str) -> None:
        """Connects.

        Args:
            url: Of the terminal, "https://.../user/NAME/terminals/websocket/1"; or with http.
            token: With access to the session.
            ca_file: Whose certificates are trusted.
        """
        self._socket = websocket.create_connection(
            url.replace("http", "ws", 1),
            header=[f"Authorization: token {token}"],
            sslopt={"ca_certs": ca_file, "cert_reqs": ssl.CERT_REQUIRED},
            http_no_proxy=["*"],
            timeout=30,
        )

    def enter(self, command: str, *, waits: bool = True) -> None:
        """Types a command and Enter, and waits until it has ended.

        Raises:
            websocket.WebSocketException: It did not end in time.
        """
        self._socket.send(json.dumps(["stdin", f"{command}; echo 'ha's ended\r"]))
        said = ""
        while waits and "has ended" not in said:
            kind, *words = json.loads(self._socket.recv())
            said += words[0] if kind == "stdout" else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
