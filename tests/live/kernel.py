"""A notebook kernel over its websocket: what JupyterLab does to run a cell, without a browser."""

import json
import ssl
import time
import uuid
from typing import Any

import websocket


class KernelError(Exception):
    """The code raised, or the kernel died; the message is the traceback if there is one."""


class Kernel:
    """An open connection to one kernel of a session."""

    def __init__(self, url: str, token: str, ca_file: str) -> None:
        """Connects.

        Args:
            url: Of the kernel, "https://.../user/NAME/api/kernels/ID"; or with http, where nothing is encrypted.
            token: Of the hub, with access to the session.
            ca_file: Whose certificates are trusted.
        """
        self._socket = websocket.create_connection(
            url.replace("http", "ws", 1) + "/channels",
            header=[f"Authorization: token {token}"],
            sslopt={"ca_certs": ca_file, "cert_reqs": ssl.CERT_REQUIRED},
            http_no_proxy=["*"],
            timeout=30,
        )

    def run(self, code: str, *, seconds: float = 60) -> str:
        """Runs code and returns what it printed.

        Raises:
            KernelError: It raised, or ended the kernel.
            websocket.WebSocketException: The connection broke, or the code did not end in time.
        """
        request = self._send("execute_request", {"code": code, "silent": False, "store_history": False})
        printed: list[str] = []
        deadline = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(0.1, deadline - time.monotonic()))
            message = json.loads(self._socket.recv())
            content = message["content"]
            if content.get("execution_state") in ("restarting", "dead"):
                raise KernelError("the kernel died")
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                printed.append(content["text"])
            elif message["msg_type"] == "error":
                raise KernelError("\n".join(content["traceback"]))
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return "".join(printed)

    def begin(self, code: str) -> None:
        """Runs code, and waits for nothing."""
        self._send("execute_request", {"code": code, "silent": False, "store_history": False})

    def complete(self, code: str, *, seconds: float = 60) -> list[str]:
        """What the Tab key offers at the end of this code.

        Raises:
            websocket.WebSocketException: The connection broke, or no answer came in time.
        """
        request = self._send("complete_request", {"code": code, "cursor_pos": len(code)})
        self._socket.settimeout(seconds)
        while True:
            message = json.loads(self._socket.recv())
            if message["msg_type"] == "complete_reply" and message["parent_header"].get("msg_id") == request:
                return [str(match) for match in message["content"]["matches"]]

    def close(self) -> None:
        """Leaves the kernel as it is."""
        self._socket.close()

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        identity = uuid.uuid4().hex
        header = {"msg_id": identity, "msg_type": kind, "session": identity, "username": "", "version": "5.3"}
        # A kernel leaves out what was asked just after an error, unless it is told to run that, too.
        content = {**content, "stop_on_error": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps(message))
        return identity
