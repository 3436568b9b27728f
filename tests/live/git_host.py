"""python3 git_host.py FOLDER PORT: serves the bare repositories of a folder by HTTPS, to this machine only.

Runs in a session, whose policy lets it reach nothing of ours but the hub. Its certificate is FOLDER/cert.pem.
"""

import os
import ssl
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class GitHost(ThreadingHTTPServer):
    """The repositories of a folder, on a port of this machine."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.folder = folder
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)


class Handler(BaseHTTPRequestHandler):
    """Git's own program answers, as below any web server."""

    server: GitHost

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        said = {"PATH_INFO": asked.path, "QUERY_STRING": asked.query, "REQUEST_METHOD": self.command}
        said |= {"CONTENT_TYPE": self.headers.get("Content-Type", ""), "GIT_HTTP_EXPORT_ALL": "1"}
        said |= {"GIT_PROJECT_ROOT": str(self.server.folder), "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        said |= {"HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", "")}
        length = self.headers.get("Content-Length", "0")
        answer = subprocess.run(
            ["git", "http-backend"],
            input=self.rfile.read(int(length)),
            env={**os.environ, **said, "CONTENT_LENGTH": length},
            capture_output=True,
            check=True,
        ).stdout
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        # Git takes an end of the connection for one that an attacker has made.
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - as the server wants it


if __name__ == "__main__":
    GitHost(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
